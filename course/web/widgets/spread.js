// Chapter Parameters: how the numbers of a matrix are spread, as drawn and as trained.
Course.widget("spread", (element, data) => {
  const { svg, choice, controls, say, format } = Course;
  const make = Course.element;
  const labels = Object.keys(data.states);
  const matrices = Object.keys(data.ends);
  const chosen = { state: labels[0], matrix: matrices[0] };
  const said = say();
  const place = make("div");
  const HEIGHT = 260;

  // counts: in each bin between -end and end; bell: how many the bell curve has there on average, [] if there is none
  function picture(counts, bell, end) {
    const wide = (2 * end) / data.bins;
    const edge = (i) => -end + i * wide;
    const label = `How many numbers of ${chosen.matrix} lie where, ${chosen.state}`;
    const ends = { x: [-end, end], y: [0, Math.max(...counts, ...bell)] };
    const place = Course.picture(HEIGHT, (width) => {
      const { drawn, px, py } = Course.axes({ width, height: HEIGHT, ...ends, xTitle: "weight", yTitle: "how many", label });
      counts.forEach((n, i) => {
        const [left, right] = [px(edge(i)), px(edge(i + 1))];
        const size = { x: left + 0.25, y: py(n), width: right - left - 0.5, height: py(0) - py(n) };
        if (n) drawn.append(svg("rect", { class: "bar", ...size }));
      });
      if (bell.length) drawn.append(Course.curve(bell.map((n, i) => [px(edge(i) + wide / 2), py(n)]), "curve-1"));
      return drawn;
    });
    const legend = bell.length ? "Dashed: the bell curve that init_params draws from." : "This matrix begins with zeros.";
    return make("figure", {}, place, make("figcaption", {}, `${label}. ${legend}`));
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
