// The panel that shows what a name stood for when the tested file ran: its numbers, their gradient, and how they moved
// over training. Which names have numbers is listed in the page (#recorded); the numbers are loaded when asked for.
const Numbers = (() => {
  const { element, format, load, store } = Course;
  const AXES = {
    T: "position",
    "T+1": "position",
    H: "head",
    D: "number within the head",
    C: "number of the embedding",
    "4C": "number of the hidden layer",
    V: "token",
    1: "",
  };
  const FEW = 9; // columns in which there is room for the numbers themselves
  const SMALL = 0.1; // where all are smaller, two digits behind the point say too little
  const LARGE = 100;
  const ROUNDING = 1e-4; // of a sum of probabilities that are given with 6 digits

  let about; // the documents, the moments of training, and by row which names have numbers
  let shown; // what the panel shows: {row, name, column, line, place}, where `place` is the id of the row or the line
  let opener; // where the focus goes back to
  let drawn = 0; // how often the panel was asked to show something: only the last one counts

  const panel = () => document.getElementById("numbers");
  const part = (selector) => panel().querySelector(selector);

  function begin() {
    about = JSON.parse(document.getElementById("recorded").textContent);
    for (const row of document.querySelectorAll(".row[id]")) if (about.rows[row.id]) markNames(row, about.rows[row.id]);
    document.addEventListener("click", (event) => {
      const asked = event.target.closest(".line .known, button[data-open]");
      if (!asked || (asked.matches(".known") && String(getSelection()))) return; // code that is selected is to be copied
      open(asked);
    });
    document.addEventListener("keydown", (event) => event.key === "Escape" && panel().open && close());
    part(".close").addEventListener("click", close);
    part(".taller").addEventListener("click", () => part(".taller").setAttribute("aria-pressed", panel().classList.toggle("tall")));
    for (const name of ["document", "step"]) {
      const choice = part(`[name=${name}]`);
      const kept = store.get(`numbers.${name}`);
      if ([...choice.options].some((option) => option.value === kept)) choice.value = kept;
      choice.addEventListener("change", () => {
        store.set(`numbers.${name}`, choice.value);
        putInAddress();
        draw();
      });
    }
    part("[name=value]").addEventListener("change", draw);
  }

  function markNames(row, { names, explicit }) {
    const known = new Set([...names, ...explicit]);
    for (const word of row.querySelectorAll(".line i[data-name]")) word.classList.toggle("known", known.has(word.dataset.name));
  }

  // Opening and closing
  function open(asked) {
    const row = asked.closest(".row");
    const column = asked.closest(".cell")?.dataset.column;
    const line = Number(asked.closest(".line")?.id.split("-")[1]);
    opener = asked.matches("button") ? asked : row.querySelector(`[data-open="${CSS.escape(asked.dataset.name)}"]`);
    const place = asked.closest(".line, .row").id;
    shown = { row: row.id, name: asked.dataset.open ?? asked.dataset.name, column, line, place };
    part("[name=value]").replaceChildren();
    part(".numbers-origin").replaceChildren();
    part(".numbers-views").replaceChildren();
    panel().show();
    document.body.classList.add("with-numbers");
    part("#numbers-title").focus({ preventScroll: true });
    putInAddress();
    draw();
    asked.scrollIntoView({ block: "nearest" });
  }

  // Opens what an address asks for: in a row or in a line, the numbers of a name. The moment may be left out.
  function openAt(place, name, ...moment) {
    const which = place.matches(".line") ? ".known[data-name" : "[data-open";
    const asked = place.querySelector(`${which}="${CSS.escape(name)}"]`);
    if (!asked) return;
    ["document", "step"].forEach((key, i) => {
      const choice = part(`[name=${key}]`);
      if ([...choice.options].some((option) => option.value === moment[i])) choice.value = moment[i];
    });
    open(asked);
  }

  function putInAddress() {
    const said = [shown.place, shown.name, part("[name=document]").value, part("[name=step]").value];
    const hash = `#${said.map(encodeURIComponent).join("/")}`;
    part(".anchor").href = hash;
    Read.showInAddress(hash);
  }

  function close() {
    panel().close();
    document.body.classList.remove("with-numbers");
    Read.showInAddress(`#${shown.place}`);
    opener?.focus({ preventScroll: true });
  }

  // Loading and choosing
  async function draw() {
    const turn = ++drawn;
    const { row, name } = shown;
    const { functions } = about.rows[row];
    const folder = folderOf(shown);
    const moment = { document: part("[name=document]").value, step: Number(part("[name=step]").value) };
    part("#numbers-title").replaceChildren(element("code", {}, name), ` in ${functions[0].split(".")[0]}`);
    try {
      const recorded = await load(`numbers/${folder}/${moment.document}-${moment.step}`);
      const moved = await load(`numbers/${folder}/${moment.document}`);
      if (turn !== drawn) return; // something else has been asked for meanwhile
      const value = chooseValue(recorded.values.filter((one) => one.name === name && functions.includes(one.function)), folder);
      const numbers = value && (await numbersOf(value, recorded, moment));
      if (turn !== drawn) return;
      part(".numbers-origin").replaceChildren(...origin(folder, value));
      part(".numbers-views").replaceChildren(...(value ? views(value, numbers, recorded, moved) : [nothing()]));
    } catch (error) {
      part(".numbers-views").replaceChildren(element("p", { role: "alert" }, `The numbers cannot be shown: ${error.message}`));
    }
  }

  // A column shows its own numbers where they were recorded, and otherwise those of the folder that stands for all.
  function folderOf({ row, name, column }) {
    const { names, explicit } = about.rows[row];
    const own = column && about.explicit.startsWith(`${column}_`) && explicit.includes(name);
    return own || !names.includes(name) ? about.explicit : about.reference;
  }

  const nothing = () => element("p", {}, "This name has no numbers for this document at this moment.");

  // Offers all values that the name had, and returns the chosen one. At first that is the one of the line that was
  // clicked, or the last in the first call.
  function chooseValue(found, folder) {
    const choice = part("[name=value]");
    const at = choice.options.length ? choice.selectedIndex : firstChoice(found, folder);
    choice.replaceChildren(...found.map((value) => element("option", {}, where(value, found))));
    choice.selectedIndex = Math.max(0, Math.min(at, found.length - 1));
    choice.parentElement.hidden = found.length < 2;
    return found[choice.selectedIndex];
  }

  function firstChoice(found, folder) {
    const ofColumn = folder.startsWith(`${shown.column}_`);
    const before = ofColumn ? found.findLastIndex((value) => value.line <= shown.line && value.call === found[0].call) : -1;
    const firstCall = (value) => value.call === found[0].call && value.function === found[0].function;
    return before >= 0 ? before : found.findLastIndex(firstCall);
  }

  const sameLine = (value, found) =>
    found.filter((other) => ["function", "call", "line"].every((key) => other[key] === value[key])).length;

  function where(value, found) {
    const differ = (key) => found.some((other) => other[key] !== value[key]);
    const said = [
      differ("function") && value.function,
      value.weight,
      differ("call") && value.caller && `called by ${value.caller}, line ${value.caller_line}`,
      (differ("line") || !value.caller) && `set in line ${value.line}`,
      sameLine(value, found) > 1 && `time ${value.nth + 1}`,
    ];
    return said.filter(Boolean).join(" · ") || `line ${value.line}`;
  }

  // Returns the arrays of a value and of its gradient. Where another folder has the same numbers, they are there. Weights,
  // and what has as many numbers, are loaded apart; of the latter all numbers are kept for one folder's first document.
  async function numbersOf(value, recorded, moment) {
    const at = `${about.reference}/${moment.document}-${moment.step}`;
    if (value.same_as !== undefined) {
      const other = await load(`numbers/${at}`);
      return numbersOf(other.values[value.same_as], other, moment);
    }
    if (value.array !== undefined) return { own: recorded.arrays[value.array], grad: recorded.arrays[value.grad] };
    if (recorded.folder !== about.reference) return { statistics: value, kept: false };
    const long = moment.document === about.documents[0] ? await load(`numbers/${at}-long`) : null;
    if (value.weight) {
      const { weights } = await load(`numbers/${about.reference}/weights-${moment.step}`);
      return { own: weights[value.weight], grad: long?.grads[value.weight], more: !long };
    }
    const found = long?.values.find((other) => sameValue(other, value)) ?? {};
    return { statistics: value, kept: !long, own: long?.arrays[found.array], matrices: found.matrices };
  }

  const sameValue = (a, b) => ["function", "call", "line", "name", "nth"].every((key) => a[key] === b[key]);

  // What is said about where the numbers come from
  function origin(folder, value) {
    const { written, apart } = about.rows[shown.row];
    const said = [element("strong", {}, `Recorded from ${folder}`), value ? `, line ${value.line}. ` : ". "];
    const steps = value?.became?.split(" → ");
    if (steps) said.push(`There it is ${steps[0]}; here it is put together as ${steps.at(-1)}. `);
    const difference = apart?.[shown.name];
    if (difference !== undefined) {
      const size = difference ? `differ by at most ${difference.toExponential(0)}` : "are equal";
      said.push(`${about.explicit} and ${about.reference} come to the same: over all documents and moments the numbers ${size}. `);
    }
    for (const number of shown.column ? [shown.column] : Read.chosen()) {
      const shape = written[number]?.[shown.name];
      if (shape) said.push(`${labelOf(number)} writes its shape as ${shape}. `);
    }
    if (value?.grad_name) said.push(`${value.grad_function} calls the gradient ${value.grad_name} (line ${value.grad_line}). `);
    return said;
  }

  const labelOf = (number) => document.getElementById(`column-${number}`).getAttribute("aria-label");

  // Pictures
  function views(value, numbers, recorded, moved) {
    const counts = numbers.own && known(numbers.own.data).every(Number.isInteger); // tokens and positions do not move
    const history = counts ? null : movement(value, moved);
    if (numbers.matrices) return [perWeight(numbers.matrices, recorded), history].filter(Boolean);
    if (!numbers.own) return [statisticsOnly(numbers.statistics, numbers.kept), history].filter(Boolean);
    const own = view("Value", numbers.own, recorded);
    const grad = numbers.grad && view(`Gradient: d loss / d ${shown.name}`, numbers.grad, recorded);
    const none = numbers.more ? `Its gradient is kept for the document ${about.documents[0]}.` : "No gradient of it is recorded.";
    if (!grad) own.append(element("p", { class: "small" }, none));
    return [own, grad, history].filter(Boolean);
  }

  function view(title, array, recorded) {
    const names = array.axes.map((axis, i) => labelsOf(axis, array.shape[i], recorded));
    const parts = tables(array);
    const flat = known(array.data);
    const pictures = array.shape.length ? picturesOf(array, names, parts) : [element("p", { class: "one-number" }, format(array.data[0]))];
    return element(
      "section",
      { class: "view" },
      element("h3", {}, title),
      element("p", { class: "small" }, `${shapeText(array)}${facts(flat)}`),
      ...meaning(array, recorded),
      ...pictures,
      ...(array.shape.length ? [allNumbers(title, array.axes, names, parts)] : []),
    );
  }

  function shapeText({ shape, axes }) {
    if (!shape.length) return "one number";
    return `(${axes.join(", ")}), ${shape.join(" × ")}`;
  }

  function facts(flat) {
    if (flat.length < 2) return "";
    const sum = flat.reduce((total, number) => total + number, 0);
    return ` · mean ${format(sum / flat.length)} · from ${format(Math.min(...flat))} to ${format(Math.max(...flat))}`;
  }

  // Whole numbers that are the document's tokens are spelled out.
  function meaning(array, { tokens, vocabulary }) {
    const text = array.data.join();
    const are = [tokens, tokens.slice(0, -1), tokens.slice(1)].find((part) => part.join() === text);
    return are && array.shape.length === 1 ? [element("p", { class: "small" }, `The tokens: ${are.map((token) => vocabulary[token]).join(" ")}`)] : [];
  }

  function picturesOf(array, names, parts) {
    const { axes, shape, data } = array;
    if (axes.at(-1) === "V" && parts.every((one) => one.every(addsUpToOne))) return barsOf(names, parts.flat());
    const flat = known(data);
    const several = parts.length > 1;
    const limit = Charts.limit(flat);
    const options = {
      ...titlesOf(axes),
      rows: shape.length > 1 ? names.at(-2) : [""],
      columns: names.at(-1),
      limit,
      numbers: names.at(-1).length <= FEW && limit >= SMALL && limit < LARGE,
      legend: false,
      axes: !several,
    };
    const maps = parts.map((values, i) => Charts.heat({ ...options, values, title: partTitle(axes, names, i) }));
    const scale = { lowest: Math.min(0, ...flat), highest: Math.max(0, ...flat), missing: flat.length < data.length };
    return [
      element("div", { class: "maps" }, ...maps),
      ...(several ? [element("p", { class: "small" }, Charts.axes(options))] : []),
      Charts.scale({ ...scale, limit, pale: options.numbers }),
    ];
  }

  function titlesOf(axes) {
    const [down, across] = [axes.at(-2), axes.at(-1)];
    if (down === "T" && across === "T") return { rowTitle: "position that looks", columnTitle: "position that it looks at" };
    return { rowTitle: axes.length > 1 ? titleOf(down) : "", columnTitle: titleOf(across) };
  }

  const titleOf = (axis) => AXES[axis] ?? axis;

  // Probabilities of what comes next: a row of bars for each position.
  function barsOf(names, rows) {
    const top = Math.max(...rows.flat());
    const spelled = rows.length > 1 ? names.at(-2) : [];
    return rows.map((values, i) =>
      Charts.bars({
        values,
        labels: names.at(-1),
        title: spelled.length ? `after ${spelled.slice(0, i + 1).join(" ")}` : "",
        axis: "probability of each token",
        top,
      }));
  }

  const addsUpToOne = (row) => row.every((number) => number !== null && number >= 0) && Math.abs(row.reduce((a, b) => a + b, 0) - 1) < ROUNDING;

  function partTitle(axes, names, i) {
    return axes.length < 3 ? "" : `${titleOf(axes[0])} ${names[0][i]}`;
  }

  // Returns an array as tables: one, or one for each index of the axes before the last two.
  function tables({ shape, data }) {
    const wide = shape.at(-1) ?? 1;
    const rows = [];
    for (let at = 0; at < data.length; at += wide) rows.push(data.slice(at, at + wide).map(finite));
    const high = shape.length > 1 ? shape.at(-2) : 1;
    const made = [];
    for (let at = 0; at < rows.length; at += high) made.push(rows.slice(at, at + high));
    return made;
  }

  const finite = (number) => (typeof number === "number" ? number : null); // infinity is given as a text
  const known = (data) => data.map(finite).filter((number) => number !== null);

  // Positions are labelled by their tokens, tokens by their characters; the rest is counted.
  function labelsOf(axis, size, { tokens, vocabulary }) {
    const spelled = tokens.map((token) => vocabulary[token]);
    if ((axis === "T" || axis === "T+1") && size <= spelled.length) return spelled.slice(0, size);
    if (axis === "V" && size === vocabulary.length) return vocabulary;
    return Array.from({ length: size }, (_, i) => String(i));
  }

  function allNumbers(title, axes, names, parts) {
    const tableOf = (values, i) =>
      Charts.table({
        ...titlesOf(axes),
        values,
        rows: axes.length > 1 ? names.at(-2) : [""],
        columns: names.at(-1),
        title: [title, partTitle(axes, names, i)].filter(Boolean).join(", "),
      });
    const made = element("details", {}, element("summary", {}, "All numbers"));
    made.addEventListener("toggle", () => made.append(...parts.map(tableOf)), { once: true });
    return made;
  }

  // One number for each weight: a choice of matrices.
  function perWeight(matrices, recorded) {
    const choice = element("select", {}, ...Object.keys(matrices).map((name) => element("option", {}, name)));
    const place = element("div");
    const show = () => place.replaceChildren(view(`Value for ${choice.value}`, matrices[choice.value], recorded));
    choice.addEventListener("change", show);
    show();
    return element("div", { class: "view" }, element("label", {}, "A number for each weight. Matrix ", choice), place);
  }

  function statisticsOnly({ statistics, shape, axes }, kept) {
    const { mean, min, max } = statistics;
    return element(
      "section",
      { class: "view" },
      element("h3", {}, "Value"),
      element("p", { class: "small" }, `${shapeText({ shape, axes })} · mean ${format(mean)} · from ${format(min)} to ${format(max)}`),
      element("p", {}, kept ? `All its numbers are kept for the document ${about.documents[0]}.` : "There are too many numbers to keep them all."),
    );
  }

  function movement(value, { steps, values }) {
    const same = values.find((other) => sameValue(other, value));
    if (!same) return null;
    const series = ["mean", "rms"].map((name) => ({ name: name === "rms" ? "root mean square" : name, values: same[name] }));
    return element(
      "section",
      { class: "view moved" },
      element("h3", {}, "Over training"),
      Charts.lines({ series, x: steps, xTitle: "steps of training", caption: "Its mean and its size at the moments that are recorded." }),
    );
  }

  Course.ready(begin);
  return { openAt };
})();
