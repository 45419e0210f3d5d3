// Chapter Gradients: the loss around one weight, beside what the recorded gradient foretells.
Course.widget("nudge", (element, data) => {
  const make = Course.element;
  const format = (number) => String(Number(number.toPrecision(4))).replace("-", "−");
  const middle = (data.weights[0].nudges.length - 1) / 2;
  const chosen = { weight: 0, nudge: middle + Math.round(middle / 2) };
  const said = Course.say();
  const picture = make("div");

  function show() {
    const { label, weight, grad, nudges, losses } = data.weights[chosen.weight];
    const foretold = nudges.map((nudge) => losses[middle] + grad * nudge);
    const at = chosen.nudge;
    const off = Math.abs(losses[at] - foretold[at]);
    said.textContent =
      `${label} is ${format(weight)}, with a gradient of ${format(grad)}. ` +
      (at === middle
        ? `As it is, the loss is ${losses[at].toFixed(4)}.`
        : `Nudged by ${format(nudges[at])}, the loss is ${losses[at].toFixed(4)}. The gradient foretells ` +
          `${losses[middle].toFixed(4)} + ${format(grad)} · ${format(nudges[at])} = ${foretold[at].toFixed(4)}, which is ${format(off)} off.`);
    const all = [...losses, ...foretold];
    picture.replaceChildren(
      Course.plot({
        curves: [
          { points: nudges.map((nudge, i) => [nudge, losses[i]]), label: "the loss" },
          { points: nudges.map((nudge, i) => [nudge, foretold[i]]), label: "what the gradient foretells" },
        ],
        dot: [nudges[at], losses[at]],
        range: { y: [Math.min(...all), Math.max(...all)] },
        x: "nudge: what is added to the weight",
        y: "loss",
        caption: `The loss of ${data.document} around the weight. In the middle it is as training left it; there the two lines touch`,
      }),
    );
  }

  const change = (key) => (value) => {
    chosen[key] = value;
    show();
  };
  element.append(
    make("h3", {}, "Nudge a weight"),
    Course.controls(
      Course.choice("The steepest weight of", data.weights.map(({ label }, i) => [i, label.split(",")[0]]), chosen.weight, change("weight")),
      Course.slider(
        "Nudge",
        { min: 0, max: 2 * middle, value: chosen.nudge, show: (i) => format(data.weights[0].nudges[i]) },
        change("nudge"),
      ),
    ),
    said,
    picture,
  );
  show();
});
