// Chapter Hyperparameters: the learning rate of each step of the recorded run.
Course.widget("schedule", (element, data) => {
  const { slider, controls, plot, say, format } = Course;
  const points = data.rates.map((rate, i) => [i + 1, rate]);
  const said = say();
  const place = Course.element("div");
  const show = (step) => {
    const rate = data.rates[step - 1];
    const share = ((100 * rate) / data.rates[0]).toFixed(1);
    said.textContent = `Step ${step}: the learning rate is ${format(rate)}, ${share} % of the first.`;
    const caption = "The learning rate of each step";
    place.replaceChildren(plot({ curves: [{ points }], x: "step", y: "learning rate", dot: [step, rate], caption }));
  };
  element.append(
    Course.element("h3", {}, "Half a cosine"),
    controls(slider("Step", { min: 1, max: data.rates.length, value: 1, show: String }, show)),
    said,
    place,
  );
  show(1);
});
