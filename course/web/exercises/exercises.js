// The page of exercises: the list with what is done, and one exercise at a time, whose name stands in the address behind #.
(() => {
  const { attempts, element } = Course;
  const { withCode } = Course.verdict;
  const SAVING = 300; // milliseconds after the last change
  const REDRAW = 150; // milliseconds between two drawings of what a file prints
  const SHOWN = 3000; // lines of it at most
  const find = (id) => document.getElementById(id);

  let list; // data exercises/list
  let anySeed; // for as long as the page is open: a second check at the same seed is faster
  let checking;
  let exercise = null; // that is open
  let editor;
  let busy = false;

  Course.ready(async () => {
    markList();
    try {
      list = await Course.load("exercises/list");
    } catch (error) {
      return notice("exercise-list-notice", `The exercises cannot be opened: ${error.message}.`);
    }
    if (!window.DecompressionStream || !Course.Editor) {
      return notice("exercise-list-notice", "This browser is too old to run Python in a page, so exercises cannot be opened here.");
    }
    anySeed = Math.floor(Math.random() * list.seeds);
    find("exercise-template").replaceWith(find("exercise-template").content);
    checking = new Course.Checking(list.place).on("state", (state) => busy && say(state.text, state.share));
    watchButtons();
    find("exercise-any").hidden = false;
    find("exercise-any").addEventListener("click", openAny);
    addEventListener("hashchange", openAddress);
    addEventListener("pagehide", save);
    openAddress();
  });

  function notice(id, text) {
    find(id).textContent = text;
    find(id).hidden = !text;
  }

  // The list
  function markList() {
    const progress = attempts.progress();
    const items = [...document.querySelectorAll("[data-exercise]")];
    for (const item of items) {
      const { begun, done } = progress[item.dataset.exercise] ?? {};
      item.classList.toggle("is-done", Boolean(done));
      item.querySelector(".exercise-mark").textContent = done ? "✓ done" : begun ? "… begun" : "";
    }
    const done = items.filter((item) => item.classList.contains("is-done")).length;
    find("exercise-count").textContent = `${done} of ${items.length} exercises done.`;
  }

  // Opens any planted mistake that has not been begun, or any at all if there is none left.
  function openAny() {
    const progress = attempts.progress();
    const all = list.exercises.filter((one) => one.kind === "find the mistake");
    const left = all.filter((one) => !progress[one.name]?.begun);
    const from = left.length ? left : all;
    location.hash = from[Math.floor(Math.random() * from.length)].name;
  }

  function openAddress() {
    leave();
    const name = decodeURIComponent(location.hash.slice(1));
    exercise = list.exercises.find((one) => one.name === name) ?? null;
    find("exercise-list").hidden = exercise !== null;
    find("exercise").hidden = exercise === null;
    if (exercise) return open();
    document.title = "Exercises";
    markList();
  }

  // One exercise
  function leave() {
    if (!exercise) return;
    if (busy) checking.stop();
    save();
    editor.view.destroy();
    exercise = null;
  }

  function open() {
    document.title = `${exercise.shown}: exercise`;
    find("exercise-title").textContent = exercise.shown;
    find("exercise-task").textContent = exercise.task;
    find("exercise-notes").replaceChildren(...exercise.notes.map((note) => element("li", {}, ...withCode(note))));
    find("exercise-command").textContent = `python main.py exercise ${exercise.shown}`;
    find("exercise-to-place").hidden = exercise.kind === "find the mistake";
    linkNeighbours();
    say("");
    notice("exercise-notice", "");
    find("exercise-output").hidden = true;
    find("exercise-diff-part").hidden = true;
    find("exercise-help-state").textContent = "";
    makeEditor();
    showVerdict();
    showHints();
    showKept();
    scrollTo(0, 0);
    find("exercise-title").focus({ preventScroll: true });
  }

  function linkNeighbours() {
    const at = list.exercises.indexOf(exercise);
    for (const [id, neighbour, arrow] of [
      ["exercise-before", list.exercises[at - 1], (name) => `← ${name}`],
      ["exercise-after", list.exercises[at + 1], (name) => `${name} →`],
    ]) {
      find(id).hidden = !neighbour;
      if (neighbour) find(id).href = `#${neighbour.name}`;
      if (neighbour) find(id).textContent = arrow(neighbour.shown);
    }
  }

  // The text
  function handedOut() {
    const lines = list.lesson.trimEnd().split("\n");
    for (const [start, stop, others] of [...exercise.edits].reverse()) lines.splice(start, stop - start, ...others);
    return `${lines.join("\n")}\n`;
  }

  function makeEditor() {
    editor = Course.Editor.create({
      parent: find("exercise-editor"),
      text: attempts.work(exercise.name).text ?? handedOut(),
      label: `Your file for the exercise ${exercise.shown}`,
      describedBy: "exercise-editor-help",
      changed: textChanged,
    });
    showFileState();
    requestAnimationFrame(() => showLine(placeOfExercise()));
  }

  let saving = 0;
  function textChanged() {
    clearTimeout(saving);
    saving = setTimeout(save, SAVING);
    outdateVerdict();
    showFileState();
    checking.getReady().catch(() => {}); // while somebody writes; if it fails, the check says why
  }

  function save() {
    clearTimeout(saving);
    if (!exercise) return;
    const { text } = editor;
    const { begun } = attempts.progress()[exercise.name] ?? {};
    if (text === handedOut() && !begun) return;
    if (!begun) attempts.note(exercise.name, { begun: attempts.today() });
    if (!attempts.keep(exercise.name, { text })) {
      notice("exercise-notice", "This browser keeps nothing for this page. Copy your text before you close it.");
    }
  }

  function showFileState() {
    const unchanged = editor.text === handedOut();
    const handed = {
      "fill in": "It is the lesson without that part: look for “Your turn”. The command that stands there is here the button Check.",
      "find the mistake": "It is the lesson with one mistake in it: read it, run it, look at its numbers.",
      extend: "It is the lesson with something to fill in: look for “# %% Extension”. The command that stands there is here the button Check.",
    };
    find("exercise-file-state").textContent = unchanged ? handed[exercise.kind] : "With your changes.";
    enable("exercise-reset", !unchanged);
  }

  // Shows a line within the editor, and leaves the page and the keyboard where they are.
  function showLine(number) {
    const { view } = editor;
    const { from } = view.state.doc.line(number);
    view.dispatch({ selection: { anchor: from } });
    view.scrollDOM.scrollTop = view.lineBlockAt(from).top - 60;
  }

  function placeOfExercise() {
    const wanted = handedOut().split("\n")[exercise.line - 1];
    return Math.max(1, editor.text.split("\n").indexOf(wanted) + 1);
  }

  function goTo({ line, name }) {
    const own = name?.split(".").at(-1);
    const defined = name && editor.text.split("\n").findIndex((text) => text.trimStart().startsWith(`def ${own}(`)) + 1;
    editor.goTo(line ?? Math.max(1, defined));
  }

  function reset() {
    setAside();
    editor.replace(handedOut());
    attempts.note(exercise.name, { hints: 0 });
    attempts.keep(exercise.name, { text: null, verdict: null });
    showVerdict();
    showHints();
    showKept();
    showLine(placeOfExercise());
    say("Your file is as it was at the beginning. Your attempt is kept below it.");
  }

  function setAside() {
    if (editor.text === handedOut()) return;
    const { kept } = attempts.work(exercise.name);
    attempts.keep(exercise.name, { kept: [{ text: editor.text, when: new Date().toISOString() }, ...kept] });
  }

  function bringBack(old) {
    setAside();
    const { kept } = attempts.work(exercise.name);
    attempts.keep(exercise.name, { kept: kept.filter((one) => one.when !== old.when) });
    editor.replace(old.text);
    save();
    showKept();
    editor.focus();
  }

  function showKept() {
    const { kept } = attempts.work(exercise.name);
    const items = kept.map((old) => {
      const when = new Date(old.when).toLocaleString("en", { dateStyle: "medium", timeStyle: "medium" });
      return element("li", {}, when, element("button", { type: "button", onclick: () => bringBack(old) }, "Bring back"));
    });
    find("exercise-kept").replaceChildren(...items);
    find("exercise-kept-part").hidden = items.length === 0;
  }

  // Buttons
  // Those that cannot be used now stay where the keyboard is; `disabled` would take the focus away.
  function enable(id, possible) {
    find(id).setAttribute("aria-disabled", String(!possible));
  }

  function watchButtons() {
    const press = (id, action) => () => find(id).getAttribute("aria-disabled") !== "true" && action();
    const actions = {
      "exercise-check": check,
      "exercise-stop": () => checking.stop(),
      "exercise-run": run,
      "exercise-to-place": () => editor.goTo(placeOfExercise()),
      "exercise-reset": reset,
      "exercise-hint": giveHint,
      "exercise-solution": showSolution,
    };
    for (const [id, action] of Object.entries(actions)) find(id).addEventListener("click", press(id, action));
    const onKey = (event) => {
      if (!exercise || event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault();
      event.stopPropagation(); // in the editor these keys would do something else as well
      const id = event.shiftKey ? "exercise-stop" : "exercise-check";
      press(id, actions[id])();
    };
    document.addEventListener("keydown", onKey, true);
  }

  // Does something that needs Python. Returns null where it was stopped, or where Python cannot start, which it says.
  async function withPython(work) {
    setBusy(true);
    say("Loading Python …", null);
    let result = null;
    let words = "Stopped.";
    try {
      result = await work();
    } catch (error) {
      words = `${error.message}`;
    }
    setBusy(false);
    say(result === null ? words : "");
    return result;
  }

  function setBusy(now) {
    busy = now;
    for (const id of ["exercise-check", "exercise-run", "exercise-solution"]) enable(id, !busy);
    enable("exercise-stop", busy);
  }

  // `share` is how much of a task is done, null where nobody knows, undefined where nothing is waited for.
  function say(text, share) {
    find("exercise-state").textContent = text;
    const progress = find("exercise-progress");
    progress.hidden = share === undefined;
    if (share === null) progress.removeAttribute("value");
    else progress.value = share ?? 0;
  }

  // Checking
  async function check() {
    save();
    const checked = exercise;
    const { text } = editor;
    editor.mark(null);
    const settings = { seed: numberIn("exercise-seed") ?? anySeed, limit: numberIn("exercise-limit") || list.limit };
    const verdict = await withPython(() => checking.check({ name: checked.name, text, ...settings }));
    if (verdict === null || checked !== exercise) return;
    noteCheck(verdict);
    attempts.keep(exercise.name, { verdict: { ...verdict, outdated: editor.text !== text } });
    showVerdict();
    say(verdict.right ? "All is well." : "Checked: not yet.");
    Course.bringIntoView(find("exercise-verdict-title").parentElement); // on a narrow screen it is below the text
  }

  function numberIn(id) {
    const { value, validity } = find(id);
    return value === "" || !validity.valid ? null : Number(value);
  }

  function noteCheck(verdict) {
    const { checks = 0, done = null, begun = attempts.today() } = attempts.progress()[exercise.name] ?? {};
    attempts.note(exercise.name, { begun, checks: checks + 1, done: done ?? (verdict.right ? attempts.today() : null) });
  }

  function showVerdict() {
    const { verdict } = attempts.work(exercise.name);
    const box = find("exercise-verdict");
    box.className = `exercise-verdict ${verdict?.right ? "is-right" : "is-wrong"}`;
    box.replaceChildren(...(verdict ? Course.verdict.show({ verdict, exercise, outdated: verdict.outdated, goTo }) : []));
    find("exercise-unchecked").hidden = Boolean(verdict);
  }

  function outdateVerdict() {
    const { verdict } = attempts.work(exercise.name);
    if (!verdict || verdict.outdated) return;
    attempts.keep(exercise.name, { verdict: { ...verdict, outdated: true } });
    showVerdict();
  }

  // Help
  function hintsGiven() {
    return Math.min(attempts.progress()[exercise.name]?.hints ?? 0, exercise.hints.length);
  }

  function giveHint() {
    attempts.note(exercise.name, { hints: hintsGiven() + 1 });
    showHints();
  }

  function showHints() {
    const given = hintsGiven();
    const total = exercise.hints.length;
    find("exercise-hints").replaceChildren(...exercise.hints.slice(0, given).map((hint) => element("li", {}, ...withCode(hint))));
    const words = given < total ? `Hint ${given + 1} of ${total}` : "There are no more hints";
    find("exercise-hint").replaceChildren(words, element("kbd", {}, "--hint"));
    enable("exercise-hint", given < total);
  }

  async function showSolution() {
    const state = find("exercise-help-state");
    if (exercise.noSolution) return (state.textContent = exercise.noSolution);
    const { name } = exercise;
    const { text } = editor;
    state.textContent = "";
    const diff = await withPython(() => checking.solution({ name, text }));
    if (diff === null || exercise?.name !== name) return;
    const differs = diff.startsWith("---");
    if (!differs) state.textContent = diff.trim();
    find("exercise-diff-part").hidden = !differs;
    find("exercise-diff").replaceChildren(...(differs ? diff.trimEnd().split("\n").map(diffLine) : []));
  }

  function diffLine(line) {
    const kind = /^(---|\+\+\+|@@)/.test(line) ? "head" : { "+": "exercise-plus", "-": "exercise-minus" }[line[0]];
    return element("span", { class: kind ?? "" }, line || " ");
  }

  // Running the file as it is
  async function run() {
    save();
    const { name } = exercise;
    const { text } = editor;
    const lines = new Lines(find("exercise-lines"), find("exercise-lines-box"), list.printed);
    find("exercise-output").hidden = false;
    Course.bringIntoView(find("exercise-output")); // on a narrow screen it is below the text
    find("exercise-output-state").textContent = "";
    editor.mark(null);
    const end = await withPython(() => checking.run({ name, text, line: (line) => lines.take(line) }));
    if (exercise?.name !== name) return lines.end();
    for (const line of (end?.traceback ?? "").trimEnd().split("\n")) lines.take({ text: line, stream: "stderr" });
    lines.end();
    find("exercise-output-state").textContent = lines.summary(end);
    if (end?.error?.line && editor.text === text) editor.mark(end.error.line);
  }

  // What a file prints, line by line, beside what the lesson prints.
  class Lines {
    constructor(list, box, recorded) {
      Object.assign(this, { list, box, recorded, count: 0, same: 0, different: null, waiting: [], timer: null });
      list.replaceChildren();
    }

    take({ text, stream }) {
      if (!text && stream === "stderr") return;
      const recorded = stream === "stdout" ? (this.recorded[this.count++] ?? "nothing more is printed") : null;
      const same = text === recorded;
      this.same += same;
      if (recorded !== null && !same) this.different ??= this.count;
      this.waiting.push({ text, recorded, same });
      if (this.waiting.length > SHOWN) this.waiting.shift();
      this.timer ??= setTimeout(() => this.draw(), REDRAW);
    }

    draw() {
      this.timer = null;
      const atEnd = this.box.scrollHeight - this.box.scrollTop - this.box.clientHeight < 40;
      this.list.append(...this.waiting.map(lineElement));
      this.waiting = [];
      while (this.list.children.length > SHOWN) this.list.firstChild.remove();
      if (atEnd) this.box.scrollTop = this.box.scrollHeight;
    }

    end() {
      clearTimeout(this.timer);
      this.draw();
    }

    summary(end) {
      const how = end === null ? "Stopped" : end.exit ? "It ended with an error" : "It ended";
      const where = this.different ? ` The first that differs is line ${this.different}.` : "";
      return `${how} after ${this.count} lines. ${this.same} of ${this.recorded.length} are those that the lesson prints.${where}`;
    }
  }

  function lineElement({ text, recorded, same }) {
    if (recorded === null) return element("li", { class: "plain err" }, text);
    if (same) return element("li", { class: "same" }, text);
    return element("li", { class: "other" }, text, element("span", { class: "recorded" }, recorded));
  }
})();
