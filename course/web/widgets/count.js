// Chapter Hyperparameters: how many weights a setting makes.
// data.widths[C] has the sizes of the matrices that are there once, for each position and for each layer, as
// init_params made them.
Course.widget("count", (element, data) => {
  const { slider, choice, controls, bars, say } = Course;
  const chosen = { ...data.config };
  const said = say();
  const place = Course.element("div");
  const shown = (number) => number.toLocaleString("en");

  const show = () => {
    const { once, position, layer } = data.widths[chosen.n_embd];
    const sizes = { ...once };
    for (const [name, size] of Object.entries(position)) sizes[name] = size * chosen.block_size;
    for (const [name, size] of Object.entries(layer)) sizes[`${name} × ${chosen.n_layer}`] = size * chosen.n_layer;
    const total = Object.values(sizes).reduce((a, b) => a + b, 0);
    said.textContent = `${shown(total)} weights.`;
    const caption = "Weights in each matrix, those of all layers together";
    place.replaceChildren(bars({ labels: Object.keys(sizes), values: Object.values(sizes), show: shown, caption }));
  };
  const change = (key) => (value) => {
    chosen[key] = Number(value);
    show();
  };

  const widths = Object.keys(data.widths).map((width) => [width, width]);
  element.append(
    Course.element("h3", {}, "How many weights?"),
    controls(
      choice("n_embd (C)", widths, String(chosen.n_embd), change("n_embd")),
      slider("n_layer", { min: 0, max: 8, value: chosen.n_layer, show: String }, change("n_layer")),
      slider("block_size", { min: 1, max: 64, value: chosen.block_size, show: String }, change("block_size")),
    ),
    said,
    place,
  );
  show();
});
