// Drives a headless Chromium as the test asks, one JSON object a line, and answers each with a line.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const PATIENCE = 60_000;
// Packages are looked for where it runs, which is not where it is written.
const axe = readFileSync(createRequire(process.cwd() + "/").resolve("axe-core/axe.min.js"), "utf8");
// The tests may run as root, under which the browser has no sandbox.
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", chromiumSandbox: false });

let context;
let page;
const origins = new Set();
const problems = [];

const text = async () => page.locator("body").innerText();
const found = async (wanted, between) => {
  const end = Date.now() + PATIENCE;
  for (;;) {
    const seen = await text();
    if (seen.includes(wanted)) return seen;
    if (Date.now() > end) throw new Error(`${wanted} does not appear in:\n${seen}`);
    await between();
  }
};

const commands = {
  // A fresh browser, without cookies.
  async open({ script = true, width = 1280, height = 800, scheme = "light" }) {
    await context?.close();
    context = await browser.newContext({
      javaScriptEnabled: script,
      viewport: { width, height },
      colorScheme: scheme,
      reducedMotion: "reduce",
    });
    page = await context.newPage();
    page.setDefaultTimeout(PATIENCE);
    page.on("request", (request) => origins.add(new URL(request.url()).origin));
    page.on("dialog", (dialog) => {
      problems.push(`dialog: ${dialog.message()}`);
      dialog.dismiss();
    });
    page.on("pageerror", (error) => problems.push(`error: ${error.message}`));
    page.on("console", (message) => {
      if (message.type() === "error" || message.type() === "warning") problems.push(`${message.type()}: ${message.text()}`);
    });
  },
  async size({ width, height, scheme = "light" }) {
    await page.setViewportSize({ width, height });
    await page.emulateMedia({ colorScheme: scheme, reducedMotion: "reduce" });
  },
  async goto({ url }) {
    return (await page.goto(url))?.status() ?? null;
  },
  // Goes to an address as a link on the page that is shown does.
  async leave({ url }) {
    await page.evaluate((url) => location.assign(url), url);
    await page.waitForURL((address) => address.origin === new URL(url).origin);
  },
  async click({ role, name }) {
    await page.getByRole(role, { name }).first().click();
  },
  async check({ name }) {
    await page.getByRole("checkbox", { name }).first().check();
  },
  async fill({ label, value }) {
    await page.getByRole("textbox", { name: label }).fill(value);
  },
  async press({ key }) {
    await page.keyboard.press(key);
  },
  async focused() {
    return page.evaluate(() => document.activeElement.id || document.activeElement.textContent.trim());
  },
  text,
  // Waits until the page has a text.
  async see({ text: wanted }) {
    return found(wanted, () => new Promise((resolve) => setTimeout(resolve, 50)));
  },
  // The same for a page that does not change by itself.
  async reloadUntil({ text: wanted }) {
    return found(wanted, () => page.reload());
  },
  async address() {
    return page.url();
  },
  // Elements that a selector finds.
  async count({ selector }) {
    return page.locator(selector).count();
  },
  // How much wider than the window the page is, in pixels.
  async overflow() {
    return page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  },
  async cookies() {
    return context.cookies();
  },
  // Violations of the rules of WCAG 2.2 AA and of good practice.
  async accessibility() {
    await page.evaluate(axe);
    const { violations, incomplete, passes } = await page.evaluate(() => globalThis.axe.run());
    const told = (rule) => `${rule.id}: ${rule.help}: ${rule.nodes.map((node) => node.html.slice(0, 200)).join(" | ")}`;
    return { violations: violations.map(told), incomplete: incomplete.map(told), passes: passes.length };
  },
  async download({ name }) {
    const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name }).click()]);
    return { name: download.suggestedFilename(), bytes: readFileSync(await download.path()).length };
  },
  async screenshot({ path }) {
    // The directory of a test is of no interest.
    await page.evaluate(() => {
      for (const name of document.querySelectorAll(".facts dt")) {
        if (name.textContent === "Defined in") name.nextElementSibling.textContent = "manifests/shop.yaml:1";
      }
      scrollTo(0, 0);
    });
    await page.screenshot({ path, animations: "disabled" });
  },
  // What has gone wrong in pages since the last time, and to which origins requests went.
  async taken() {
    const taken = { problems: problems.splice(0), origins: [...origins] };
    origins.clear();
    return taken;
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...options } = JSON.parse(line);
  let answer;
  try {
    answer = { value: (await commands[command](options)) ?? null };
  } catch (error) {
    answer = { error: `${command}: ${error.message}` };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await browser.close();
