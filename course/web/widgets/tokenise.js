// Chapter Tokenizer: a name of the reader's as tokens, and the guesses that it makes.
Course.widget("tokenise", (element, data) => {
  const make = Course.element;
  const bos = data.chars.length;
  const label = (token) => (token === bos ? "BOS" : data.chars[token]);
  const said = Course.say();
  const place = make("div");

  const show = (name) => {
    const typed = [...name.trim()];
    const unknown = [...new Set(typed.filter((char) => !data.chars.includes(char)))];
    const all = [bos, ...typed.map((char) => data.chars.indexOf(char)), bos];
    const read = all.slice(0, data.block_size + 1);
    place.replaceChildren();
    if (unknown.length) {
      const named = unknown.map((char) => `“${char}”`).join(", ");
      said.textContent = `The tokenizer has no token for ${named}: the documents have only ${data.chars.join("")}.`;
      return;
    }
    const cut = all.length - read.length;
    const many = cut === 1 ? "one is" : `${cut} are`;
    const guesses = read.length - 1;
    said.textContent =
      `${all.length} tokens: ${all.join(", ")}. ` +
      (cut ? `The last ${many} cut off, so the model does not see how this name ends. ` : "") +
      `The model makes ${guesses} ${guesses === 1 ? "guess" : "guesses"}.`;
    const rows = read.slice(1).map((token, i) => {
      const seen = read.slice(0, i + 1).map(label).join(" ");
      return make("tr", {}, make("td", {}, seen), make("td", {}, label(token)));
    });
    const titles = ["it has read", "it has to guess"].map((title) => make("th", { scope: "col" }, title));
    const head = make("tr", {}, ...titles);
    place.append(make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows)));
  };

  element.append(
    make("h3", {}, "A name as tokens"),
    Course.controls(Course.field("Name", data.name, show)),
    said,
    place,
  );
  show(data.name);
});
