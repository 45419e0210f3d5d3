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
//   Course.plot({curves: [{points: [[x, y], …], label}], x, y, dot, range})   curves; x and y name the axes
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
    const corner = [rowTitle && `${rowTitle} ↓`, colTitle && `${colTitle} →`].filter(Boolean).join(" ");
    const head = element("tr", {}, element("td", { class: "corner" }, corner));
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

  const SVG = "http://www.w3.org/2000/svg";
  function svg(name, attributes = {}, ...children) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }
  Course.svg = svg;

  const BOX = { width: 640, height: 260, left: 58, right: 14, top: 12, bottom: 44 };

  // curves: [{points, label}], of which the second and later ones are dashed; x, y: what the axes are; dot: [x, y]
  Course.plot = ({ curves, x, y, dot, range = {}, caption = `${y} against ${x}` }) => {
    const points = curves.flatMap((curve) => curve.points);
    const [x0, x1] = range.x ?? ends(points.map(([a]) => a));
    const [y0, y1] = range.y ?? ends([0, ...points.map(([, b]) => b)]);
    const px = (a) => BOX.left + ((a - x0) / (x1 - x0 || 1)) * (BOX.width - BOX.left - BOX.right);
    const py = (b) => BOX.height - BOX.bottom - ((b - y0) / (y1 - y0 || 1)) * (BOX.height - BOX.top - BOX.bottom);
    const viewBox = `0 0 ${BOX.width} ${BOX.height}`;
    const picture = svg("svg", { class: "plot", viewBox, role: "img", "aria-label": caption });
    const write = (at, text) => picture.append(svg("text", { "text-anchor": "middle", ...at }, text));
    for (const part of [0, 0.25, 0.5, 0.75, 1]) {
      const at = py(y0 + part * (y1 - y0));
      picture.append(svg("path", { class: part ? "grid" : "axis", d: `M${BOX.left} ${at}H${BOX.width - BOX.right}` }));
      write({ x: BOX.left - 6, y: at + 4, "text-anchor": "end" }, tick(y0 + part * (y1 - y0), (y1 - y0) / 4));
      const across = x0 + part * (x1 - x0);
      const anchor = part === 1 ? "end" : "middle";
      write({ x: px(across), y: BOX.height - BOX.bottom + 16, "text-anchor": anchor }, tick(across, (x1 - x0) / 4));
    }
    write({ x: (BOX.left + BOX.width) / 2, y: BOX.height - 6 }, x);
    write({ transform: `translate(12 ${BOX.height / 2 - 10}) rotate(-90)` }, y);
    curves.forEach((curve, i) => {
      const d = curve.points.map(([a, b], k) => `${k ? "L" : "M"}${px(a).toFixed(1)} ${py(b).toFixed(1)}`).join("");
      picture.append(svg("path", { class: i ? "curve other" : "curve", d }));
    });
    if (dot) picture.append(svg("circle", { class: "dot", cx: px(dot[0]), cy: py(dot[1]), r: 5 }));
    const named = curves.filter((curve) => curve.label).map((curve) => curve.label);
    const legend = named.length > 1 ? ` Solid: ${named[0]}. Dashed: ${named.slice(1).join(", ")}.` : "";
    return element("figure", {}, picture, element("figcaption", {}, `${caption}.${legend}`));
  };

  function ends(values) {
    return [Math.min(...values), Math.max(...values)];
  }

  // With as many digits as tell a tick from the next one, which is `apart` from it.
  function tick(number, apart) {
    const behind = apart > 0 ? Math.max(0, Math.ceil(1 - Math.log10(apart))) : 3;
    return String(Number(number.toFixed(behind))).replace("-", "−");
  }
})();
