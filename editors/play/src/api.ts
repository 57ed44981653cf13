// Requests to the server, which knows the page by a token.

export type Position = [number, number];
export type Edit = [Position, Position, string];

export interface Action {
  title: string;
  safe: boolean;
  edits: Edit[];
}

export interface Problem {
  range: [Position, Position];
  severity: "error" | "warning";
  code: string;
  message: string;
  unused: boolean;
  related: { range?: [Position, Position]; text: string }[];
  actions: Action[];
}

export interface Found {
  stale?: boolean;
  complete: boolean;
  tooLarge: boolean;
  diagnostics: Problem[];
  hints: [Position, string, string][];
}

export interface Shown extends Found {
  nets: { name: string; variants: [string, string, string][]; shown: number }[];
  net: string;
  source: string;
  incomplete?: boolean;
  input?: (number | null)[];
  refused?: string;
  svg?: string;
  summary?: string;
}

// A text, and the net and variants to show of it.
export interface Opened {
  name: string;
  text: string;
  net?: string | null;
  shown?: Record<string, [string, string]>;
}

export interface Start extends Opened {
  file: boolean;
  revision: string;
  runs: boolean;
  zoo: [string, number][];
  rules: { rules: [string, (string | null)[]][]; tags: Record<string, string> };
}

export class Refused extends Error {}

const KEY = "netdsl-token";

// The token is in the fragment of the first address only: it is removed, so that a copied address does not have it.
export function takeFragment(): string | null {
  const fragment = new URLSearchParams(location.hash.slice(1));
  const token = fragment.get("token");
  if (token) sessionStorage.setItem(KEY, token);
  const net = fragment.get("net");
  if (location.hash) history.replaceState(null, "", location.pathname);
  return net;
}

export async function send(name: string, body: object): Promise<Response> {
  const once = () =>
    fetch(`/api/${name}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Netdsl": sessionStorage.getItem(KEY) ?? "" },
      body: JSON.stringify(body),
    });
  let answer: Response;
  try {
    answer = await once().catch(once); // again, as the server ends idle connections
  } catch {
    throw new Refused("The server does not answer. Start `netdsl play` again, and open the address that it prints.");
  }
  if (answer.status === 403) throw new Refused("Open the address that `netdsl play` has printed: it has this page's key.");
  if (answer.status === 413) throw new Refused("This is too large for the server.");
  if (!answer.ok) throw new Refused(`The server refuses the request (${answer.status}).`);
  return answer;
}

export async function ask<T>(name: string, body: object): Promise<T> {
  return read<T>(await send(name, body));
}

// A file, or a refusal in JSON.
export async function askFile(name: string, body: object): Promise<Blob> {
  const answer = await send(name, body);
  if (answer.headers.get("Content-Type") === "application/json") await read(answer);
  return answer.blob();
}

async function read<T>(answer: Response): Promise<T> {
  const found = await answer.json();
  if (found.error) throw new Refused([found.error.message, ...found.error.helps].join(" — "));
  return found as T;
}
