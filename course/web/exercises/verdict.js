// Shows what a check has found, in the words of the command line.
//
//   Course.verdict.show({verdict, exercise, outdated, goTo}) -> elements
//       `outdated`: the text has been changed since. `goTo(line or name of a function)` shows a place in the text
//   Course.verdict.withCode(sentence) -> elements and texts
(() => {
  const { element } = Course;
  const LINE = /\bline (\d+)\b/;
  const SAY_A_LINE = ["raised", "syntax", "not-begun", "signature"]; // kinds whose first sentence says a line of the text

  function show({ verdict, exercise, outdated, goTo }) {
    const parts = [
      element("h3", {}, `${exercise.shown}: ${verdict.right ? "all is well" : "not yet"}`),
      element("p", { class: "small" }, conditions(verdict, outdated)),
    ];
    if (verdict.right) return [...parts, ...printed(verdict), ...afterwards(verdict, exercise)];
    return [...parts, ...says(verdict), ...places(verdict, goTo), ...stages(verdict), ...printed(verdict)];
  }

  function conditions({ seed, seconds, right }, outdated) {
    const where = right ? "checked at random weights, " : "";
    const how = seed === null ? "seen from its text" : `${where}seed ${seed}, ${seconds.toFixed(1)} s`;
    return outdated ? `${how}; you have changed your file since` : how;
  }

  function says(verdict) {
    const known = verdict.looks_like.map(([name, says]) =>
      element("p", { class: "exercise-looks-like" }, "These numbers look like ", element("strong", {}, name), ": ", ...withCode(says)),
    );
    return [...verdict.says.map(paragraph), ...known];
  }

  const paragraph = (sentence) => element("p", {}, ...withCode(sentence));

  // What stands between `backticks` is shown as code.
  function withCode(sentence) {
    return sentence.split("`").map((part, i) => (i % 2 ? element("code", {}, part) : part));
  }

  // Buttons that show where it is.
  function places(verdict, goTo) {
    const line = SAY_A_LINE.includes(verdict.result) && LINE.exec(verdict.says[0]);
    const name = verdict.first_wrong?.function;
    const buttons = [];
    if (line) buttons.push(button(`Go to line ${line[1]}`, () => goTo({ line: Number(line[1]) })));
    if (name) buttons.push(button(`Go to ${name}`, () => goTo({ name })));
    return buttons.length ? [element("p", { class: "run-bar" }, ...buttons)] : [];
  }

  function button(text, onclick) {
    return element("button", { type: "button", onclick }, text);
  }

  function stages(verdict) {
    const words = { same: "as in the lesson", other: "not as in the lesson", unseen: "not looked at" };
    const items = Object.entries(verdict.stages).map(([name, difference]) => {
      const how = difference === null ? "unseen" : difference === 0 ? "same" : "other";
      return element("li", { class: how }, `${name}: ${words[how]}`);
    });
    return items.length ? [element("ul", { class: "exercise-stages", "aria-label": "Stages of the check" }, ...items)] : [];
  }

  function printed(verdict) {
    if (!verdict.printed) return [];
    const label = "What your code printed while it was checked";
    return [element("p", {}, `${label}:`), element("pre", { role: "region", tabindex: "0", "aria-label": label }, verdict.printed)];
  }

  function afterwards(verdict, exercise) {
    const sentences = verdict.afterwards.filter((sentence) => !sentence.includes("main.py exercise")); // here it is a link
    const next = exercise.next?.replace("mistake-", "mistake ");
    const link = next && element("p", {}, "The next one: ", element("a", { href: `#${exercise.next}` }, next));
    return [...sentences.map(paragraph), ...(link ? [link] : [])];
  }

  Course.verdict = { show, withCode };
})();
