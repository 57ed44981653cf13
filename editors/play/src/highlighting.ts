// Highlighting by the rules that the server sends: patterns without states, each with a class for its groups.

import { HighlightStyle, indentService, StreamLanguage, type StringStream, syntaxHighlighting } from "@codemirror/language";
import type { Extension } from "@codemirror/state";
import { type Tag, tags } from "@lezer/highlight";
import type { Start } from "./api";

interface State {
  pending: [number, string | null][];
}

function tag(name: string): Tag {
  const found = (tags as unknown as Record<string, Tag | ((of: Tag) => Tag)>)[name];
  return typeof found === "function" ? found(tags.variableName) : found;
}

const STYLE = HighlightStyle.define([
  { tag: tags.comment, color: "var(--comment)", fontStyle: "italic" },
  { tag: tags.string, color: "var(--string)" },
  { tag: [tags.number, tags.bool], color: "var(--number)" },
  { tag: [tags.keyword, tags.operatorKeyword], color: "var(--keyword)" },
  { tag: tags.definitionKeyword, color: "var(--definition)", fontWeight: "600" },
  { tag: tags.className, fontWeight: "600" },
  { tag: tags.labelName, color: "var(--label)" },
  { tag: tags.standard(tags.variableName), color: "var(--layer)" },
  { tag: tags.attributeName, color: "var(--argument)" },
]);

// As the line before, deeper behind an open bracket.
const INDENT = indentService.of((context, at) => {
  const { number, from } = context.state.doc.lineAt(at);
  const after = context.lineAt(at, 1).text;
  const before = number > 1 || at > from ? context.lineAt(Math.max(0, (context.simulatedBreak === at ? at : from) - 1), -1).text : "";
  const outer = /^ */.exec(before)?.[0].length ?? 0;
  const step = Number(/[{([]\s*(#.*)?$/.test(before)) - Number(/^\s*[})\]]/.test(after));
  return Math.max(0, outer + step * context.unit);
});

export function highlighting({ rules, tags: names }: Start["rules"]): Extension {
  const patterns = rules.map(([pattern, groups]) => [new RegExp(pattern, "dy"), groups] as const);
  const tokenTable = Object.fromEntries(Object.entries(names).map(([name, each]) => [name, tag(each)]));

  function token(stream: StringStream, state: State): string | null {
    if (!state.pending.length) {
      for (const [pattern, groups] of patterns) {
        pattern.lastIndex = stream.pos;
        const match = pattern.exec(stream.string);
        if (!match || !match[0]) continue;
        groups.forEach((group, at) => {
          const range = match.indices?.[at + 1];
          if (range && range[1] > range[0]) state.pending.push([range[1], group]);
        });
        break;
      }
    }
    const [end, group] = state.pending.shift() ?? [stream.pos + 1, null];
    stream.pos = end;
    return group;
  }

  const language = StreamLanguage.define<State>({
    name: "netdsl",
    startState: () => ({ pending: [] }),
    copyState: (state) => ({ pending: [...state.pending] }),
    token,
    tokenTable,
    languageData: { commentTokens: { line: "#" }, closeBrackets: { brackets: ["(", "[", "{", '"'] }, indentOnInput: /^\s*\}$/ },
  });
  return [language, syntaxHighlighting(STYLE), INDENT];
}
