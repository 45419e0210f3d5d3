// node pack_stdlib.mjs PACKED: writes pyodide's standard library as a zip in which the modules that Python imports when
// it starts stand compiled as well. A browser then starts Python in a quarter of the time, after every stop again.
import { readFileSync, writeFileSync } from "node:fs";
import { loadPyodide } from "pyodide";

const pyodide = await loadPyodide();
pyodide.registerJsModule("course_worker", { post() {} });
for (const name of ["course_page.py", "pack_stdlib.py"]) {
  pyodide.FS.writeFile(name, readFileSync(new URL(name, import.meta.url), "utf8"));
}
const packed = pyodide.pyimport("pack_stdlib").packed();
writeFileSync(process.argv[2], packed.toJs());
