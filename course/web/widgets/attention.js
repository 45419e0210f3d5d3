// Chapter Model: attention weights, computed here from recorded queries and keys, with the mask and without.
Course.widget("attention", (element, data) => {
  const { choice, controls, toggle, heat, say } = Course;
  const documents = Object.keys(data.documents);
  const chosen = { document: documents[0], moment: data.steps.length - 1, head: 0, masked: true };
  const said = say();
  const place = Course.element("div");

  // As in the lesson: scores q·k / √D, then softmax over what a position may see. null is what it may not.
  function weights(q, k, masked) {
    return q.map((query, t) => {
      const scores = k.map((key) => query.reduce((sum, number, d) => sum + number * key[d], 0) * query.length ** -0.5);
      const seen = masked ? scores.slice(0, t + 1) : scores;
      const largest = Math.max(...seen);
      const exps = seen.map((score) => Math.exp(score - largest));
      const total = exps.reduce((a, b) => a + b);
      return scores.map((_, s) => (s < seen.length ? exps[s] / total : null));
    });
  }

  function comment(rows, letters) {
    if (chosen.masked) {
      const last = rows.at(-1);
      const best = last.indexOf(Math.max(...last));
      const share = last[best].toFixed(2);
      return `At the last position this head takes most from ${best} ${letters[best]}: a share of ${share}.`;
    }
    const ahead = rows.reduce((sum, row, t) => sum + row.slice(t + 1).reduce((a, b) => a + b, 0), 0) / rows.length;
    const share = `${(100 * ahead).toFixed(0)} %`;
    return `Without the mask ${share} of this head's attention goes to what comes later, which is what it is to guess.`;
  }

  const show = () => {
    const letters = data.documents[chosen.document];
    const [q, k] = [data.q, data.k].map((all) => all[chosen.document][chosen.moment][chosen.head]);
    const rows = weights(q, k, chosen.masked);
    const labels = letters.map((letter, i) => `${i} ${letter}`);
    said.textContent = comment(rows, letters);
    const when = `after ${data.steps[chosen.moment]} steps`;
    place.replaceChildren(
      heat({
        rows: labels,
        cols: labels,
        values: rows,
        largest: 1,
        rowTitle: "reads",
        colTitle: "from",
        caption: `attn_weights of head ${chosen.head} for ${chosen.document} ${when}. Each row adds up to 1.`,
      }),
    );
  };
  const change = (key) => (value) => {
    chosen[key] = value;
    show();
  };
  const heads = Array.from({ length: data.heads }, (_, head) => [head, String(head)]);
  element.append(
    Course.element("h3", {}, "Who reads from whom"),
    controls(
      choice("Name", documents.map((name) => [name, name]), chosen.document, change("document")),
      choice("Head", heads, chosen.head, change("head")),
      choice("Steps of training", data.steps.map((step, i) => [i, String(step)]), chosen.moment, change("moment")),
      toggle("hide what comes later (the causal mask)", true, change("masked")),
    ),
    said,
    place,
  );
  show();
});
