// The page of `netdsl play`: a text, what is found in it, and the drawing of a net.

import { ask, askFile, type Found, type Opened, type Problem, Refused, type Shown, type Start, takeFragment } from "./api";
import { change, create, fixes, language, place, show } from "./editor";
import { highlighting } from "./highlighting";
import { pack, unpack } from "./link";
import { Picture } from "./picture";
import { RunPane } from "./run";

const PAUSE = 60; // milliseconds without a key before the text is analyzed
const IDLE = 400; // and before it is analyzed completely

function element<T extends HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}

const nonce = document.querySelector<HTMLMetaElement>('meta[name="csp-nonce"]')?.content ?? "";
const pane = element("view");
const dark = matchMedia("(prefers-color-scheme: dark)");

let start: Start;
let inFile = false; // whether the text is that of FILE
let name = "";
let saved = ""; // the text without changes
let shown: Record<string, [string, string]> = {};
let wanted: string | null = null;
let current = ""; // the net that is shown
const tabs = ["drawing", "summary", "run"] as const;
let tab: (typeof tabs)[number] = "drawing";
let variants: Shown["nets"][number]["variants"] = [];
let found: Found | null = null;
let version = 0;
let timer = 0;

function say(text: string, bad = false): void {
  const status = element("status");
  status.textContent = text;
  status.classList.toggle("bad", bad);
}

function report(error: unknown): void {
  if (!(error instanceof Refused)) console.error(error);
  say(error instanceof Error ? error.message : String(error), true);
}

function text(): string {
  return view.state.doc.toString();
}

function request(): object {
  return { text: text(), file: inFile, shown };
}

// editing

const view = create(
  element("editor"),
  nonce,
  {
    request,
    changed: () => schedule(PAUSE),
    moved: () => picture.mark(view.state.doc.lineAt(view.state.selection.main.head).number),
    fixHere: () => {
      const [first] = fixes(found, view.state.doc, view.state.selection.main.head);
      if (first) change(view, first.edits);
      return true;
    },
    call: (usage) => {
      element("call").textContent = usage;
      element("call").hidden = !usage;
    },
  },
  [
    { key: "Mod-s", run: () => (void save(), true) },
    { key: "Shift-Alt-f", run: () => (void format(), true) },
  ],
);
const picture = new Picture(pane, (line) => select(view.state.doc.line(Math.min(line, view.state.doc.lines)).from));

const running = new RunPane(() => ({ ...request(), net: current }), report);

function select(at: number): void {
  view.dispatch({ selection: { anchor: at }, scrollIntoView: true });
  view.focus();
}

function replace(opened: Opened, ofFile = false): void {
  inFile = ofFile;
  name = opened.name;
  saved = opened.text;
  shown = opened.shown ?? {};
  wanted = opened.net ?? null;
  found = null;
  const changes = { from: 0, to: view.state.doc.length, insert: opened.text };
  view.dispatch({ changes, selection: { anchor: 0 }, scrollIntoView: true });
  element("name").textContent = name;
  document.title = `${name} – netdsl`;
  element("save").hidden = !inFile;
  schedule(0);
}

function isChanged(): boolean {
  return text() !== saved;
}

function mayDiscard(): boolean {
  return !isChanged() || confirm("Discard the changes of this text?");
}

async function save(): Promise<void> {
  if (!inFile) return say("This text is no file's: export it, or copy it.", true);
  const kept = text();
  if (kept === saved) return say("There is no change to save.");
  try {
    const answer = await ask<{ revision: string }>("save", { text: kept, revision: start.revision });
    start.revision = answer.revision;
    saved = kept;
    element("changed").hidden = !isChanged();
    say(`Saved ${name}.`);
  } catch (error) {
    report(error);
  }
}

async function format(): Promise<void> {
  const before = view.state.doc;
  try {
    const { edits } = await ask<{ edits: Parameters<typeof change>[1] }>("format", request());
    if (view.state.doc !== before) return;
    if (edits.length) change(view, edits);
    else say("There is nothing to format, or the text has syntax errors.");
  } catch (error) {
    report(error);
  }
}

// analyses: each answer is shown only if the text is still the same

function schedule(pause: number): void {
  version += 1;
  clearTimeout(timer);
  element("changed").hidden = !isChanged();
  timer = window.setTimeout(() => void analyse(version), pause);
}

async function analyse(own: number): Promise<void> {
  try {
    const theme = dark.matches ? "dark" : "light";
    const answer = await ask<Shown>("analyse", { ...request(), net: wanted, view: tab, theme });
    if (own !== version || answer.stale) return;
    render(answer);
    draw(answer);
    if (!answer.complete) timer = window.setTimeout(() => void advise(own), IDLE);
  } catch (error) {
    if (own === version) report(error);
  }
}

async function advise(own: number): Promise<void> {
  try {
    const answer = await ask<Found>("advise", request());
    if (own === version && !answer.stale) render(answer);
  } catch (error) {
    if (own === version) report(error);
  }
}

function render(answer: Found): void {
  found = answer;
  show(view, answer);
  element("problems").replaceChildren(...answer.diagnostics.map(item));
  const errors = answer.diagnostics.filter((each) => each.severity === "error").length;
  const warnings = answer.diagnostics.length - errors;
  const count = (n: number, word: string) => `${n} ${word}${n === 1 ? "" : "s"}`;
  say(answer.tooLarge ? "The net is too large to be analyzed while you type." : errors || warnings ? `${count(errors, "error")}, ${count(warnings, "warning")}` : "No problems.");
}

function item(problem: Problem): HTMLLIElement {
  const offered = new Set(problem.actions.map((action) => `help: ${action.title}`));
  const [first, ...rest] = problem.message.split("\n").filter((line) => !offered.has(line));
  const found = document.createElement("li");
  found.className = problem.severity;
  const link = button(`${problem.range[0][0] + 1}: ${first} [${problem.code}]`, () => select(place(view.state.doc, problem.range[0])));
  link.className = "place";
  const more = document.createElement("div");
  more.className = "more";
  more.textContent = [...rest, ...problem.related.map((each) => (each.range ? `line ${each.range[0][0] + 1}: ` : "") + each.text)].join("\n");
  const repairs = problem.actions.map((action) => {
    const fix = button(action.title, () => {
      change(view, action.edits);
      view.focus();
    });
    fix.className = "fix";
    return fix;
  });
  found.append(link, ...(more.textContent ? [more] : []), ...repairs);
  return found;
}

function button(label: string, run: () => void): HTMLButtonElement {
  const found = document.createElement("button");
  found.type = "button";
  found.textContent = label;
  found.addEventListener("click", run);
  return found;
}

function draw(answer: Shown): void {
  current = answer.net;
  options("net", answer.nets.map((each) => [each.name, each.name]), answer.net, answer.nets.length > 1);
  const net = answer.nets.find((each) => each.name === answer.net);
  variants = net?.variants ?? [];
  options("variant", variants.map(([label], at) => [String(at), label]), String(net?.shown ?? 0), variants.length > 1);
  running.take(answer.input ?? []);
  if (tab === "run") return;
  pane.classList.toggle("old", answer.svg === undefined && answer.summary === undefined && pane.childElementCount > 0);
  if (answer.svg !== undefined) {
    picture.show(answer.svg, answer.source);
    picture.mark(view.state.doc.lineAt(view.state.selection.main.head).number);
  } else if (answer.summary !== undefined) {
    const table = document.createElement("pre");
    table.textContent = answer.summary;
    pane.replaceChildren(table);
  } else if (answer.refused || !answer.nets.length) {
    const reason = document.createElement("p");
    reason.textContent = answer.refused ?? "A net is drawn here once there is one.";
    pane.classList.remove("old");
    pane.replaceChildren(reason);
  }
}

function options(id: string, values: string[][], current: string, visible: boolean): void {
  const select = element<HTMLSelectElement>(id);
  element(`${id}-label`).hidden = !visible;
  select.replaceChildren(...values.map(([value, label]) => new Option(label, value, false, value === current)));
}

// the bar

element("net").addEventListener("change", () => {
  wanted = element<HTMLSelectElement>("net").value;
  schedule(0);
});

element("variant").addEventListener("change", () => {
  const net = element<HTMLSelectElement>("net").value;
  const [, key, value] = variants[Number(element<HTMLSelectElement>("variant").value)];
  shown = { ...shown, [net]: [key, value] };
  schedule(0);
});

element("zoo").addEventListener("change", () => {
  const select = element<HTMLSelectElement>("zoo");
  const chosen = select.value;
  select.value = "";
  if (chosen && mayDiscard()) void open(chosen);
});

async function open(chosen: string): Promise<void> {
  try {
    if (chosen === "\n") {
      start = await ask<Start>("open", {});
      replace(start, start.file);
    } else {
      replace(await ask<Opened>("zoo", { name: chosen }));
    }
    view.focus();
  } catch (error) {
    report(error);
  }
}

async function openLink(packed: string): Promise<void> {
  try {
    replace({ name: "link", text: await unpack(packed) });
  } catch {
    say("The link has no text of a net: copy all of it.", true);
  }
}

element("save").addEventListener("click", () => void save());
element("format").addEventListener("click", () => void format());
for (const form of ["net", "onnx", "svg"]) {
  element(`export-${form}`).addEventListener("click", () => {
    element<HTMLDetailsElement>("export").open = false;
    download(form).catch(report);
  });
}
element("export").addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  element<HTMLDetailsElement>("export").open = false;
  element("export").querySelector("summary")?.focus();
});
element("share").addEventListener("click", () => share().catch(report));

tabs.forEach((each, at) => {
  const control = element(`tab-${each}`);
  control.addEventListener("click", () => choose(each));
  control.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const open = tabs.filter((one) => !element(`tab-${one}`).hidden);
    const next = open[(at + step + open.length) % open.length];
    choose(next);
    element(`tab-${next}`).focus();
  });
});

function choose(next: (typeof tabs)[number]): void {
  tab = next;
  for (const each of tabs) {
    element(`tab-${each}`).setAttribute("aria-selected", String(each === next));
    element(`tab-${each}`).tabIndex = each === next ? 0 : -1;
  }
  pane.hidden = next === "run";
  element("run").hidden = next !== "run";
  if (next !== "run") pane.setAttribute("aria-labelledby", `tab-${next}`);
  for (const id of ["smaller", "fit", "larger"]) element(id).hidden = next !== "drawing";
  schedule(0);
}

element("smaller").addEventListener("click", () => picture.zoom(0.8));
element("larger").addEventListener("click", () => picture.zoom(1.25));
element("fit").addEventListener("click", () => picture.zoom(0));

async function download(form: string): Promise<void> {
  say(`Exporting ${form} …`);
  const data = form === "net" ? new Blob([text()]) : await askFile("export", { ...request(), net: current, form });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(data);
  link.download = `${form === "net" && inFile ? name.replace(/\.net$/, "") : current || "net"}.${form}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  say(`Exported ${link.download}, ${data.size.toLocaleString("en")} bytes.`);
}

async function share(): Promise<void> {
  const link = `${location.origin}/#net=${await pack(text())}`;
  const field = element<HTMLInputElement>("dialog-link");
  field.value = link;
  element("dialog-text").textContent =
    "The link holds the whole text. It opens in the address bar of this page, and anywhere with: netdsl play 'LINK'";
  element<HTMLDialogElement>("dialog").showModal();
  field.select();
  await navigator.clipboard?.writeText(link).catch(() => undefined);
}

window.addEventListener("beforeunload", (event) => {
  if (isChanged()) event.preventDefault();
});
window.addEventListener("hashchange", () => {
  const packed = takeFragment();
  if (packed && mayDiscard()) void openLink(packed);
});
window.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key === "s" && !event.defaultPrevented) {
    event.preventDefault();
    void save();
  }
});
dark.addEventListener("change", () => schedule(0));

async function begin(): Promise<void> {
  const packed = takeFragment();
  start = await ask<Start>("open", {});
  view.dispatch({ effects: language.reconfigure(highlighting(start.rules)) });
  element("tab-run").hidden = !start.runs;
  const zoo = element<HTMLSelectElement>("zoo");
  zoo.append(new Option("file or net of the zoo…", ""), new Option(start.name, "\n"));
  const group = zoo.appendChild(document.createElement("optgroup"));
  group.label = "Zoo";
  group.append(...start.zoo.map(([net, year]) => new Option(`${net} (${year})`, net)));
  if (packed) await openLink(packed);
  else replace(start, start.file);
  view.focus();
}

begin().catch(report);
