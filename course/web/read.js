// Read: which columns are shown and kept, what they have in common, and links to functions and lines.
document.documentElement.classList.add("js");

const Read = (() => {
  const byId = (id) => document.getElementById(id);
  const boxes = () => [...document.querySelectorAll("#columns input")];
  const chosen = () => boxes().filter((box) => box.checked).map((box) => box.value);
  const NARROW = "(max-width: 48rem)";
  const SWITCHES = ["marks", "notes", "wrap", "repeat"];

  // Columns and switches
  function restore() {
    const asked = new URLSearchParams(location.search).get("columns");
    const first = boxes().map((box) => box.value).slice(0, matchMedia(NARROW).matches ? 1 : 2);
    choose(known(asked?.split(",")) ?? known(Course.store.get("columns")) ?? first);
    for (const name of SWITCHES) byId(name).checked = Course.store.get(`read.${name}`, byId(name).checked);
  }

  // The numbers that are columns here, if there are any.
  function known(numbers) {
    const here = boxes().map((box) => box.value).filter((value) => numbers?.includes(value));
    return here.length ? here : null;
  }

  function choose(numbers) {
    for (const box of boxes()) box.checked = numbers.includes(box.value);
  }

  function changed(event) {
    if (!chosen().length) event.target.checked = true; // one column stays
    Course.store.set("columns", chosen());
    showInAddress(location.hash);
    say(`Columns: ${chosen().join(", ")}`);
    paint();
  }

  function address(hash) {
    return `${location.href.split(/[?#]/)[0]}?columns=${chosen().join(",")}${hash}`;
  }

  function showInAddress(hash) {
    try {
      history.replaceState(null, "", address(hash));
    } catch {
      // some browsers do not allow it for files; the page works without
    }
  }

  function say(text) {
    byId("says").textContent = text;
  }

  // What columns have in common, word by word
  const MOST = 4_000_000; // pairs of words to compare; two functions have some tens of thousands

  function paint() {
    const on = byId("marks").checked;
    const columns = chosen();
    for (const row of document.querySelectorAll(".row")) paintRow(row, on ? columns : []);
  }

  function paintRow(row, columns) {
    const cells = columns.map((number) => row.querySelector(`.cell[data-column="${number}"]:not(.absent)`)).filter(Boolean);
    const shownOnce = row.matches(".identical:not(.every)") && !byId("repeat").checked;
    for (const word of row.querySelectorAll(".same, .other")) word.classList.remove("same", "other", "joined");
    if (cells.length < 2 || shownOnce) return;
    const alike = cells.map((cell) => new Array(wordsOf(cell).length).fill(true));
    for (let i = 0; i + 1 < cells.length; i++) {
      const [left, right] = common(cells[i], cells[i + 1]);
      left.forEach((same, at) => (alike[i][at] &&= same));
      right.forEach((same, at) => (alike[i + 1][at] &&= same));
    }
    cells.forEach((cell, i) => paintWords(wordsOf(cell), alike[i]));
  }

  function paintWords(words, alike) {
    words.forEach((word, at) => {
      word.classList.add(alike[at] ? "same" : "other");
      const goesOn = !alike[at] && alike[at + 1] === false && oneBlankBetween(word, words[at + 1]);
      if (goesOn) word.classList.add("joined");
    });
  }

  const wordsOf = (cell) => [...cell.querySelectorAll(".line > i")];
  const oneBlankBetween = (word, next) => word.nextSibling?.nodeValue === " " && word.nextElementSibling === next;

  const compared = new Map(); // by cell, then by the cell beside it

  function common(left, right) {
    if (!compared.has(left)) compared.set(left, new Map());
    const known = compared.get(left);
    if (!known.has(right)) known.set(right, sameWords(...[left, right].map((cell) => wordsOf(cell).map((word) => word.textContent))));
    return known.get(right);
  }

  // Returns for each word of two texts whether it belongs to their longest common subsequence. Runs of fewer than three
  // letters and digits do not count: a bracket or an x that happens to fit says nothing.
  function sameWords(a, b) {
    const [left, right] = [new Array(a.length).fill(false), new Array(b.length).fill(false)];
    if (a.length * b.length > MOST) return [left, right];
    const pairs = longest(a, b);
    let start = 0;
    for (let end = 1; end <= pairs.length; end++) {
      const goesOn = end < pairs.length && pairs[end][0] === pairs[end - 1][0] + 1 && pairs[end][1] === pairs[end - 1][1] + 1;
      if (goesOn) continue;
      const run = pairs.slice(start, end);
      const said = run.map(([i]) => a[i]).join("").match(/[\p{L}\p{N}]/gu) ?? [];
      if (said.length > 2) for (const [i, j] of run) left[i] = right[j] = true;
      start = end;
    }
    return [left, right];
  }

  // The longest common subsequence of two lists, as pairs of indices.
  function longest(a, b) {
    const wide = b.length + 1;
    const length = new Uint16Array((a.length + 1) * wide); // of the subsequence from i and j on
    for (let i = a.length - 1; i >= 0; i--) {
      for (let j = b.length - 1; j >= 0; j--) {
        const at = i * wide + j;
        length[at] = a[i] === b[j] ? length[at + wide + 1] + 1 : Math.max(length[at + wide], length[at + 1]);
      }
    }
    const pairs = [];
    for (let i = 0, j = 0; i < a.length && j < b.length; ) {
      if (a[i] === b[j]) pairs.push([i++, j++]);
      else if (length[(i + 1) * wide + j] >= length[i * wide + j + 1]) i++;
      else j++;
    }
    return pairs;
  }

  // Links
  const LINE = /^(\d+)-(\d+)$/;

  // The element that an address leads to. Blank lines between two functions belong to the line before.
  function aim(name) {
    const [, column, line] = LINE.exec(name) ?? [];
    for (let at = Number(line); at > 0; at--) {
      const found = byId(`${column}-${at}`);
      if (found) return found;
    }
    return byId(name);
  }

  // Behind # stands a row or a line; for a panel of numbers also a name, a document and a moment: row/name/document/step.
  function open() {
    const [name, ...numbers] = location.hash.slice(1).split("/").map(decodeURIComponent);
    const found = name && aim(name);
    if (!found) return;
    reveal(found);
    document.querySelectorAll(".aimed").forEach((line) => line.classList.remove("aimed"));
    if (found.matches(".line")) found.classList.add("aimed");
    found.scrollIntoView({ block: "start" });
    if (numbers.length) Numbers.openAt(found, ...numbers);
  }

  // Unfolds what an element stands in, and chooses a column that shows it.
  function reveal(found) {
    for (let outer = found; outer; outer = outer.parentElement) if (outer.matches("details")) outer.open = true;
    const row = found.closest(".row");
    const cell = found.closest(".cell");
    const having = row?.dataset.in.split(" ") ?? [];
    const wanted = cell ? cell.dataset.column : having.find((number) => chosen().includes(number)) ?? having[0];
    if (cell && row.matches(".identical") && wanted !== chosen()[0]) row.classList.add("every");
    if (wanted && !chosen().includes(wanted)) {
      byId(`column-${wanted}`).checked = true;
      Course.store.set("columns", chosen());
    }
    paint();
  }

  function follow(event) {
    const link = event.target.closest('a[href^="#"]');
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    closeMenus();
    if (link.matches(".anchor, .no")) copy(link);
    if (link.closest("#numbers")) return; // they are open
    if (link.getAttribute("href") === location.hash) open(); // the address does not change, so nobody else opens it
  }

  async function copy(link) {
    try {
      await navigator.clipboard.writeText(address(link.getAttribute("href")));
      say("The link has been copied.");
      link.classList.add("copied");
      setTimeout(() => link.classList.remove("copied"), 2000);
    } catch {
      say("The link is in the address bar.");
    }
  }

  function go(event) {
    event.preventDefault();
    const asked = byId("go-to").value.trim();
    const found = aim(asked) ?? rowOf(asked);
    byId("go-says").textContent = found ? "" : `There is no ${asked} here.`;
    if (!found) return;
    closeMenus();
    location.hash = found.id === asked || LINE.test(asked) ? asked : found.id;
    open();
    const target = found.querySelector("a") ?? found;
    target.focus({ preventScroll: true });
  }

  function rowOf(name) {
    return [...document.querySelectorAll(".row[id]")].find((row) =>
      [...row.querySelectorAll("h3 code")].some((code) => code.textContent.toLowerCase() === name.toLowerCase()));
  }

  // Menus and folding
  const menus = () => [...document.querySelectorAll(".menu")];

  function closeMenus() {
    for (const menu of menus()) menu.open = false;
  }

  function watchMenus() {
    for (const menu of menus()) {
      menu.addEventListener("toggle", () => menu.open && menus().forEach((other) => other !== menu && (other.open = false)));
      menu.addEventListener("keydown", (event) => {
        if (event.key !== "Escape" || !menu.open) return;
        event.stopPropagation();
        menu.open = false;
        menu.querySelector("summary").focus();
      });
    }
    document.addEventListener("click", (event) => event.target.closest(".menu") || closeMenus());
  }

  const sections = () => [...document.querySelectorAll("details.section")];

  function foldAll(open) {
    for (const section of sections()) section.open = open;
  }

  function keepFolded() {
    const folded = Course.store.get("read.folded", []);
    for (const section of sections()) {
      section.open = !folded.includes(section.id);
      section.addEventListener("toggle", () => {
        Course.store.set("read.folded", sections().filter((one) => !one.open).map((one) => one.id));
      });
    }
  }

  // Code that may have to be scrolled sideways can be reached with the keyboard.
  function reachable() {
    const scrolls = !byId("wrap").checked;
    for (const code of document.querySelectorAll(".cell pre")) {
      if (scrolls) code.tabIndex = 0;
      else code.removeAttribute("tabindex");
    }
  }

  function start() {
    restore();
    keepFolded();
    watchMenus();
    reachable();
    paint();
    const bar = document.querySelector(".bar");
    new ResizeObserver(() => document.querySelector("main").style.setProperty("--bar", `${bar.offsetHeight}px`)).observe(bar);
    byId("columns").addEventListener("change", changed);
    for (const name of SWITCHES) {
      byId(name).addEventListener("change", (event) => {
        Course.store.set(`read.${name}`, event.target.checked);
        paint();
        reachable();
      });
    }
    byId("fold").addEventListener("click", () => foldAll(false));
    byId("unfold").addEventListener("click", () => foldAll(true));
    byId("go").addEventListener("submit", go);
    document.addEventListener("click", follow);
    addEventListener("hashchange", open);
    open();
  }

  Course.ready(start);
  return { chosen, showInAddress };
})();
