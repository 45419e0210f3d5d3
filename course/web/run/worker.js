// A Python in a worker of its own. Course.Python (python.js) starts it, speaks to it and ends it; it loads nothing by
// itself. esbuild bundles this file with pyodide's loader, and the page starts the bundle as a module worker from a data:
// URL, which works from http and from file:// alike (pyodide refuses classic workers, Chromium refuses blob: URLs there).
//
// The page sends                                             and gets back
//   {type: "boot", wasm, stdlib}       bytes                   {type: "booted", python}: its version
//   {type: "write", files}             path: text or bytes     nothing
//   {type: "unpack", archive, folder}  a zip                   nothing
//   {type: "run", id, path, argv, keep}                        output and messages as they come, then
//   {type: "run", id, module, argv, keep}                      {type: "end", id, ...} (what: run in course_page.py)
//   {type: "call", id, name, args}     name "module:function"  {type: "end", id, value, ...}
// While Python runs there come
//   {type: "output", stream, text}     stream "stdout" or "stderr", text with its line ends
//   {type: "message", name, value}     what the program hands to course_page.post
// An end has `fatal` where this Python can do nothing more, as after os._exit: the page then starts another.
// Nothing else is answered while Python runs; the page ends a worker that runs too long by terminate().
import { loadPyodide } from "pyodide";
import createPyodideModule from "pyodide/pyodide.asm.mjs";
import { info } from "pyodide/pyodide-lock.json";
import coursePage from "./course_page.py";

const NOWHERE = "https://embedded.invalid/"; // pyodide builds the addresses of its own files from it
const OWN_MODULES = "/course_page"; // a folder for the course's own modules, always on Python's path

let pyodide;
let course; // the module course_page
const outputs = [];

const handlers = {
  async boot({ wasm, stdlib }) {
    serveEmbedded({ "pyodide.asm.wasm": wasm, "python_stdlib.zip": stdlib });
    const lockFileContents = { info, packages: {} }; // there are no packages to load
    pyodide = await loadPyodide({ indexURL: NOWHERE, createPyodideModule, lockFileContents });
    connect("setStdout", "stdout");
    connect("setStderr", "stderr");
    pyodide.setStdin({ stdin: () => null }); // nobody answers input(): it raises EOFError
    pyodide.registerJsModule("course_worker", { post: postFromPython });
    handlers.write({ files: { [`${OWN_MODULES}/course_page.py`]: coursePage } });
    pyodide.runPython(`import sys; sys.path.append("${OWN_MODULES}")`);
    course = pyodide.pyimport("course_page");
    postMessage({ type: "booted", python: info.python });
  },

  write({ files }) {
    for (const [path, content] of Object.entries(files)) {
      pyodide.FS.mkdirTree(path.slice(0, path.lastIndexOf("/")) || "/");
      pyodide.FS.writeFile(path, content);
    }
  },

  unpack({ archive, folder }) {
    pyodide.FS.mkdirTree(folder);
    pyodide.unpackArchive(archive, "zip", { extractDir: folder });
  },

  run({ id, ...asked }) {
    answer(id, () => course.run(JSON.stringify(asked)));
  },

  call({ id, ...asked }) {
    answer(id, () => course.call(JSON.stringify(asked)));
  },
};

// Pyodide fetches its wasm and standard library. Here it gets what the page has handed over, and nothing else is fetched.
function serveEmbedded(files) {
  const types = { wasm: "application/wasm", zip: "application/zip" };
  self.fetch = async (asked) => {
    const name = String(asked.url ?? asked).replace(NOWHERE, "");
    if (!(name in files)) throw new TypeError(`${name} cannot be loaded: this page works without a network`);
    return new Response(files[name], { headers: { "content-type": types[name.split(".").pop()] } });
  };
}

function answer(id, work) {
  const began = performance.now();
  const end = ended(work);
  for (const output of outputs) output.flush();
  postMessage({ type: "end", id, seconds: (performance.now() - began) / 1000, ...end });
}

// course_page catches whatever a program raises; what gets here has ended this Python: os._exit, or too deep a recursion.
function ended(work) {
  try {
    return JSON.parse(work());
  } catch (error) {
    const exited = error.name === "ExitStatus" || error.name === "Exit";
    return { fatal: true, exit: error.status ?? 1, traceback: exited ? "" : `Python has ended: ${error.message}\n` };
  }
}

function postFromPython(name, value) {
  for (const output of outputs) output.flush(); // what was printed before arrives before
  postMessage({ type: "message", name, value: JSON.parse(value) });
}

function connect(setter, stream) {
  const output = new Output(stream);
  outputs.push(output);
  pyodide[setter]({ write: (bytes) => output.write(bytes) });
}

// Posts what is printed at once, unless there is so much of it that the page could not keep up: then a few times a second.
class Output {
  static WINDOW = 50; // milliseconds
  static POSTS = 50; // in a window

  constructor(stream) {
    this.stream = stream;
    this.decoder = new TextDecoder();
    this.text = "";
    this.began = 0;
    this.posts = 0;
  }

  write(bytes) {
    this.text += this.decoder.decode(bytes, { stream: true });
    const now = performance.now();
    if (now - this.began > Output.WINDOW) {
      this.began = now;
      this.posts = 0;
    }
    if (this.posts < Output.POSTS) this.flush();
    return bytes.length;
  }

  flush() {
    if (!this.text) return;
    postMessage({ type: "output", stream: this.stream, text: this.text });
    this.text = "";
    this.posts++;
  }
}

let turn = Promise.resolve(); // one message after the other: booting takes its time
self.onmessage = ({ data }) => {
  turn = turn.then(() => handlers[data.type](data)).catch((error) => {
    postMessage({ type: "broken", message: `${data.type}: ${error.message}` });
  });
};
