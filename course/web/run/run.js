// The page that runs a lesson: an editor with its text, its output line by line beside the recorded one, the curve of its
// losses, own names to train on, and questions to the model that it has trained.
(() => {
  const { element, store } = Course;
  const SMOOTHED = 20; // steps: the loss of one name says little, so the curve shows means over the last ones
  const SHOWN = 1000; // lines of output in the page at most
  const REDRAW = 150; // milliseconds between two drawings of what has come in, or more where drawing takes long
  const LARGEST = 1_000_000; // bytes of own names
  const LOSS = /\bloss\s+(-?\d+(?:\.\d+)?(?:e[-+]?\d+)?)/i;
  const DRAWN = 5; // names that the model finishes at once
  const find = (id) => document.getElementById(id);
  const count = (number, one, many = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

  let lesson; // what the file is and what it prints: data run/lesson
  let editor;
  let python;
  let run = null; // what is known of the run that goes on, or of the last one

  Course.ready(async () => {
    find("run").hidden = false;
    try {
      lesson = await Course.load("run/lesson");
    } catch (error) {
      return notice(`The file cannot be shown: ${error.message}.`);
    }
    if (!window.DecompressionStream || !Course.Editor) return notice("This browser is too old to run Python in a page.");
    makeEditor();
    makePython();
    watchButtons();
    watchNames();
    watchPrompt();
    drawCurve([]);
  });

  function notice(text) {
    find("run-notice").textContent = text;
    find("run-notice").hidden = false;
  }

  // The text
  function makeEditor() {
    editor = Course.Editor.create({
      parent: find("run-editor"),
      text: store.get("run.text") ?? lesson.text,
      label: lesson.name,
      describedBy: "run-editor-help",
      changed: textChanged,
    });
    addEventListener("pagehide", keepText);
    showTextState();
  }

  let keeping = 0;
  function textChanged() {
    clearTimeout(keeping);
    keeping = setTimeout(keepText, 300);
    showTextState();
  }

  function keepText() {
    store.set("run.text", editor.text === lesson.text ? null : editor.text);
  }

  function showTextState() {
    const edited = editor.text !== lesson.text;
    find("run-text-state").textContent = edited
      ? `${lesson.name}, with your changes.`
      : `Unchanged: ${lesson.name}, SHA-256 ${lesson.sha256.slice(0, 16)}…`;
    enable("run-reset", edited);
  }

  // Buttons that cannot be used now stay where the keyboard is; `disabled` would take the focus away.
  function enable(id, possible) {
    find(id).setAttribute("aria-disabled", String(!possible));
  }

  function press(id, action) {
    return () => find(id).getAttribute("aria-disabled") !== "true" && action();
  }

  function watchButtons() {
    const actions = { "run-start": start, "run-stop": stop, "run-reset": reset };
    const keys = { "run-start": "Enter", "run-stop": "Shift Enter", "run-reset": "Shift Backspace" };
    for (const [id, action] of Object.entries(actions)) find(id).addEventListener("click", press(id, action));
    const onKey = (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      const pressed = `${event.shiftKey ? "Shift " : ""}${event.key}`;
      const id = Object.keys(keys).find((one) => keys[one] === pressed);
      if (!id) return;
      event.preventDefault();
      event.stopPropagation(); // in the editor these keys would do something else as well
      press(id, actions[id])();
    };
    document.addEventListener("keydown", onKey, true);
    find("run-go-to").addEventListener("click", () => editor.goTo(run.end.error.line));
  }

  function reset() {
    editor.replace(lesson.text);
    keepText();
  }

  // The run
  function makePython() {
    python = new Course.Python();
    python.on("line", takeLine);
    python.on("progress", ({ done, total }) => {
      const loaded = `${(done / 1e6).toFixed(1)} of ${(total / 1e6).toFixed(1)} MB`;
      if (goesOn()) showState(`Loading Python: ${loaded}`, done / total);
    });
    python.on("state", (state) => {
      if (goesOn() && state === "starting") showState("Starting Python …", null);
      if (goesOn() && state === "running") showState(`Python ${Course.Python.version} runs your text.`);
    });
  }

  const goesOn = () => run !== null && run.end === null;

  // `share` is how much of a task is done, null where nobody knows, undefined where there is no task.
  function showState(text, share) {
    find("run-state").textContent = text;
    const progress = find("run-progress");
    progress.hidden = share === undefined;
    if (share === null) progress.removeAttribute("value");
    else progress.value = share ?? 0;
  }

  async function start() {
    keepText();
    const names = namesToUse();
    if (names === "") {
      find("run-names").open = true;
      find("names-text").focus();
      return showState("There are no names to train on: write some, or untick “Train on them”.");
    }
    const own = { text: editor.text, names, end: null, lines: 0, same: 0, different: null };
    Object.assign(own, { waiting: [], losses: [], redraw: null, curve: null, drawing: 0 }); // what is still to be drawn
    const stopped = new Promise((resolve) => (own.stop = () => resolve({ stopped: true })));
    run = own;
    clearOutput();
    enable("run-start", false);
    enable("run-stop", true);
    closePrompt("The model is being trained.");
    showState("Loading Python …", null);
    Course.bringIntoView(find("run-output").parentElement); // on a narrow screen it is below the text
    showEnd(await Promise.race([work(own), stopped]));
  }

  async function work(own) {
    try {
      const files = await Course.load("run/files");
      if (asking) python.stop(); // after an edit, a question may never be answered
      await turn;
      if (own !== run || own.end) return null; // stopped meanwhile
      python.write({ ...files, [lesson.names]: own.names ?? files[lesson.names], [lesson.path]: own.text });
      return await python.run({ path: lesson.path, keep: ["main"] });
    } catch (error) {
      return { exit: 1, traceback: `${error.message}\n` };
    }
  }

  function stop() {
    run.stop();
    python.stop();
  }

  function showEnd(end) {
    run.end = end;
    flush();
    drawCurve(run.losses);
    enable("run-start", true);
    enable("run-stop", false);
    showState(howItEnded(end));
    showSummary();
    showError(end);
    if (end.exit === 0) openPrompt();
    else closePrompt("Run the file to its end first.");
  }

  function howItEnded(end) {
    const printed = `after ${count(run.lines, "line")}. Your text is kept.`;
    if (end.stopped) return `Stopped ${printed}`;
    if (end.exit !== 0) return `It ended with ${end.traceback ? "an error" : `exit code ${end.exit}`} ${printed}`;
    return `Finished in ${end.seconds.toFixed(1)} seconds, by Python ${Course.Python.version} in this page.`;
  }

  function showError(end) {
    find("run-error").hidden = !end.traceback;
    find("run-traceback").textContent = end.traceback ?? "";
    const line = end.error?.line ?? null;
    find("run-go-to").hidden = line === null;
    find("run-go-to").textContent = `Go to line ${line}`;
    editor.mark(editor.text === run.text ? line : null);
  }

  // The output
  function clearOutput() {
    find("run-lines").replaceChildren();
    find("run-error").hidden = true;
    find("run-summary").textContent = "";
    find("run-summary").className = "run-summary";
    editor.mark(null);
    drawCurve([]);
  }

  function takeLine({ text, stream }) {
    if (!goesOn()) return;
    const recorded = stream === "stdout" ? lesson.printed[run.lines] : undefined;
    if (stream === "stdout") run.lines++;
    const same = text === recorded;
    if (same) run.same++;
    else if (stream === "stdout") run.different ??= run.lines;
    run.waiting.push({ text, stream, recorded, same });
    if (run.waiting.length > 2 * SHOWN) run.waiting = run.waiting.slice(-SHOWN);
    run.redraw ??= setTimeout(flush, Math.max(REDRAW, 5 * run.drawing));
    if (run.losses.length < 5 * lesson.printed.length) takeLoss(text); // a longer run is drawn as far as that
  }

  function takeLoss(text) {
    const loss = LOSS.exec(text);
    if (!loss) return;
    run.losses.push(Number(loss[1]));
    run.curve ??= setTimeout(() => drawCurve(run.losses), 2 * REDRAW);
  }

  function flush() {
    clearTimeout(run.redraw);
    run.redraw = null;
    if (!run.waiting.length) return;
    const began = performance.now();
    const box = find("run-lines-box");
    const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
    find("run-lines").append(...run.waiting.slice(-SHOWN).map(lineElement));
    run.waiting = [];
    cutLines();
    if (atEnd) box.scrollTop = box.scrollHeight;
    showSummary();
    run.drawing = performance.now() - began;
  }

  function lineElement({ text, stream, recorded, same }) {
    if (stream === "stderr") return element("li", { class: "plain err" }, text);
    if (same) return element("li", { class: "same" }, text);
    if (recorded === undefined) return element("li", { class: "other" }, text);
    const printed = element("span", { class: "printed" }, ...differing(text.split(/(\s+)/), recorded.split(/(\s+)/)));
    return element("li", { class: "other" }, printed, element("span", { class: "recorded" }, recorded));
  }

  const differing = (words, others) => words.map((word, i) => (word === others[i] ? word : element("b", {}, word)));

  function cutLines() {
    const list = find("run-lines");
    const tooMany = list.children.length - SHOWN;
    if (tooMany <= 0) return;
    for (let i = 0; i < tooMany; i++) list.firstChild.remove();
    if (list.firstChild.className === "cut") return;
    list.prepend(element("li", { class: "cut" }, "What came before is no longer shown."));
  }

  function showSummary() {
    const summary = find("run-summary");
    const total = lesson.printed.length;
    const all = run.same === total && run.lines === total;
    summary.setAttribute("aria-live", run.end ? "polite" : "off"); // a screen reader says it once
    summary.classList.toggle("all", all);
    if (!run.lines) summary.textContent = "";
    else if (all) summary.textContent = `All ${total} lines are those recorded.`;
    else summary.textContent = `${run.same} of ${total} lines are those recorded${run.end ? "" : " so far"}. ${whyDifferent()}`;
  }

  function whyDifferent() {
    if (!run.different) return "";
    const reasons = [];
    if (run.text !== lesson.text) reasons.push("the text is changed");
    if (run.names) reasons.push("it trains on your names");
    const expected = `that is expected, because ${reasons.join(" and ")}`;
    return `They differ from line ${run.different} on: ${reasons.length ? expected : "the file is unchanged, so this should not be"}.`;
  }

  // The curve
  const means = (losses) => losses.map((_, i) => mean(losses.slice(Math.max(0, i + 1 - SMOOTHED), i + 1)));
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  let recordedMeans = null;

  function drawCurve(losses) {
    if (run) run.curve = null;
    recordedMeans ??= means(lesson.printed.flatMap((line) => (LOSS.exec(line) ? [Number(LOSS.exec(line)[1])] : [])));
    const own = means(losses);
    const x = (values) => values.map((_, i) => i + 1);
    const series = [{ name: "recorded", values: recordedMeans, x: x(recordedMeans) }];
    if (own.length) series.push({ name: "this run", values: own, x: x(own) });
    const curve = Charts.lines({
      series,
      x: x(recordedMeans),
      xTitle: "step",
      yTitle: `loss, mean of the last ${SMOOTHED} steps`,
      title: "How the loss falls",
      caption: whatALossMeans(),
    });
    find("run-curve").replaceChildren(curve);
  }

  function whatALossMeans() {
    const tokens = run?.names ? charactersOf(run.names).size + 1 : lesson.tokens;
    const guess = `A model that knows nothing and guesses among ${tokens} tokens has a loss of ln ${tokens} = ${Math.log(tokens).toFixed(2)}.`;
    return `${guess} A loss of 2 leaves it as unsure as a choice among e² = ${(Math.E ** 2).toFixed(1)} equally likely tokens.`;
  }

  // Own names
  function watchNames() {
    const kept = store.get("run.names") ?? { text: "", use: false };
    find("names-text").value = kept.text;
    find("names-use").checked = kept.use;
    find("run-names").open = kept.use;
    find("names-text").addEventListener("input", () => {
      find("names-use").checked = find("names-text").value.trim() !== "";
      keepNames();
    });
    find("names-use").addEventListener("change", keepNames);
    find("names-file").addEventListener("change", readFile);
    showNames();
  }

  function keepNames() {
    store.set("run.names", { text: find("names-text").value, use: find("names-use").checked });
    showNames();
  }

  async function readFile() {
    const [file] = find("names-file").files;
    if (!file) return;
    if (file.size > LARGEST) return sayOfNames(`${file.name} is larger than ${LARGEST / 1e6} MB. Choose a smaller file.`, true);
    try {
      find("names-text").value = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
    } catch {
      return sayOfNames(`${file.name} is not a text in UTF-8. Save it as UTF-8, and choose it again.`, true);
    }
    find("names-use").checked = true;
    keepNames();
  }

  // Returns null where the file's own names are to be used.
  function namesToUse() {
    const text = find("names-text").value;
    return find("names-use").checked ? text.trim() && text : null;
  }

  const linesOf = (text) => text.split("\n").map((line) => line.trim()).filter(Boolean);
  const charactersOf = (text) => new Set(linesOf(text).join(""));

  function showNames() {
    const text = find("names-text").value;
    const they = `${count(linesOf(text).length, "name")} of ${count(charactersOf(text).size, "different character")}.`;
    const use = find("names-use").checked ? "The next run trains on them." : "They are not used.";
    sayOfNames(text.trim() ? `${they} ${use}` : "", false);
  }

  function sayOfNames(text, invalid) {
    find("names-state").textContent = text;
    find("names-state").classList.toggle("invalid", invalid);
  }

  // Questions to the trained model
  const controls = ["prompt-text", "prompt-temperature", "prompt-go"];
  let trained = false; // is there a model to ask?
  let asking = false;
  let turn = Promise.resolve(); // one question after the other
  let looks = 0;

  function watchPrompt() {
    find("prompt-text").addEventListener("input", look);
    find("prompt-temperature").addEventListener("input", look);
    find("prompt-form").addEventListener("submit", (event) => {
      event.preventDefault();
      draw();
    });
  }

  function closePrompt(why) {
    trained = false;
    for (const id of controls) find(id).disabled = true;
    for (const id of ["prompt-next", "prompt-heads", "prompt-drawn"]) find(id).replaceChildren();
    find("prompt-state").textContent = why;
  }

  function openPrompt() {
    trained = true;
    inTurn(async () => {
      const seen = await answer("prompt:look", "", null); // at the temperature of the file
      if (!seen) return;
      find("prompt-temperature").value = seen.temperature;
      for (const id of controls) find(id).disabled = false;
      look();
    });
  }

  function inTurn(question) {
    turn = turn
      .then(() => trained && question())
      .catch((error) => (find("prompt-state").textContent = error.message));
  }

  // Returns null, and says why, where there is no answer.
  async function answer(name, ...args) {
    asking = true;
    const end = await python.call(name, ...args).finally(() => (asking = false));
    if (end.stopped) return null;
    find("prompt-state").textContent = end.error?.type === "CannotAsk" ? end.error.message : end.traceback;
    return end.traceback ? null : end.value;
  }

  const asked = () => [find("prompt-text").value, Number(find("prompt-temperature").value)];

  function look() {
    const own = ++looks;
    find("prompt-temperature-shown").textContent = Number(find("prompt-temperature").value).toFixed(1);
    find("prompt-drawn").textContent = "";
    inTurn(async () => {
      const seen = own === looks ? await answer("prompt:look", ...asked()) : null; // typed on: only the last is asked
      if (seen) showLook(seen);
    });
  }

  function draw() {
    inTurn(async () => {
      const drawn = await answer("prompt:continuations", ...asked(), DRAWN);
      if (drawn) find("prompt-drawn").textContent = drawn.join(" · ");
    });
  }

  function showLook({ seen, labels, probs, heads }) {
    const after = seen.join(" ");
    const next = Charts.bars({
      values: probs,
      labels,
      title: `What comes after: ${after}`,
      axis: "probability",
      top: Math.ceil(10 * Math.max(...probs)) / 10,
      caption: "generate() draws the next token from these. BOS ends the name. A low temperature favours what is likely already.",
    });
    find("prompt-next").replaceChildren(next);
    const intro = "Where each position looks: the attn_weights of every head. A row adds up to 1.";
    const pictures = heads.map((head, i) => headPicture(head, i, seen));
    const legend = Charts.scale({ limit: 1, lowest: 0, highest: 1, missing: true });
    const none = "No attn_weights in attention() were seen, so there is no picture of attention.";
    const parts = pictures.length ? [intro, legend] : [none];
    find("prompt-heads").replaceChildren(element("div", { class: "run-heads-text" }, ...parts), ...pictures);
  }

  function headPicture({ layer, rows }, i, seen) {
    return Charts.heat({
      values: rows,
      rows: seen,
      columns: seen,
      rowTitle: "position that looks",
      columnTitle: "position looked at",
      title: `Head ${i + 1}, ${layer}`,
      limit: 1,
      legend: false,
    });
  }
})();
