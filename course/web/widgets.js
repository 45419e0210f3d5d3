// The frame of what can be played with in a chapter, and the controls and pictures that several of them use.
//
// A widget is a file web/widgets/<name>.js:
//
//   Course.widget("name", (element, data) => { … });
//
// `data` is what the chapter gave it. The function fills `element`, where the chapter's text for readers without
// JavaScript was. Shared, all of them functions that return an element:
//
//   Course.slider(label, {min, max, step, value, show}, onchange)   onchange(number); show(number) -> text
//   Course.choice(label, [[value, text], …], value, onchange)       buttons of which one is pressed
//   Course.toggle(label, on, onchange)                              onchange(true or false)
//   Course.field(label, value, onchange)                            one line of text
//   Course.controls(control, …)                                     controls in a row
//   Course.heat({rows, cols, values, caption, digits, rowTitle, colTitle, largest, numbers})
//                                                                   coloured table; null is an empty cell
//   Course.bars({labels, values, others, caption, show, largest, marked})
//                                 others: values to compare with, drawn as marks; marked: labels that stand out
//   Course.plot({curves: [{points: [[x, y], …], label}], x, y, dot, range: {y}})   curves; x and y name the axes
//   Course.say(text)                                                a line that screen readers hear when it changes
(() => {
  const { element, format } = Course;

  Course.widget = (name, draw) =>
    Course.ready(() => {
      for (const place of document.querySelectorAll(`[data-widget="${name}"]`)) {
        const fallback = place.querySelector(":scope > .fallback");
        const made = element("div");
        // The text for readers without JavaScript only gives way to a widget that works.
        draw(made, JSON.parse(place.querySelector(":scope > script").textContent));
        fallback?.remove();
        place.append(...made.childNodes);
        place.dataset.ready = "";
      }
    });

  Course.slider = (label, { min, max, step = 1, value, show = format }, onchange) => {
    const output = element("output", {}, show(value));
    const input = element("input", { type: "range", min, max, step, value });
    input.addEventListener("input", () => {
      output.textContent = show(input.valueAsNumber);
      input.setAttribute("aria-valuetext", output.textContent);
      onchange(input.valueAsNumber);
    });
    input.setAttribute("aria-valuetext", output.textContent);
    return element("label", { class: "slider" }, element("span", {}, label), input, output);
  };

  let groups = 0;
  Course.choice = (label, options, value, onchange) => {
    const name = `choice-${++groups}`;
    const buttons = options.map(([key, text]) => {
      const input = element("input", { type: "radio", name, checked: key === value });
      input.addEventListener("change", () => onchange(key));
      return element("label", {}, input, element("span", {}, text));
    });
    return element("fieldset", {}, element("legend", {}, label), element("div", { class: "choices" }, ...buttons));
  };

  Course.toggle = (label, on, onchange) => {
    const input = element("input", { type: "checkbox", checked: on });
    input.addEventListener("change", () => onchange(input.checked));
    return element("label", { class: "toggle" }, input, " ", label);
  };

  Course.field = (label, value, onchange) => {
    const input = element("input", { type: "text", value, autocomplete: "off", spellcheck: "false", maxlength: 40 });
    input.addEventListener("input", () => onchange(input.value));
    return element("label", {}, element("span", {}, label), input);
  };

  Course.controls = (...controls) => element("div", { class: "controls" }, ...controls);

  Course.say = (text = "") => element("p", { role: "status" }, text);

  const STRENGTH = 48; // as in figures.py

  Course.heat = ({ rows, cols, values, caption, digits = 2, rowTitle, colTitle, largest, numbers = true }) => {
    const all = values.flat().filter((x) => x !== null);
    const end = largest ?? Math.max(...all.map(Math.abs), 1e-12);
    const cell = (x) => {
      if (x === null) return element("td", { class: "hidden-cell" });
      const share = `--share:${Math.round(STRENGTH * Math.min(1, Math.abs(x) / end))}%`;
      const shown = x.toFixed(digits).replace("-", "−");
      const inner = numbers ? shown : element("span", { class: "only-heard" }, shown);
      return element("td", { class: x < 0 ? "minus" : "plus", style: share, title: format(x) }, inner);
    };
    const corner = [rowTitle && `${rowTitle} ↓`, colTitle && `${colTitle} →`].filter(Boolean);
    const head = element("tr", {}, element("td", { class: "corner" }, ...corner.map((title) => element("span", {}, title))));
    head.append(...cols.map((col) => element("th", { scope: "col" }, String(col))));
    const line = (row, i) => element("tr", {}, element("th", { scope: "row" }, String(row)), ...values[i].map(cell));
    const body = element("tbody", {}, ...rows.map(line));
    const table = element("table", { class: numbers ? "heat" : "heat small" }, element("thead", {}, head), body);
    return element(
      "figure",
      { class: "tensor" },
      element("div", { class: "scroll", role: "group", tabindex: 0, "aria-label": caption }, table),
      element("figcaption", {}, `${caption} `, scale(end, digits, all.some((x) => x < 0))),
    );
  };

  function scale(end, digits, below) {
    const ends = [["zero", "0"], ["plus", end.toFixed(digits)]];
    if (below) ends.unshift(["minus", `−${end.toFixed(digits)}`]);
    const swatches = ends.map(([css, text]) => element("span", {}, element("i", { class: css }), text));
    return element("span", { class: "scale", "aria-hidden": "true" }, ...swatches);
  }

  Course.bars = ({ labels, values, caption, others = [], show = format, largest, marked = [] }) => {
    const end = largest ?? Math.max(...values, ...others, 1e-12);
    const share = (x) => `--share:${Math.min(100, (100 * x) / end)}%`;
    const rows = labels.map((label, i) => {
      const track = element("span", { class: "track" }, element("i", { style: share(values[i]) }));
      if (others.length) track.append(element("b", { style: share(others[i]), title: show(others[i]) }));
      const cells = [element("td", {}, track), element("td", { class: "number" }, show(values[i]))];
      const head = element("th", { scope: "row" }, label);
      return element("tr", { class: marked.includes(label) && "marked" }, head, ...cells);
    });
    return element("table", { class: "bars" }, element("caption", {}, caption), element("tbody", {}, ...rows));
  };

  const HEIGHT = 260;

  // curves: [{points, label}]; x, y: what the axes are; dot: [x, y]
  Course.plot = ({ curves, x, y, dot, range = {}, caption = `${y} against ${x}` }) => {
    const points = curves.flatMap((curve) => curve.points);
    const from = { x: ends(points.map(([a]) => a)), y: range.y ?? ends([0, ...points.map(([, b]) => b)]) };
    const place = Course.picture(HEIGHT, (width) => {
      const { drawn, px, py } = Course.axes({ width, height: HEIGHT, ...from, xTitle: x, yTitle: y, label: caption });
      curves.forEach((curve, i) => drawn.append(Course.curve(curve.points.map(([a, b]) => [px(a), py(b)]), `curve-${i}`)));
      if (dot) drawn.append(Course.svg("circle", { class: "curve-0", cx: px(dot[0]), cy: py(dot[1]), r: 5 }));
      return drawn;
    });
    const keys = curves.length > 1 ? [Course.keys(curves.map((curve) => curve.label))] : [];
    return element("figure", {}, ...keys, place, element("figcaption", {}, `${caption}.`));
  };

  function ends(values) {
    return [Math.min(...values), Math.max(...values)];
  }
})();
