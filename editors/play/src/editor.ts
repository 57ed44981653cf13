// The editor: shapes behind lines, underlined problems, completion, descriptions.

import { autocompletion, type Completion, type CompletionContext, type CompletionResult } from "@codemirror/autocomplete";
import { type Diagnostic, nextDiagnostic, previousDiagnostic, setDiagnostics } from "@codemirror/lint";
import { Compartment, EditorState, type Extension, StateEffect, StateField, type Text } from "@codemirror/state";
import { Decoration, type DecorationSet, EditorView, hoverTooltip, keymap, showTooltip, type Tooltip, WidgetType } from "@codemirror/view";
import { basicSetup } from "codemirror";
import { type Action, ask, type Edit, type Found, type Position } from "./api";

export function place(doc: Text, [line, character]: Position): number {
  const found = doc.line(Math.min(line + 1, doc.lines));
  return Math.min(found.from + character, found.to);
}

export function position(doc: Text, at: number): Position {
  const line = doc.lineAt(at);
  return [line.number - 1, at - line.from];
}

class Shape extends WidgetType {
  constructor(readonly text: string, readonly tooltip: string) {
    super();
  }
  eq(other: Shape): boolean {
    return other.text === this.text && other.tooltip === this.tooltip;
  }
  toDOM(): HTMLElement {
    const found = document.createElement("span");
    found.className = "cm-shape";
    found.textContent = this.text;
    found.title = this.tooltip;
    return found;
  }
}

const setShapes = StateEffect.define<DecorationSet>();

const shapes = StateField.define<DecorationSet>({
  create: () => Decoration.none,
  update(value, transaction) {
    for (const effect of transaction.effects) if (effect.is(setShapes)) return effect.value;
    return value.map(transaction.changes);
  },
  provide: (field) => EditorView.decorations.from(field),
});

export function change(view: EditorView, edits: Edit[]): void {
  const doc = view.state.doc;
  const changes = edits.map(([from, to, insert]) => ({ from: place(doc, from), to: place(doc, to), insert }));
  view.dispatch({ changes, userEvent: "input.fix", scrollIntoView: true });
}

// Show what was found about the text that is in the editor now.
export function show(view: EditorView, found: Found): void {
  const doc = view.state.doc;
  const widgets = found.hints.map(([at, text, tooltip]) =>
    Decoration.widget({ widget: new Shape(text, tooltip), side: 1 }).range(place(doc, at)),
  );
  const problems: Diagnostic[] = found.diagnostics.map((each) => ({
    from: place(doc, each.range[0]),
    to: place(doc, each.range[1]),
    severity: each.severity,
    message: `${each.code}: ${each.message}`,
    markClass: each.unused ? "cm-unused" : undefined,
    actions: each.actions.map((action) => ({ name: action.title, apply: () => change(view, action.edits) })),
  }));
  view.dispatch({ effects: setShapes.of(Decoration.set(widgets, true)) });
  view.dispatch(setDiagnostics(view.state, problems));
}

const TYPES: Record<string, string> = { layer: "function", block: "class", net: "class", label: "constant", statement: "keyword", word: "enum", file: "text", key: "property", keyword: "property" };

interface Completed {
  from: Position;
  items: { word: string; kind: string; detail: string; text: string; rank: number }[];
  call: { usage: string; text: string } | null;
}

export interface Hooks {
  request: () => object;
  changed: () => void;
  moved: () => void;
  fixHere: () => boolean;
  call: (usage: string) => void;
}

function completion({ request, call }: Hooks): Extension {
  async function source(context: CompletionContext): Promise<CompletionResult | null> {
    if (!context.explicit && !context.matchBefore(/\w$|\w+[ \t]$|"[^"]*$/)) return null;
    const doc = context.state.doc;
    const found = await ask<Completed>("complete", { ...request(), at: position(doc, context.pos) });
    call(found.call ? found.call.usage + (found.call.text ? ` — ${found.call.text}` : "") : "");
    const from = place(doc, found.from);
    if (context.aborted || !found.items.length || (from === context.pos && !context.explicit)) return null;
    const options = found.items.map((each): Completion => ({
      label: each.word,
      type: TYPES[each.kind] ?? "variable",
      detail: each.detail,
      info: each.text || undefined,
      boost: -each.rank,
    }));
    return { from, options, validFor: /^\w*$/ };
  }
  return autocompletion({ override: [source], icons: false });
}

// The server describes in Markdown: code is set apart, and blank lines separate paragraphs.
function described(text: string): HTMLElement {
  const found = document.createElement("div");
  found.className = "cm-described";
  for (const [at, part] of text.split(/^```\w*\n?/m).entries()) {
    for (const paragraph of at % 2 ? [part] : part.split(/\n{2,}/)) {
      if (!paragraph.trim() || paragraph.trim() === "---") continue;
      if (at % 2) found.appendChild(document.createElement("pre")).textContent = paragraph.trimEnd();
      else if (paragraph.trimStart().startsWith("|")) found.append(table(paragraph));
      else inline(found.appendChild(document.createElement("p")), paragraph);
    }
  }
  return found;
}

function inline(block: HTMLElement, text: string): void {
  text.split("`").forEach((piece, index) => {
    const part = block.appendChild(document.createElement(index % 2 ? "code" : "span"));
    part.textContent = index % 2 ? piece : piece.replace(/\[([^\]]+)\]\([^)]*\)/g, "$1").replace(/(\*\*?)(\S[^*]*)\1/g, "$2");
  });
}

function table(text: string): HTMLElement {
  const found = document.createElement("table");
  for (const line of text.trim().split("\n")) {
    if (/^[|:\s-]+$/.test(line)) continue;
    const row = found.insertRow();
    for (const cell of line.replace(/^\s*\||\|\s*$/g, "").split("|")) inline(row.insertCell(), cell.trim());
  }
  return found;
}

async function describe(view: EditorView, at: number, { request }: Hooks): Promise<Tooltip | null> {
  const doc = view.state.doc;
  const found = await ask<{ range?: [Position, Position]; text: string }>("hover", { ...request(), at: position(doc, at) });
  if (!found.range || view.state.doc !== doc) return null;
  return { pos: place(doc, found.range[0]), end: place(doc, found.range[1]), above: true, create: () => ({ dom: described(found.text) }) };
}

// The description at the cursor, until it moves.
const setDescribed = StateEffect.define<Tooltip | null>();

const atCursor = StateField.define<Tooltip | null>({
  create: () => null,
  update(value, transaction) {
    for (const effect of transaction.effects) if (effect.is(setDescribed)) return effect.value;
    return transaction.docChanged || transaction.selection ? null : value;
  },
  provide: (field) => showTooltip.from(field),
});

function descriptions(hooks: Hooks): Extension {
  function show(view: EditorView): boolean {
    const at = view.state.selection.main.head;
    void describe(view, at, hooks).then((found) => {
      if (view.state.selection.main.head === at) view.dispatch({ effects: setDescribed.of(found) });
    });
    return true;
  }
  function hide(view: EditorView): boolean {
    if (!view.state.field(atCursor)) return false;
    view.dispatch({ effects: setDescribed.of(null) });
    return true;
  }
  const keys = keymap.of([
    { key: "F1", run: show },
    { key: "Escape", run: hide },
  ]);
  return [keys, atCursor, hoverTooltip((view, at) => describe(view, at, hooks))];
}

const MONO = 'ui-monospace, Consolas, "DejaVu Sans Mono", monospace';
const LOOK = EditorView.theme({
  "&": { height: "100%", color: "var(--ink)", backgroundColor: "var(--paper)", fontSize: "13px" },
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": { fontFamily: MONO, lineHeight: "1.5" },
  ".cm-content": { caretColor: "var(--ink)" },
  ".cm-cursor": { borderLeftColor: "var(--ink)" },
  ".cm-gutters": { backgroundColor: "var(--panel)", color: "var(--faint)", borderRight: "1px solid var(--border)" },
  ".cm-activeLine, .cm-activeLineGutter": { backgroundColor: "var(--line)" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": { backgroundColor: "var(--selection)" },
  ".cm-selectionMatch": { backgroundColor: "var(--selection)" },
  ".cm-shape": { color: "var(--faint)", paddingLeft: "2ch", fontStyle: "italic", userSelect: "none", whiteSpace: "pre" },
  ".cm-unused": { opacity: "0.6" },
  ".cm-tooltip": { backgroundColor: "var(--paper)", color: "var(--ink)", border: "1px solid var(--border)", maxWidth: "min(44em, 92vw)" },
  ".cm-tooltip.cm-tooltip-autocomplete > ul > li[aria-selected]": { backgroundColor: "var(--accent)", color: "var(--paper)" },
  ".cm-tooltip.cm-tooltip-autocomplete > ul > li[aria-selected] .cm-completionDetail": { color: "var(--paper)" },
  ".cm-completionDetail": { color: "var(--faint)" },
  ".cm-completionInfo": { maxWidth: "24em" },
  ".cm-diagnostic": { whiteSpace: "pre-wrap" },
  ".cm-diagnosticAction": { backgroundColor: "var(--accent)", color: "var(--paper)" },
  ".cm-panels": { backgroundColor: "var(--panel)", color: "var(--ink)" },
  ".cm-described": { padding: "4px 10px", maxHeight: "40vh", overflow: "auto" },
  ".cm-described td": { padding: "1px 12px 1px 0", textAlign: "left" },
  ".cm-described p": { margin: "4px 0" },
  ".cm-described pre, .cm-described code": { fontFamily: MONO, margin: "4px 0", whiteSpace: "pre-wrap" },
});

export const language = new Compartment();
const scheme = new Compartment();

export function create(parent: HTMLElement, nonce: string, hooks: Hooks, commands: { key: string; run: () => boolean }[]): EditorView {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const view = new EditorView({
    parent,
    state: EditorState.create({
      extensions: [
        keymap.of([
          ...commands,
          { key: "F8", run: nextDiagnostic, shift: previousDiagnostic },
          { key: "Mod-.", run: hooks.fixHere },
        ]),
        basicSetup,
        completion(hooks),
        descriptions(hooks),
        shapes,
        LOOK,
        language.of([]),
        scheme.of(EditorView.darkTheme.of(dark.matches)),
        EditorView.cspNonce.of(nonce),
        EditorView.contentAttributes.of({ "aria-label": "Text of the net" }),
        EditorView.updateListener.of((update) => {
          if (update.docChanged) hooks.changed();
          else if (update.selectionSet) hooks.moved();
        }),
      ],
    }),
  });
  dark.addEventListener("change", () => view.dispatch({ effects: scheme.reconfigure(EditorView.darkTheme.of(dark.matches)) }));
  return view;
}

export function fixes(found: Found | null, doc: Text, at: number): Action[] {
  const here = (found?.diagnostics ?? []).filter((each) => {
    const from = place(doc, each.range[0]);
    return doc.lineAt(from).number === doc.lineAt(at).number;
  });
  return here.flatMap((each) => each.actions);
}
