// Chapter Data: what the first documents of an order look like, beside all documents.
Course.widget("orders", (element, data) => {
  const { choice, slider, controls, bars, say, format } = Course;
  const make = Course.element;
  const names = Object.keys(data.orders);
  const what = {
    lengths: ["their length", "length"],
    begins: ["their first letter", "first letter"],
    ends: ["their last letter", "last letter"],
    letters: ["all their letters", "letter"],
  };
  const shown = (number) => number.toLocaleString("en");
  const chosen = { order: names[0], size: Math.min(3, data.sizes.length - 1), what: "lengths" };
  const first = say();
  const picture = make("div");

  const show = () => {
    const order = data.orders[chosen.order];
    const size = data.sizes[chosen.size];
    const all = data.orders[chosen.order][chosen.what].at(-1);
    const largest = Math.max(...names.flatMap((name) => data.orders[name][chosen.what].flat()).filter((x) => x < 0.6));
    const some = order.first.slice(0, size);
    first.textContent = `This order begins with ${some.join(", ")}${size > some.length ? ", …" : ""}`;
    const [, counted] = what[chosen.what];
    const documents = size === 1 ? "first document" : `first ${shown(size)} documents`;
    picture.replaceChildren(
      bars({
        labels: chosen.what === "lengths" ? data.lengths : data.letters,
        values: order[chosen.what][chosen.size],
        others: all,
        largest,
        show: (x) => `${(100 * x).toFixed(1)} %`,
        caption: `Bar: the share of each ${counted} in the ${documents}. Mark: its share in all documents.`,
      }),
    );
  };

  const change = (key) => (value) => {
    chosen[key] = value;
    show();
  };
  element.append(
    make("h3", {}, "How much is like the whole?"),
    controls(
      choice("Order", names.map((name) => [name, name]), chosen.order, change("order")),
      choice("What is counted", Object.entries(what).map(([key, [text]]) => [key, text]), chosen.what, change("what")),
      slider(
        "Documents counted",
        { min: 0, max: data.sizes.length - 1, value: chosen.size, show: (i) => shown(data.sizes[i]) },
        change("size"),
      ),
    ),
    first,
    picture,
  );
  show();
});
