// node firefox.mjs PACKAGES FIREFOX: drives Firefox for firefox.py. Reads a command in JSON from each line of its input,
// {"name": …, "args": […]}, and answers each with a line {"value": …} or {"error": …}.
// Playwright does not drive Debian's Firefox ESR (it asks for commands of WebDriver BiDi that this version lacks);
// puppeteer-core does, but for setViewport, so the window's size is given at the start.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const [packages, executablePath] = process.argv.slice(2);
const found = createRequire(`${packages}/`).resolve("puppeteer-core");
const { default: puppeteer } = await import(pathToFileURL(found));

const browser = await puppeteer.launch({
  browser: "firefox",
  executablePath,
  headless: true,
  defaultViewport: null,
  args: ["--width=1400", "--height=900"],
});
let page;
let problems = [];

const commands = {
  async open(address) {
    await page?.close();
    problems = [];
    page = await browser.newPage();
    page.on("console", (message) => message.type() === "error" && problems.push(`console: ${message.text()}`));
    page.on("pageerror", (error) => problems.push(`error: ${error.message}`));
    page.on("request", (request) => problems.push(...elsewhere(request.url(), address)));
    await page.goto(address);
  },
  click: (selector) => page.click(selector),
  focus: (selector) => page.focus(selector),
  type: (text) => page.keyboard.type(text),
  async press(keys) {
    const held = keys.split("+");
    const last = held.pop();
    for (const key of held) await page.keyboard.down(key);
    await page.keyboard.press(last);
    for (const key of held) await page.keyboard.up(key);
  },
  reload: () => page.reload().then(() => null),
  text: (selector) => page.$eval(selector, (element) => element.innerText ?? element.textContent),
  evaluate: (script) => page.evaluate(script),
  wait_for: (condition, seconds) => page.waitForFunction(condition, { timeout: 1000 * seconds }).then(() => true),
  problems: () => problems,
};

function elsewhere(url, address) {
  const [scheme, , host] = url.split("/");
  const inside = ["data:", "blob:", "about:"].some((start) => url.startsWith(start));
  return inside || (scheme === address.split("/")[0] && host === address.split("/")[2]) ? [] : [`request: ${url}`];
}

console.log(JSON.stringify({ value: await browser.version() }));
for await (const line of createInterface({ input: process.stdin })) {
  const { name, args } = JSON.parse(line);
  try {
    console.log(JSON.stringify({ value: (await commands[name](...args)) ?? null }));
  } catch (error) {
    console.log(JSON.stringify({ error: `${name}: ${error.message}` }));
  }
}
await browser.close();
