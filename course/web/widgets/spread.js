// Chapter Parameters: how the numbers of a matrix are spread, as drawn and as trained.
Course.widget("spread", (element, data) => {
  const { svg, choice, controls, say, format } = Course;
  const make = Course.element;
  const labels = Object.keys(data.states);
  const matrices = Object.keys(data.ends);
  const chosen = { state: labels[0], matrix: matrices[0] };
  const said = say();
  const place = make("div");
  const BOX = { width: 640, height: 250, left: 46, right: 12, top: 10, bottom: 44 };

  // counts: in each bin between -end and end; bell: how many the bell curve has there on average, [] if there is none
  function picture(counts, bell, end) {
    const wide = (2 * end) / data.bins;
    const edge = (i) => -end + i * wide;
    const top = Math.max(...counts, ...bell);
    const px = (x) => BOX.left + ((x + end) / (2 * end)) * (BOX.width - BOX.left - BOX.right);
    const py = (n) => BOX.height - BOX.bottom - (n / top) * (BOX.height - BOX.top - BOX.bottom);
    const name = `How many numbers of ${chosen.matrix} lie where, ${chosen.state}`;
    const viewBox = `0 0 ${BOX.width} ${BOX.height}`;
    const made = svg("svg", { class: "plot", viewBox, role: "img", "aria-label": name });
    const write = (at, text) => made.append(svg("text", { "text-anchor": "middle", ...at }, text));

    for (const n of [0, Math.round(top / 2), Math.round(top)]) {
      made.append(svg("path", { class: n ? "grid" : "axis", d: `M${BOX.left} ${py(n)}H${BOX.width - BOX.right}` }));
      write({ x: BOX.left - 6, y: py(n) + 4, "text-anchor": "end" }, String(n));
    }
    counts.forEach((n, i) => {
      const [left, right] = [px(edge(i)) + 0.5, px(edge(i + 1)) - 0.5];
      if (n) made.append(svg("rect", { class: "bar", x: left, y: py(n), width: right - left, height: py(0) - py(n) }));
    });
    const points = bell.map((n, i) => `${px(edge(i) + wide / 2).toFixed(1)} ${py(n).toFixed(1)}`);
    if (points.length) made.append(svg("path", { class: "curve other", d: `M${points.join("L")}` }));
    for (const x of [-end, -end / 2, 0, end / 2, end]) {
      const anchor = x === end ? "end" : x === -end ? "start" : "middle";
      const at = { x: px(x), y: BOX.height - BOX.bottom + 16, "text-anchor": anchor };
      write(at, x ? x.toFixed(2).replace("-", "−") : "0");
    }
    write({ x: BOX.width / 2, y: BOX.height - 6 }, "weight");
    write({ transform: `translate(12 ${BOX.height / 2 - 10}) rotate(-90)` }, "how many");
    const legend = bell.length ? "Dashed: the bell curve that init_params draws from." : "This matrix begins with zeros.";
    return make("figure", {}, made, make("figcaption", {}, `${name}. ${legend}`));
  }

  const show = () => {
    const { counts, std, largest } = data.states[chosen.state][chosen.matrix];
    said.textContent = `Standard deviation ${format(std)}; none is farther from zero than ${format(largest)}.`;
    place.replaceChildren(picture(counts, data.bells[chosen.matrix], data.ends[chosen.matrix]));
  };
  const change = (key) => (value) => {
    chosen[key] = value;
    show();
  };
  element.append(
    make("h3", {}, "The numbers of a matrix"),
    controls(
      choice("Matrix", matrices.map((name) => [name, name]), chosen.matrix, change("matrix")),
      choice("When", labels.map((label) => [label, label]), chosen.state, change("state")),
    ),
    said,
    place,
  );
  show();
});
