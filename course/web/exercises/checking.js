// Checks attempts at exercises as `main.py exercise` does, with the same files, in two Pythons (run/python.js): in one
// the attempt runs, whatever it does, and in the other the checker, which only sees the numbers that come out of it.
//
//   const checking = new Course.Checking(place);    `place` is the exercises' folder in the Pythons' file system
//   checking.on("state", ({text, share}) => …)      what is being waited for; `share` of it is done, or null
//   checking.getReady()                             load and start both Pythons, if that has not been done
//   const verdict = await checking.check({name, text, seed, limit})    null after stop(); for its fields see
//                                                   to_json in checker_half.py. `limit` is in seconds
//   const end = await checking.run({name, text, line})      run an attempt as a program, and call line({text, stream})
//                                                   for each printed line; null after stop()
//   const text = await checking.solution({name, text})      what --solution prints of it
//   checking.stop()                                 end what goes on
// Only one of these goes on at a time: another one waits until it has ended. They reject where Python cannot start.
(() => {
  const MB = 1e6;

  class Checking {
    #place;
    #listeners = {};
    #checker = null; // the Python that checks, and that
    #attempt = null; // in which an attempt runs: after each another one
    #isReady = null; // a promise: the files are there and have been imported
    #archive = null; // what both are given
    #turn = Promise.resolve(); // ends when nothing goes on
    #stop = () => {};

    constructor(place) {
      this.#place = place;
    }

    on(event, listener) {
      this.#listeners[event] = listener;
      return this;
    }

    getReady() {
      this.#isReady ??= this.#open().catch((error) => {
        this.#isReady = null; // the next time tries again
        throw error;
      });
      return this.#isReady;
    }

    check({ name, text, seed, limit }) {
      return this.#inTurn(async (stopped) => {
        this.#say(`Checking ${name} …`);
        const begun = await this.#ask("begin", name, text, seed, limit);
        if (begun.verdict || stopped()) return begun.verdict;
        const attempt = this.#runAttempt(begun.job, limit);
        try {
          await this.#computeLesson(name, begun.compute, attempt, stopped);
          this.#say(`Checking ${name}: your file still computes …`);
          const end = await attempt.end;
          if (stopped()) return null;
          this.#say(`Checking ${name}: comparing with the lesson and with known mistakes …`);
          await this.#ask("take", attempt.lines.splice(0));
          return await this.#ask("end", end.exit, end.tooLong);
        } finally {
          if (!stopped()) this.#renewAttempt();
        }
      });
    }

    // The lesson's numbers are computed while the attempt computes its own, as far as they are needed.
    async #computeLesson(name, stages, attempt, stopped) {
      for (const stage of stages) {
        this.#say(`Checking ${name}: ${stage} …`);
        await this.#ask("take", attempt.lines.splice(0));
        if (stopped() || (await this.#ask("compute", stage))) return;
      }
    }

    run({ name, text, line }) {
      return this.#inTurn(async (stopped) => {
        const path = `${this.#place}/exercises/${name}.py`;
        this.#say("Running your file …");
        const { python } = this.#attempt;
        python.on("line", line);
        python.write({ [path]: text });
        try {
          return await this.#attempt.does(() => python.run({ path }));
        } finally {
          if (!stopped()) this.#renewAttempt();
        }
      });
    }

    solution({ name, text }) {
      return this.#inTurn(() => {
        this.#say("Comparing your file with the lesson …");
        return this.#ask("solution", name, text);
      });
    }

    stop() {
      this.#stop();
    }

    // Do some work when nothing else goes on. After stop() null is returned at once, and what still goes on of the
    // work comes to nothing.
    #inTurn(work) {
      let isStopped = false;
      const stopped = new Promise((resolve) => {
        this.#stop = () => {
          isStopped = true;
          this.#renewAttempt();
          resolve(null);
        };
      });
      const worked = this.#turn.then(async () => {
        if (isStopped) return null;
        await this.getReady();
        return isStopped ? null : work(() => isStopped);
      });
      this.#turn = worked.catch(() => {}); // whoever waits for it says so
      return Promise.race([worked, stopped]);
    }

    #say(text, share = null) {
      this.#listeners.state?.({ text, share });
    }

    // The two Pythons
    async #open() {
      const [archive, files] = await Promise.all([Course.load("exercises/python"), Course.load("run/files")]);
      this.#archive = { zip: bytes(archive), files };
      this.#checker ??= this.#python();
      this.#checker.on("progress", ({ done, total }) => {
        this.#say(`Loading Python: ${(done / MB).toFixed(1)} of ${(total / MB).toFixed(1)} MB …`, done / total);
      });
      this.#checker.on("state", (state) => state === "starting" && this.#say("Starting Python …"));
      const opened = valueOf(this.#checker.call("checker_half:open_folder", this.#place));
      this.#attempt ??= new Attempt(this.#python(), files);
      await Promise.all([opened, this.#attempt.ready]);
    }

    #python() {
      const python = new Course.Python();
      python.unpack(this.#archive.zip, "/");
      return python;
    }

    // What an attempt has left in its Python must not be there for the next.
    #renewAttempt() {
      if (!this.#attempt) return;
      this.#attempt.close();
      this.#attempt = new Attempt(this.#python(), this.#archive.files);
    }

    #ask(method, ...args) {
      return valueOf(this.#checker.call(`checker_half:checking.${method}`, ...args));
    }

    #runAttempt(job, limit) {
      const lines = []; // what it has posted, and nobody has taken yet
      const end = this.#attemptEnds(job, limit, lines);
      end.catch(() => {}); // whoever waits for it says so
      return { lines, end };
    }

    async #attemptEnds(job, limit, lines) {
      const attempt = this.#attempt;
      const clock = new Clock(limit, () => attempt.close());
      attempt.python.on("message", ({ value }) => {
        lines.push(value);
        clock.begin(); // with the first line, which says that the attempt begins
      });
      const end = await attempt.does(() => attempt.python.call("attempt_half:run_in_page", job));
      clock.stop();
      if (end.stopped) return { exit: 1, tooLong: limit };
      if (end.traceback) lines.push(JSON.stringify({ said: hex(end.traceback) }));
      return { exit: end.value ?? end.exit, tooLong: 0 };
    }
  }

  // A Python that is started ahead, for one attempt.
  class Attempt {
    constructor(python, files) {
      this.python = python;
      python.write(files);
      this.ready = valueOf(python.call("attempt_half:get_ready"));
      this.ready.catch(() => {}); // whoever waits for it says so
    }

    // Returns how it ended: {stopped: true} if it was closed.
    async does(work) {
      await this.ready;
      return work();
    }

    close() {
      this.python.close();
    }
  }

  // Calls a function when nobody has called begin() for so many seconds. Time in which the page did not get to look at
  // the clock hardly counts: while a computer sleeps, nothing computes.
  class Clock {
    static TICK = 100; // milliseconds
    static MOST = 1000; // milliseconds: a page in the background looks once a second
    #limit;
    #ends;
    #left;
    #seen;
    #timer = null;

    constructor(limit, ends) {
      this.#limit = limit * 1000;
      this.#ends = ends;
    }

    begin() {
      this.#left = this.#limit;
      this.#seen = performance.now();
      this.#timer ??= setInterval(() => this.#look(), Clock.TICK);
    }

    #look() {
      const now = performance.now();
      this.#left -= Math.min(now - this.#seen, Clock.MOST);
      this.#seen = now;
      if (this.#left > 0) return;
      this.stop();
      this.#ends();
    }

    stop() {
      clearInterval(this.#timer);
    }
  }

  // What a called function has returned. That it raises something is no verdict but a fault of this page.
  async function valueOf(call) {
    const end = await call;
    if (end.traceback) throw new Error(end.traceback.trim().split("\n").pop());
    return end.value;
  }

  function bytes(base64) {
    return Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
  }

  function hex(text) {
    return Array.from(new TextEncoder().encode(text), (byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  Course.Checking = Checking;
})();
