// What every page uses: data that are loaded when they are needed, and the switch between light and dark.
// Pages may be opened by a double click, where a script may be loaded and a file may not be fetched: so data are
// scripts that call Course.provide.
const Course = (() => {
  const waiting = {}; // by name: what to do with data that are on their way
  const loaded = {}; // by name: promises

  function provide(name, value) {
    waiting[name]?.(value);
  }

  function load(name) {
    loaded[name] ??= new Promise((resolve, reject) => {
      waiting[name] = resolve;
      const script = document.createElement("script");
      script.src = `data/${name}.js`;
      script.onerror = () => {
        delete loaded[name];
        reject(new Error(`${script.src} cannot be loaded`));
      };
      document.head.append(script);
    });
    return loaded[name];
  }

  // Large data are packed: JSON, gzip, base64. Returns a promise of the data.
  const unpack = (base64) => gunzip(base64).json();

  // Returns a Response, of which text, JSON or bytes can be had.
  function gunzip(base64) {
    const bytes = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip")));
  }

  // Calls `run` when the page is there, and the script that asks for it has come to its end.
  function ready(run) {
    if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", run);
    else queueMicrotask(run);
  }

  // What a reader does is kept for the next visit, where the browser allows it: some do not for pages of local files.
  const store = {
    get(key, otherwise = null) {
      try {
        return JSON.parse(localStorage.getItem(`microgpt.${key}`)) ?? otherwise;
      } catch {
        return otherwise;
      }
    },
    set(key, value) {
      try {
        localStorage.setItem(`microgpt.${key}`, JSON.stringify(value));
      } catch {
        // the page works on, and forgets
      }
    },
  };

  // Numbers are shown with as many digits as help: 0.0123, -1.500, 3.2e-7.
  function format(number) {
    if (number === null || number === undefined) return "–";
    if (number === 0 || Number.isInteger(number)) return String(number);
    const size = Math.abs(number);
    if (size < 1e-4 || size >= 1e5) return number.toExponential(2).replace("-", "−").replace("e−", "e-");
    return number.toFixed(size >= 100 ? 1 : size >= 1 ? 3 : 4).replace("-", "−");
  }

  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key === "class") made.className = value;
      else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
      else if (value === true) made.setAttribute(key, "");
      else if (value !== false && value !== null) made.setAttribute(key, value);
    }
    made.append(...children);
    return made;
  }

  // Scrolls to what somebody has asked for, unless a good part of it is in view.
  function bringIntoView(element) {
    const { top, bottom, height } = element.getBoundingClientRect();
    const seen = Math.min(bottom, innerHeight) - Math.max(top, 0);
    if (seen < Math.min(height, innerHeight / 3)) element.scrollIntoView();
  }

  function applyTheme(theme) {
    if (theme) document.documentElement.dataset.theme = theme;
  }
  applyTheme(store.get("theme"));

  ready(() => {
    const button = document.getElementById("theme");
    const dark = () => {
      const chosen = document.documentElement.dataset.theme;
      return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    };
    const name = () => (button.textContent = dark() ? "Light" : "Dark");
    button.hidden = false;
    name();
    button.addEventListener("click", () => {
      const theme = dark() ? "light" : "dark";
      store.set("theme", theme);
      applyTheme(theme);
      name();
    });
  });

  return { provide, load, unpack, gunzip, ready, store, format, element, bringIntoView };
})();
