// Pictures with two axes, as SVG that is drawn anew for every width: so its text always has the size of other text.
//
//   Course.svg(name, attributes, ...children) -> an element of SVG
//   Course.picture(height, draw) -> <div> that shows draw(width), at every width that it gets; its redraw() shows it anew
//   Course.axes({width, height, x, y, xTitle, yTitle, label}) -> {drawn, px, py, across}
//       an SVG with a grid, x and y being [lowest, highest], and where a number is in it; across(event) is the number on
//       the axis x that a pointer is at; `label` says the picture in words
//   Course.curve(points, css) -> a line through [[right, down], …]
//   Course.keys(names, css) -> which curve is which; css(i) are the classes of a curve, by default curve-0, curve-1 …
(() => {
  const { element } = Course;
  const EDGE = { left: 52, right: 14, top: 10, bottom: 42 };
  const [WIDE, HIGH] = [70, 20]; // from one label of an axis to the next, at least

  Course.svg = (name, attributes = {}, ...children) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };

  Course.picture = (height, draw) => {
    const place = element("div", { class: "picture", style: `height:${height}px` });
    place.redraw = () => place.clientWidth && place.replaceChildren(draw(place.clientWidth));
    new ResizeObserver(place.redraw).observe(place);
    return place;
  };

  Course.axes = ({ width, height, x, y, xTitle, yTitle = "", label }) => {
    const top = EDGE.top + (yTitle ? 16 : 0);
    const [wide, high] = [width - EDGE.left - EDGE.right, height - top - EDGE.bottom];
    const px = (value) => EDGE.left + ((value - x[0]) / (x[1] - x[0] || 1)) * wide;
    const py = (value) => top + ((y[1] - value) / (y[1] - y[0] || 1)) * high;
    const drawn = Course.svg("svg", { class: "plot", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
    const write = (at, text) => drawn.append(Course.svg("text", at, text));
    for (const [value, text] of levels(...y, Math.floor(high / HIGH))) {
      drawn.append(Course.svg("path", { class: "grid", d: `M${EDGE.left} ${py(value)}h${wide}` }));
      write({ class: "up", x: EDGE.left - 8, y: py(value) + 4 }, text);
    }
    for (const [value, text] of levels(...x, Math.max(2, Math.floor(wide / WIDE)))) {
      write({ class: "across", x: px(value), y: height - EDGE.bottom + 17 }, text);
    }
    write({ class: "across", x: EDGE.left + wide / 2, y: height - 6 }, xTitle);
    write({ x: 0, y: 12 }, yTitle);
    const across = (event) => x[0] + ((event.clientX - drawn.getBoundingClientRect().left - EDGE.left) / wide) * (x[1] - x[0]);
    return { drawn, px, py, across };
  };

  // Round numbers from one end to the other, 0.1, 0.2, 0.3 …, as [number, text]: with as many digits as tell two apart.
  function levels(low, high, most) {
    const rough = (high - low || 1) / most;
    const ten = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((times) => times * ten).find((size) => size >= rough);
    const found = [];
    const digits = Math.max(0, -Math.floor(Math.log10(step)));
    for (let k = Math.ceil(low / step); k * step <= high; k++) {
      found.push([k * step, (k * step).toFixed(digits).replace("-", "−")]);
    }
    return found;
  }

  Course.curve = (points, css) =>
    Course.svg("polyline", { class: css, points: points.map((point) => point.map((at) => at.toFixed(1)).join()).join(" ") });

  Course.keys = (names, css = (i) => `curve-${i}`) =>
    element("div", { class: "keys" }, ...names.map((name, i) => element("span", { class: "key" }, element("i", { class: css(i) }), name)));
})();
