// Chapter Inference: names drawn token by token, from recorded scores and random numbers, at any temperature.
(() => {
  // As the lesson does it: divide the scores, take the largest away, and make the exponentials add up to 1.
  function softmax(logits, temperature) {
    const scores = logits.map((logit) => logit / temperature);
    const largest = Math.max(...scores);
    const exps = scores.map((score) => Math.exp(score - largest));
    const total = exps.reduce((sum, exp) => sum + exp, 0);
    return exps.map((exp) => exp / total);
  }

  // Where a random number falls if the probabilities are laid side by side.
  function drawn(probs, number) {
    let end = 0;
    for (let token = 0; token < probs.length; token++) {
      end += probs[token];
      if (number < end) return token;
    }
    return probs.length - 1;
  }

  const percent = (prob) => `${(100 * prob).toFixed(1)} %`;
  const SHOWN = 8; // of the likeliest tokens
  const WIDE_ENOUGH = 0.035; // for a letter on the line

  Course.widget("sampling", (element, { names, temperature, vocabulary }) => {
    const make = Course.element;
    const chosen = { name: 0, draw: 0, temperature };
    const written = make("p", { class: "written" });
    const said = Course.say();
    const line = make("div");
    const bars = make("div");
    const check = make("p", { class: "small" });
    const word = (i) => names[i].map(({ token }) => (token === "BOS" ? "" : token)).join("");
    const draw = () => names[chosen.name][chosen.draw];

    const button = (text, move) => make("button", { type: "button", onclick: () => go(chosen.draw + move) }, text);
    const buttons = { next: button("Next draw", 1), back: button("Back", -1) };

    function go(to) {
      chosen.draw = Math.min(Math.max(to, 0), names[chosen.name].length - 1);
      show();
    }

    function show() {
      const { before, logits, number, token } = draw();
      const probs = softmax(logits, chosen.temperature);
      const falls = drawn(probs, number);
      const same = vocabulary[falls] === token;
      written.replaceChildren("So far: ", ...before.map((one) => make("code", { class: "text" }, one)), " Now: ", make("code", { class: "text now" }, vocabulary[falls]));
      said.textContent =
        `Draw ${chosen.draw + 1} of ${names[chosen.name].length}. The random number is ${number.toFixed(3)}. ` +
        `At a temperature of ${chosen.temperature.toFixed(2)} it falls on ${vocabulary[falls]}, which has a probability of ${percent(probs[falls])}.` +
        (same ? "" : ` The run, at ${temperature}, drew ${token}; from here on it would have written another name.`);
      line.replaceChildren(numberLine(probs, number, falls));
      bars.replaceChildren(likeliest(probs, falls));
      check.textContent = checked(draw());
      buttons.next.setAttribute("aria-disabled", String(chosen.draw === names[chosen.name].length - 1));
      buttons.back.setAttribute("aria-disabled", String(chosen.draw === 0));
    }

    function numberLine(probs, number, falls) {
      const parts = probs.map((prob, token) => {
        const text = prob > WIDE_ENOUGH ? vocabulary[token] : "";
        return make("span", { class: token === falls ? "part drawn" : "part", style: `--share:${100 * prob}%` }, text);
      });
      const label = `All probabilities side by side; the random number ${number.toFixed(3)} falls on ${vocabulary[falls]}.`;
      const mark = make("span", { class: "mark", style: `--at:${100 * number}%` });
      const caption = "From zero on the left to one on the right, each token takes as much of the line as it is probable, in the order of the vocabulary. The mark is the random number.";
      return make(
        "figure",
        {},
        make("div", { class: "number-line", role: "img", "aria-label": label }, ...parts, mark),
        make("figcaption", {}, caption),
      );
    }

    function likeliest(probs, falls) {
      const order = probs.map((_, token) => token).sort((a, b) => probs[b] - probs[a]);
      const top = order.slice(0, SHOWN);
      if (!top.includes(falls)) top.push(falls);
      return Course.bars({
        labels: top.map((token) => vocabulary[token]),
        values: top.map((token) => probs[token]),
        largest: 1,
        marked: [vocabulary[falls]],
        show: percent,
        caption: `The ${SHOWN} likeliest tokens and their probabilities; the one that is drawn stands out. A full bar would be certainty.`,
      });
    }

    function checked({ logits, probs }) {
      const own = softmax(logits, temperature);
      const off = Math.max(...own.map((prob, token) => Math.abs(prob - probs[token])));
      return `At the lesson's temperature, ${temperature}, these probabilities and the recorded ones differ by at most ${off.toExponential(0)}.`;
    }

    element.append(
      make("h3", {}, "Draw a name"),
      Course.controls(
        Course.choice("Name", names.map((_, i) => [i, word(i)]), 0, (name) => {
          chosen.name = name;
          go(0);
        }),
        buttons.next,
        buttons.back,
        Course.slider(
          "Temperature",
          { min: 0.05, max: 3, step: 0.05, value: temperature, show: (value) => value.toFixed(2) },
          (value) => {
            chosen.temperature = value;
            show();
          },
        ),
      ),
      written,
      said,
      line,
      bars,
      check,
    );
    go(0);
  });
})();
