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

  const inWords = ({ name, values }) => `${name}: from ${short(values[0])} to ${short(values.at(-1))}.`;
  const css = (curve, i) => `curve-${i}${curve.quiet ? " quiet" : ""}`;

  function framed({ curves, x, caption }) {
    const all = curves.flatMap((curve) => curve.values);
    const room = (Math.max(...all) - Math.min(...all)) * 0.05;
    const ends = {
      x: [Math.min(...curves.map((curve) => curve.first)), Math.max(...curves.map((curve) => curve.first + curve.values.length - 1))],
      y: [Math.min(...all) - room, Math.max(...all) + room],
    };
    const label = `${caption} ${curves.map(inWords).join(" ")}`;
    let across; // from a pointer to a step
    const place = Course.picture(HEIGHT, (width) => {
      const axes = Course.axes({ width, height: HEIGHT, ...ends, xTitle: x, label });
      const { drawn, px, py } = axes;
      across = axes.across;
      curves.forEach((curve, i) => drawn.append(Course.curve(curve.values.map((value, k) => [px(curve.first + k), py(value)]), css(curve, i))));
      drawn.append(svg("path", { class: "cursor", d: `M${px(chosen.step)} ${py(ends.y[1])}V${py(ends.y[0])}` }));
      curves.forEach((curve, i) => {
        const value = curve.values[chosen.step - curve.first];
        if (value !== undefined) drawn.append(svg("circle", { class: css(curve, i), cx: px(chosen.step), cy: py(value), r: 4 }));
      });
      return drawn;
    });
    place.classList.add("curves");
    place.addEventListener("pointerdown", (event) => go(across(event)));
    place.addEventListener("pointermove", (event) => event.buttons === 1 && go(across(event)));
    const keys = Course.keys(curves.map((curve) => curve.name), (i) => css(curves[i], i));
    return make("figure", {}, keys, place, make("figcaption", {}, caption));
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
    else for (const place of pictures.querySelectorAll(".curves")) place.redraw();
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
