// Python for a page, in a worker (worker.js) that never keeps the page from answering. Pages load this file after
// course.js; Python itself, some megabytes, is loaded at the first start().
//
//   const python = new Course.Python();       as many as a page needs: what was loaded is shared
//   python.on("progress", ({done, total}) => …)    characters loaded, until all are there
//   python.on("state", (state) => …)          "loading", "starting", "ready", "running", or "failed"
//   python.on("line", ({text, stream}) => …)  each printed line as it comes; stream is "stdout" or "stderr"
//   python.on("message", ({name, value}) => …)     what a program hands to course_page.post(name, value)
//   python.on("output", ({text, stream}) => …)     the same as "line", as it comes, with line ends
//   await python.start()                      loads and starts Python, if that has not been done; run and call do it too
//   python.write({"/course/a.py": text})      files, as text or bytes; after a stop the next Python gets them again
//   python.unpack(zipBytes, "/course")        the same for what is in a zip
//   const end = await python.run({path, argv, keep})     runs a file as `python path argv…` would, or {module, argv} as
//                                             `python -m module argv…`; `keep` names functions whose locals are kept
//   const end = await python.call("module:function", ...args)   of a module on Python's path; args and value are JSON
//   python.stop()                             ends whatever runs, at once, and starts another Python for the next run
//   python.close()                            ends it for good: whatever is asked for later is stopped at once
//   Course.Python.version                     once one has started: "3.14.2"
//
// An end is {stopped, exit, traceback, error, value, seconds}: `stopped` is true after stop(), `exit` is the exit code,
// `traceback` a text ("" if there was no error), `error` is null or {type, message, line} with the line in the
// program's own file, `value` what a called function has returned. run and call reject only where Python cannot start.
// A module's text that was imported before is not read again: stop() starts afresh. Folders on Python's path: the
// program's own while it runs, and /course_page.
(() => {
  const LONGEST = 10_000; // characters in a line; a longer one is cut there
  const NOTHING = { exit: null, traceback: "", error: null, value: null, seconds: null }; // an end without a result

  class Python {
    static version = null;
    static #loading = null; // a promise of Python's files, the same for all
    static #progress = new Set(); // functions to tell how far loading is

    #listeners = {};
    #files = {}; // what a new worker is given, by path
    #archives = []; // and before that
    #worker = null;
    #started = null; // a promise, while a worker starts or runs
    #running = null; // what answers the request that runs
    #partial = { stdout: "", stderr: "" };
    #requests = 0;
    #turn = 0; // how often stop() was called
    #closed = false;

    on(event, listener) {
      (this.#listeners[event] ??= []).push(listener);
      return this;
    }

    start() {
      this.#started ??= this.#start();
      return this.#started;
    }

    write(files) {
      Object.assign(this.#files, files);
      this.#worker?.postMessage({ type: "write", files });
    }

    unpack(archive, folder) {
      this.#archives.push({ type: "unpack", archive, folder });
      this.#worker?.postMessage(this.#archives.at(-1));
    }

    run({ path, module, argv = [], keep = [] }) {
      return this.#request({ type: "run", path, module, argv, keep });
    }

    call(name, ...args) {
      return this.#request({ type: "call", name, args });
    }

    stop() {
      const wasStarted = this.#worker !== null;
      this.#end({ stopped: true });
      if (wasStarted) this.start().catch(() => {}); // the next run says what is wrong
    }

    close() {
      this.#closed = true;
      this.#end({ stopped: true });
    }

    #emit(event, value) {
      for (const listener of this.#listeners[event] ?? []) listener(value);
    }

    async #start() {
      const turn = this.#turn;
      try {
        this.#emit("state", "loading");
        const files = await this.#load();
        if (turn !== this.#turn) return;
        this.#emit("state", "starting");
        await this.#boot(files);
        this.#emit("state", "ready");
      } catch (error) {
        if (turn !== this.#turn) return;
        this.#started = null;
        this.#emit("state", "failed");
        throw error;
      }
    }

    async #load() {
      const tell = (progress) => this.#emit("progress", progress);
      Python.#progress.add(tell);
      try {
        Python.#loading ??= loadFiles((progress) => Python.#progress.forEach((one) => one(progress)));
        return await Python.#loading;
      } catch (error) {
        Python.#loading = null; // the next start tries again
        throw error;
      } finally {
        Python.#progress.delete(tell);
      }
    }

    #boot({ worker: address, wasm, stdlib }) {
      const worker = new Worker(address, { type: "module" });
      this.#worker = worker;
      worker.postMessage({ type: "boot", wasm, stdlib });
      for (const message of this.#archives) worker.postMessage(message);
      worker.postMessage({ type: "write", files: this.#files });
      return new Promise((resolve, reject) => {
        const broken = (message) => {
          reject(new Error(`Python could not be started: ${message}`));
          if (this.#worker === worker) this.#end({ stopped: false, exit: 1, traceback: `${message}\n` });
        };
        worker.onerror = (event) => broken(event.message ?? "the browser does not allow the worker");
        worker.onmessage = ({ data }) => {
          if (this.#worker !== worker) return;
          if (data.type === "booted") Python.version = data.python;
          if (data.type === "booted") resolve();
          else if (data.type === "broken") broken(data.message);
          else this.#take(data);
        };
      });
    }

    #take(data) {
      if (data.type === "output") this.#print(data);
      if (data.type === "message") this.#emit("message", data);
      if (data.type === "end" && data.id === this.#requests) {
        const { fatal, type, id, ...end } = data;
        if (!fatal) this.#answer({ stopped: false, ...end });
        else this.#end({ stopped: false, ...end });
        if (fatal) this.start().catch(() => {});
      }
    }

    #print({ text, stream }) {
      this.#emit("output", { text, stream });
      const lines = (this.#partial[stream] + text).split("\n");
      if (lines.at(-1).length > LONGEST) lines.push(""); // a program that never ends its line
      this.#partial[stream] = lines.pop();
      for (const line of lines) this.#emit("line", { text: line, stream });
    }

    async #request(message) {
      if (this.#closed) return { ...NOTHING, stopped: true };
      if (this.#running) throw new Error("this Python runs something already");
      const turn = this.#turn;
      let answered;
      const end = new Promise((resolve) => (answered = resolve));
      this.#running = answered;
      try {
        await Promise.race([this.start(), end]); // a Python that is ended before it has started never starts
      } catch (error) {
        this.#running = null;
        throw error;
      }
      if (turn === this.#turn) {
        this.#emit("state", "running");
        this.#worker.postMessage({ ...message, id: ++this.#requests });
      }
      return end;
    }

    #answer(end) {
      for (const [stream, text] of Object.entries(this.#partial)) {
        if (text) this.#emit("line", { text, stream }); // a last line without an end
      }
      this.#partial = { stdout: "", stderr: "" };
      const answer = this.#running;
      this.#running = null;
      if (this.#worker) this.#emit("state", "ready");
      answer?.({ ...NOTHING, ...end });
    }

    #end(end) {
      this.#turn++;
      this.#worker?.terminate();
      this.#worker = null;
      this.#started = null;
      this.#answer(end);
    }
  }

  // Python's files: each was compressed, written in base64 and cut into parts when the site was built.
  async function loadFiles(tell) {
    const index = await Course.load("python/index");
    const total = Object.values(index).reduce((sum, file) => sum + file.size, 0);
    let done = 0;
    tell({ done, total });
    const texts = {};
    for (const [name, file] of Object.entries(index)) {
      texts[name] = "";
      for (const part of file.parts) {
        const text = await Course.load(part);
        texts[name] += text;
        done += text.length;
        tell({ done, total });
      }
    }
    const [worker, wasm, stdlib] = await Promise.all([texts.worker, texts.wasm, texts.stdlib].map(unpacked));
    return { worker: await dataAddress(worker), wasm, stdlib };
  }

  async function unpacked(text) {
    return new Uint8Array(await Course.gunzip(text).arrayBuffer());
  }

  // From file:// Chromium starts module workers from data: addresses only.
  function dataAddress(script) {
    return new Promise((resolve, reject) => {
      const reader = new FileReader();
      reader.onload = () => resolve(reader.result);
      reader.onerror = () => reject(reader.error);
      reader.readAsDataURL(new Blob([script], { type: "text/javascript" }));
    });
  }

  Course.Python = Python;
})();
