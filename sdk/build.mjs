/** Builds dist/ and fails where a build is larger than we promise. The types come from tsc. */

import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const LIMIT = 5000; // Bytes, gzipped.
const { version } = JSON.parse(readFileSync("package.json", "utf8"));
const common = { bundle: true, minify: true, target: "es2020", define: { VERSION: JSON.stringify(version) } };
const builds = [
  { entryPoints: ["src/index.ts"], outfile: "dist/index.js", format: "esm" },
  { entryPoints: ["src/script.ts"], outfile: "dist/marketing.js", format: "iife" },
];

for (const one of builds) {
  await build({ ...common, ...one });
  const bytes = gzipSync(readFileSync(one.outfile), { level: 9 }).length;
  console.log(`${one.outfile}: ${bytes} of ${LIMIT} bytes, gzipped`);
  if (bytes >= LIMIT) {
    console.error(`${one.outfile} is too large: every page that uses it loads it.`);
    process.exitCode = 1;
  }
}
