// Bundle the page's script, with the licences of all packages in it beside it.

import { readFileSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

const page = process.argv[2] ?? "../../netdsl/play/page";
const { metafile } = await build({
  entryPoints: ["src/main.ts"],
  bundle: true,
  format: "iife",
  target: "es2022",
  minify: true,
  charset: "utf8",
  legalComments: "none",
  metafile: true,
  outfile: `${page}/play.js`,
});

const inputs = Object.keys(metafile.inputs).map((path) => /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1]);
const texts = [...new Set(inputs.filter(Boolean))].sort().map((name) => {
  const { version, license } = JSON.parse(readFileSync(`node_modules/${name}/package.json`, "utf8"));
  const text = readFileSync(`node_modules/${name}/LICENSE`, "utf8").trim();
  return `${name} ${version} (${license})\n\n${text}\n`;
});
writeFileSync(`${page}/LICENSES.txt`, `play.js contains these packages.\n\n${texts.join(`\n${"-".repeat(80)}\n\n`)}`);
