// Chapters Optimizer and Training: curves over the steps of a training, and what one step has to say.
//
// data.options: [{label, title, pictures: [{x, caption, curves: [{name, values, first, quiet}]}], facts: [[name, values]]}]
//   values of a curve belong to the steps first, first + 1, …; a quiet curve is drawn thin, behind the others.
//   Of the chosen step, the values of all curves are shown, and the facts, whose values belong to the steps 1, 2, …
// data.choose: what is chosen among the options; data.marks: [[text, step]], steps worth going to.
Course.widget("steps", (element, data) => {
  const make = Course.element;
  const { svg } = Course;
  const [first] = data.options[0].pictures[0].curves;
  const steps = first.first + first.values.length - 1;
  const chosen = { option: 0, step: data.step ?? 1 };
  const HEIGHT = 230;
  const EDGE = { left: 56, right: 12, top: 10, bottom: 42 };
  const pictures = make("div");
  const facts = make("div", { role: "status" });

  const shown = (value) => (typeof value === "number" ? Course.format(value) : value);
  const short = (value) => String(Number(value.toPrecision(3))).replace("-", "−");

  const slider = Course.slider("Step", { min: 1, max: steps, value: chosen.step, show: String }, (step) => {
    chosen.step = step;
    show();
  });

  function go(step) {
    const input = slider.querySelector("input");
    input.value = Math.min(Math.max(Math.round(step), 1), steps);
    input.dispatchEvent(new Event("input"));
  }

  // A picture is drawn anew for every width, so that its text always has the size of other text.
  function draw(picture, place) {
    const width = Math.max(280, place.clientWidth);
    const last = Math.max(...picture.curves.map((curve) => curve.first + curve.values.length - 1));
    const from = Math.min(...picture.curves.map((curve) => curve.first));
    const all = picture.curves.flatMap((curve) => curve.values);
    const room = (Math.max(...all) - Math.min(...all)) * 0.05;
    const [low, high] = [Math.min(...all) - room, Math.max(...all) + room];
    const px = (step) => EDGE.left + ((step - from) / (last - from)) * (width - EDGE.left - EDGE.right);
    const py = (value) => EDGE.top + ((high - value) / (high - low)) * (HEIGHT - EDGE.top - EDGE.bottom);
    const label = `${picture.caption} ${picture.curves.map(inWords).join(" ")}`;
    const drawn = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, height: HEIGHT, width, role: "img", "aria-label": label });
    for (const value of levels(low, high)) {
      drawn.append(svg("path", { class: "grid", d: `M${EDGE.left} ${py(value)}H${width - EDGE.right}` }));
      drawn.append(svg("text", { class: "up", x: EDGE.left - 6, y: py(value) + 4 }, short(value)));
    }
    for (let part = 0; part <= 5; part++) {
      const step = Math.round(part === 0 ? from : (part * last) / 5);
      drawn.append(svg("text", { class: part === 5 ? "end" : "", x: part === 5 ? width - EDGE.right : px(step), y: HEIGHT - 24 }, String(step)));
    }
    drawn.append(svg("text", { x: (EDGE.left + width - EDGE.right) / 2, y: HEIGHT - 6 }, picture.x));
    picture.curves.forEach((curve, i) => {
      const points = curve.values.map((value, k) => `${px(curve.first + k).toFixed(1)},${py(value).toFixed(1)}`).join(" ");
      drawn.append(svg("polyline", { class: `curve-${i}${curve.quiet ? " quiet" : ""}`, points }));
    });
    drawn.append(svg("path", { class: "cursor", d: `M${px(chosen.step)} ${EDGE.top}V${HEIGHT - EDGE.bottom}` }));
    picture.curves.forEach((curve, i) => {
      const value = curve.values[chosen.step - curve.first];
      if (value !== undefined) drawn.append(svg("circle", { class: `curve-${i}${curve.quiet ? " quiet" : ""}`, cx: px(chosen.step), cy: py(value), r: 4 }));
    });
    const point = (event) => {
      const box = drawn.getBoundingClientRect();
      go(from + ((event.clientX - box.left - EDGE.left) / (width - EDGE.left - EDGE.right)) * (last - from));
    };
    drawn.addEventListener("pointerdown", point);
    drawn.addEventListener("pointermove", (event) => event.buttons === 1 && point(event));
    place.replaceChildren(drawn);
  }

  // Round numbers between two ends: 0.1, 0.2, 0.3 …
  function levels(low, high) {
    const rough = (high - low) / 4;
    const ten = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((times) => times * ten).find((size) => size >= rough);
    const found = [];
    for (let k = Math.ceil(low / step); k * step <= high; k++) found.push(k * step);
    return found;
  }

  const inWords = ({ name, values }) => `${name}: from ${short(values[0])} to ${short(values.at(-1))}.`;

  function framed(picture) {
    const place = make("div", { class: "curves" });
    new ResizeObserver(() => draw(picture, place)).observe(place);
    const keys = picture.curves.map((curve, i) =>
      make("span", { class: "key" }, make("i", { class: `curve-${i}${curve.quiet ? " quiet" : ""}` }), curve.name),
    );
    return make("figure", {}, make("div", { class: "keys" }, ...keys), place, make("figcaption", {}, picture.caption));
  }

  function table({ title, facts: others, pictures: drawn }) {
    const curves = drawn.flatMap((picture) => picture.curves);
    const all = [...others, ...curves.map(({ name, values, first }) => [name, values.slice(1 - first)])];
    const cells = all.map(([name, values]) => make("div", {}, make("dt", {}, name), make("dd", {}, shown(values[chosen.step - 1]))));
    return [make("p", { class: "small" }, title ? `${title}, step ${chosen.step}:` : `Step ${chosen.step}:`), make("dl", { class: "facts" }, ...cells)];
  }

  function show(anew = false) {
    const option = data.options[chosen.option];
    facts.replaceChildren(...table(option));
    if (anew) pictures.replaceChildren(...option.pictures.map(framed));
    else [...pictures.querySelectorAll(".curves")].forEach((place, i) => draw(option.pictures[i], place));
  }

  const controls = [slider];
  if (data.options.length > 1) {
    const labels = data.options.map(({ label }, i) => [i, label]);
    controls.unshift(
      Course.choice(data.choose, labels, 0, (i) => {
        chosen.option = i;
        show(true);
      }),
    );
  }
  for (const [text, step] of data.marks ?? []) controls.push(make("button", { type: "button", onclick: () => go(step) }, text));
  element.append(make("h3", {}, data.title), Course.controls(...controls), facts, pictures);
  show(true);
});
