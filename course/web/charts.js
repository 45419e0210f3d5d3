// Pictures of numbers, as HTML and SVG that follow the page's colours in light and dark. A page that uses them links
// assets/charts.css, assets/plot.js and assets/charts.js (after course.js). Every function returns an element; numbers may be null,
// which is drawn as "no number here" (a masked score, say). Each picture has a legend and names its axes.
//
//   Charts.heat({values, rows, columns, rowTitle, columnTitle, title, caption, limit, numbers, legend, axes}) -> <figure>
//       A matrix as coloured squares: values[row][column], red above 0, blue below. `rows` and `columns` are labels
//       (by default 0, 1, 2 …), `rowTitle` and `columnTitle` say what they count. `limit` is the number with the full
//       colour (by default the largest in size, so give it to compare two pictures). `numbers: true` writes each
//       number into its square, with two digits behind the point. `legend: false` and `axes: false` leave out the scale and what the axes are, where
//       several pictures share them: Charts.scale and Charts.axes.
//   Charts.scale({limit, lowest, highest, missing}) -> <div>      the legend of heat maps; from 0 where lowest >= 0
//   Charts.axes({rowTitle, columnTitle}) -> a text: what is across and what is down
//   Charts.bars({values, labels, title, caption, axis, top, marked}) -> <figure>
//       values[i] >= 0 as bars over labels[i]; `axis` says what their height is, `top` is the number at full height,
//       `marked` the index of a bar that stands out (the right answer, say).
//   Charts.lines({series, x, xTitle, yTitle, title, caption}) -> <figure>
//       series: [{name, values, x}], each drawn over `x` (or its own x), with a legend.
//   Charts.table({values, rows, columns, rowTitle, columnTitle, title}) -> <div>     the numbers with their headings
//   Charts.limit(values) -> the largest size of a number in nested arrays, 1 where all are 0
//
// Titles, labels and captions are texts. A title may be left out, a caption should say what the picture shows.
const Charts = (() => {
  const { element, format } = Course;

  const known = (values) => values.flat(Infinity).filter((value) => value !== null);
  const numbered = (length) => Array.from({ length }, (_, i) => String(i));

  function limit(values) {
    const largest = known(values).reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    return largest || 1;
  }

  function framed(kind, title, caption, ...parts) {
    const head = title ? [element("div", { class: "chart-title" }, title)] : [];
    const foot = caption ? [element("figcaption", {}, caption)] : [];
    return element("figure", { class: `chart chart-${kind}` }, ...head, ...parts, ...foot);
  }

  // Heat maps
  function heat(options) {
    const { values, title = "", caption = "", rowTitle = "", columnTitle = "", numbers = false, legend = true } = options;
    const rows = options.rows ?? numbered(values.length);
    const columns = options.columns ?? numbered(values[0].length);
    const most = options.limit ?? limit(values);
    const squares = heatSquares(values, rows, columns, most, numbers);
    const said = axes(options);
    const shown = element("output", { class: "chart-pointed", "aria-hidden": "true" });
    pointAt(squares, shown, options.axes === false ? "" : said, (at) => {
      const [row, column] = [Math.floor(at / columns.length), at % columns.length];
      return `${rowTitle} ${rows[row]}, ${columnTitle} ${columns[column]}: ${format(values[row][column])}`.trim();
    });
    squares.setAttribute("role", "img");
    squares.setAttribute("aria-label", `${title || "heat map"}, ${rows.length} by ${columns.length}. ${said}. ${inWords(values)}`);
    const flat = known(values);
    const ends = { limit: most, lowest: Math.min(0, ...flat), highest: Math.max(0, ...flat), missing: hasMissing(values) };
    return framed("heat", title, caption, squares, shown, ...(legend ? [scale({ ...ends, pale: numbers })] : []));
  }

  function axes({ rowTitle, columnTitle }) {
    return [columnTitle && `across: ${columnTitle}`, rowTitle && `down: ${rowTitle}`].filter(Boolean).join(" · ");
  }

  function heatSquares(values, rows, columns, most, numbers) {
    const wide = numbers ? "2.5rem" : "1.5rem";
    const made = element("div", { class: `chart-squares${numbers ? " chart-pale" : ""}` });
    made.style.gridTemplateColumns = `auto repeat(${columns.length}, minmax(0, ${wide}))`;
    const every = columns.length > 20 && columns.every((label) => /^\d+$/.test(label)) ? 8 : 1;
    made.append(element("span"));
    columns.forEach((label, i) => made.append(element("span", { class: "chart-column" }, i % every ? "" : label)));
    values.forEach((row, i) => {
      made.append(element("span", { class: "chart-row" }, rows[i]));
      for (const value of row) made.append(square(value, most, numbers));
    });
    return made;
  }

  function square(value, most, numbers) {
    const made = element("i", { class: value === null ? "chart-missing" : value < 0 ? "chart-minus" : "chart-plus" });
    if (value !== null) made.style.setProperty("--share", Math.min(1, Math.abs(value) / most).toFixed(3));
    if (numbers && value !== null) made.textContent = short(value);
    return made;
  }

  // A number for a square: with two digits behind the point, if there have to be any.
  function short(value) {
    const text = Number.isInteger(value) ? String(value) : value.toFixed(2);
    return text === "-0.00" ? "0.00" : text.replace("-", "−");
  }

  function pointAt(squares, shown, otherwise, say) {
    shown.textContent = otherwise;
    squares.addEventListener("pointermove", (event) => {
      const at = [...squares.querySelectorAll("i")].indexOf(event.target);
      shown.textContent = at < 0 ? otherwise : say(at);
    });
    squares.addEventListener("pointerleave", () => (shown.textContent = otherwise));
  }

  const hasMissing = (values) => values.flat(Infinity).includes(null);

  function inWords(values) {
    const flat = known(values);
    return flat.length ? `From ${format(Math.min(...flat))} to ${format(Math.max(...flat))}.` : "No numbers.";
  }

  function scale({ limit: most, lowest = -1, highest = 1, missing = false, pale = false }) {
    const ends = lowest < 0 && highest > 0 ? [-most, 0, most] : lowest < 0 ? [-most, 0] : [0, most];
    const kind = lowest < 0 && highest > 0 ? "both" : lowest < 0 ? "below" : "above";
    const marks = ends.map((end) => element("span", {}, format(end)));
    const bar = element("div", { class: `chart-scale ${kind}${pale ? " chart-pale" : ""}` }, element("i"), element("div", {}, ...marks));
    const none = missing ? [element("span", { class: "chart-none" }, element("i", { class: "chart-missing" }), " no number (masked)")] : [];
    return element("div", { class: "chart-legend" }, bar, ...none);
  }

  // Bars
  function bars({ values, labels, title = "", caption = "", axis = "", top = Math.max(...values) || 1, marked = -1 }) {
    const made = element("div", { class: "chart-bar-row", role: "img" });
    const largest = values.indexOf(Math.max(...values));
    const most = `highest: ${labels[largest]} with ${format(values[largest])}`;
    const own = marked < 0 ? "" : `; ${labels[marked]} has ${format(values[marked])}`;
    made.setAttribute("aria-label", `${title || axis || "bars"}: ${most}${own}`);
    values.forEach((value, i) => {
      const bar = element("i", { class: i === marked ? "chart-bar marked" : "chart-bar" });
      bar.style.height = `${(100 * value) / top}%`;
      made.append(element("span", { class: "chart-slot" }, bar, element("span", { class: "chart-bar-label" }, labels[i])));
    });
    const shown = element("output", { class: "chart-pointed", "aria-hidden": "true" }, `${axis}; ${most}${own}`);
    const slots = [...made.children];
    made.addEventListener("pointermove", (event) => {
      const at = slots.indexOf(event.target.closest(".chart-slot"));
      if (at >= 0) shown.textContent = `${labels[at]}: ${format(values[at])}`;
    });
    made.addEventListener("pointerleave", () => (shown.textContent = `${axis}; ${most}${own}`));
    const height = element("span", { class: "chart-bar-top", "aria-hidden": "true" }, format(top));
    return framed("bars", title, caption, element("div", { class: "chart-bar-box" }, height, made), shown);
  }

  // Lines
  const HEIGHT = 200;

  function lines({ series, x, xTitle = "", yTitle = "", title = "", caption = "" }) {
    const across = series.flatMap((one) => one.x ?? x);
    const up = series.flatMap((one) => one.values).filter((value) => value !== null);
    const ends = { x: [Math.min(...across), Math.max(...across)], y: padded(Math.min(...up), Math.max(...up)) };
    const label = `${title || yTitle}. ${series.map((one) => lineInWords(one)).join(" ")}`;
    const picture = Course.picture(HEIGHT, (width) => {
      const { drawn, px, py } = Course.axes({ width, height: HEIGHT, ...ends, xTitle, label });
      series.forEach((one, i) => drawn.append(...drawLine(one, one.x ?? x, `curve-${i}`, px, py)));
      return drawn;
    });
    const keys = Course.keys(series.map((one) => one.name));
    keys.prepend(yTitle);
    return framed("lines", title, caption, keys, picture);
  }

  // Keeps away from the edges, and gives a line that never changes some room above and below.
  function padded(low, high) {
    const room = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
    return [low >= 0 ? Math.max(0, low - room) : low - room, high + room];
  }

  function lineInWords({ name, values }) {
    return `${name}: ${values.length > 8 ? `from ${format(values[0])} to ${format(values.at(-1))}` : values.map(format).join(", ")}.`;
  }

  function drawLine({ values }, x, css, px, py) {
    const points = values.flatMap((value, at) => (value === null ? [] : [[px(x[at]), py(value)]]));
    const dots = points.length > 30 ? [] : points;
    return [Course.curve(points, css), ...dots.map(([cx, cy]) => Course.svg("circle", { class: css, cx, cy, r: 4 }))];
  }

  // Tables
  function table({ values, rows, columns, rowTitle = "", columnTitle = "", title = "" }) {
    const across = columns ?? numbered(values[0].length);
    const down = rows ?? numbered(values.length);
    const corner = [rowTitle, columnTitle].filter(Boolean).join(" \\ ");
    const heads = across.map((label) => element("th", { scope: "col" }, label));
    const head = element("tr", {}, element(corner ? "th" : "td", corner ? { scope: "col" } : {}, corner), ...heads);
    const lines = values.map((row, i) => {
      const cells = row.map((value) => element("td", { class: "number" }, format(value)));
      return element("tr", {}, element("th", { scope: "row" }, down[i]), ...cells);
    });
    const made = element("table", { class: "chart-numbers" }, element("caption", {}, title), element("thead", {}, head), element("tbody", {}, ...lines));
    return element("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": `${title || "numbers"}: a table` }, made);
  }

  return { heat, scale, axes, bars, lines, table, limit };
})();
