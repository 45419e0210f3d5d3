// A reader's attempts at exercises, in the browser's storage: what `main.py exercise` keeps in a folder.
//
//   Course.attempts.progress()             {name: {begun, done, checks, hints}}, begun and done as dates
//   Course.attempts.note(name, facts)      adds to that
//   Course.attempts.work(name)             {text, verdict, kept}: what a reader has written (null: nothing yet), the
//                                          last verdict on it, and earlier attempts as [{text, when}], newest first
//   Course.attempts.keep(name, changes)    changes that. Returns false where the browser keeps nothing
(() => {
  const { store } = Course;
  const NOTHING = { text: null, verdict: null, kept: [] };
  const MOST = 5; // earlier attempts at one exercise

  const progress = () => store.get("exercises.progress", {});
  const work = (name) => ({ ...NOTHING, ...store.get(`exercises.work.${name}`, {}) });

  function note(name, facts) {
    const all = progress();
    store.set("exercises.progress", { ...all, [name]: { ...all[name], ...facts } });
  }

  function keep(name, changes) {
    const changed = { ...work(name), ...changes };
    changed.kept = changed.kept.slice(0, MOST);
    store.set(`exercises.work.${name}`, changed);
    return work(name).text === changed.text;
  }

  const today = () => new Date().toISOString().slice(0, 10);

  Course.attempts = { progress, note, work, keep, today };
})();
