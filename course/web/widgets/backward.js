// Chapter Gradients: a small graph of Values, and the walk of backward() over it, one move at a time.
Course.widget("backward", (element, { graph }) => {
  const make = Course.element;
  const { svg } = Course;
  const format = (number) => String(Number(number.toPrecision(4))).replace("-", "−");
  const BOX = { width: 120, height: 56 };
  const COLUMN = 230; // between two inputs
  const ROW = 92;
  const nodes = new Map(graph.nodes.map((node) => [node.name, { ...node }]));
  const last = graph.nodes.find(({ name }) => graph.passes[0].node === name).name;
  let moves = 0;

  // Inputs stand at the top; below them, each number under those it was computed from.
  const depth = (name) => Math.max(0, ...nodes.get(name).children.map((child) => depth(child) + 1));
  const isInput = (name) => !nodes.get(name).children.length;
  const inputs = graph.nodes.filter(({ name }) => isInput(name) && !isConstant(name)).map(({ name }) => name);

  function isConstant(name) {
    return !(name in graph.grads);
  }
  function place(name) {
    const node = nodes.get(name);
    if (node.at) return node.at;
    const children = node.children.filter((child) => !isConstant(child)).map(place);
    const parent = graph.edges.find(({ child }) => child === name)?.node;
    if (isConstant(name)) node.at = { x: place(parent).x + 0.65 * COLUMN, y: place(parent).y - ROW };
    else if (!children.length) node.at = { x: 66 + inputs.indexOf(name) * COLUMN, y: 34 };
    else node.at = { x: children.reduce((sum, at) => sum + at.x, 0) / children.length, y: 34 + depth(name) * ROW };
    return node.at;
  }
  for (const name of nodes.keys()) place(name);
  const width = Math.max(...[...nodes.values()].map(({ at }) => at.x)) + BOX.width / 2 + 6;
  const height = Math.max(...[...nodes.values()].map(({ at }) => at.y)) + BOX.height / 2 + 6;

  const gradient = (name) => {
    if (name === last) return graph.grads[name];
    return graph.passes.slice(0, moves).findLast(({ child }) => child === name)?.now ?? 0;
  };
  const now = () => graph.passes[moves - 1];

  function edge({ node, child, rate }) {
    const [from, to] = [nodes.get(node).at, nodes.get(child).at];
    const at = graph.passes.findIndex((move) => move.node === node && move.child === child);
    const state = at === moves - 1 ? "now" : at < moves ? "done" : "";
    const [x1, y1, x2, y2] = [from.x, from.y - BOX.height / 2, to.x, to.y + BOX.height / 2];
    const line = svg("path", { class: `edge ${state}`, d: `M${x1} ${y1}L${x2} ${y2}` });
    const text = svg("text", { class: `rate ${state}`, x: (x1 + x2) / 2, y: (y1 + y2) / 2 + 4 }, `× ${format(rate)}`);
    return [line, text];
  }

  function box({ name, value, at }) {
    const state = now() ? (name === now().child ? "now" : name === now().node ? "from" : "") : name === last ? "now" : "";
    const rect = { x: at.x - BOX.width / 2, y: at.y - BOX.height / 2, width: BOX.width, height: BOX.height, rx: 6 };
    const title = isConstant(name) ? "a constant" : `${name} = ${format(value)}`;
    const first = isConstant(name) ? name : title;
    return svg(
      "g",
      { class: `node ${state}` },
      svg("rect", rect),
      svg("text", { class: "name", x: at.x, y: at.y - 7 }, first),
      svg("text", { class: "gradient", x: at.x, y: at.y + 14 }, `gradient ${format(gradient(name))}`),
    );
  }

  const inWords = () => {
    if (!now()) {
      return `At the beginning all gradients are 0, and that of ${last} is set to ${format(graph.grads[last])}: it changes exactly as fast as itself.`;
    }
    const { node, child, grad, rate, amount, now: total } = now();
    const before = total - amount;
    const sum = before ? ` It had ${format(before)} already, so now it has ${format(total)}.` : "";
    return `${node} passes its gradient, ${format(grad)}, times the rate ${format(rate)} on to ${child}: that is ${format(amount)}.${sum}`;
  };
  const ask = () => {
    const next = graph.passes[moves];
    if (!next) return "That was the last move: all gradients are complete.";
    return `Next, ${next.node} passes on to ${next.child}, at a rate of ${format(next.rate)}. What will the gradient of ${next.child} be?`;
  };

  // The moves so far, as a table that grows.
  function table() {
    const head = ["from", "its gradient × rate", "on to"].map((text) => make("th", { scope: "col" }, text));
    const rows = graph.passes.slice(0, moves).map(({ node, child, grad, rate, amount }) => {
      const cells = [node, `${format(grad)} × ${format(rate)} = ${format(amount)}`, child];
      return make("tr", {}, ...cells.map((text) => make("td", {}, text)));
    });
    return make("table", { class: "moves" }, make("caption", {}, "Moves so far"), make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows));
  }

  const made = make("div");
  const said = Course.say();
  const asked = make("p");
  const picture = svg("svg", { class: "graph", viewBox: `0 0 ${width} ${height}`, role: "img" });
  const button = (text, move) => make("button", { type: "button", onclick: () => go(move()) }, text);
  const buttons = {
    start: button("Start again", () => 0),
    back: button("Back", () => moves - 1),
    next: button("Next move", () => moves + 1),
  };

  function go(to) {
    moves = Math.min(Math.max(to, 0), graph.passes.length);
    const grads = [...nodes.keys()].map((name) => `${name} ${format(gradient(name))}`).join(", ");
    picture.setAttribute("aria-label", `The graph after ${moves} moves. Gradients: ${grads}.`);
    picture.replaceChildren(...graph.edges.flatMap(edge), ...[...nodes.values()].map(box));
    made.replaceChildren(table());
    said.textContent = inWords();
    asked.textContent = ask();
    for (const [name, one] of Object.entries(buttons)) {
      // A button that has the focus keeps it: it says that it has nothing to do, and does nothing.
      one.setAttribute("aria-disabled", String(name === "next" ? moves === graph.passes.length : moves === 0));
    }
  }

  element.append(
    make("h3", {}, "Walk back, move by move"),
    Course.controls(buttons.next, buttons.back, buttons.start),
    said,
    asked,
    make(
      "figure",
      {},
      make("div", { class: "graph-and-moves" }, picture, made),
      make(
        "figcaption",
        {},
        "Each box is a number that was computed, with its gradient so far. Lines go from a number up to those it was computed from, each with its rate: how fast the lower number grows with the upper one. Coloured: the last move.",
      ),
    ),
  );
  go(0);
});
