// node scope.mjs DEVICE ORDER: what the page's modules say of headers, for { cases: [[terms or null, regions, header], ...], output }.

import { readFile, writeFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";

const [device, order] = process.argv.slice(2);
const { Scope, termsFor } = await import(pathToFileURL(`${device}/scope.js`).href);
const { cases, output } = JSON.parse(await readFile(order, "utf8"));

const found = cases.map(([terms, regions, header]) => {
  const scope = new Scope(terms ?? termsFor(regions), regions);
  const told = { terms: scope.terms, region: scope.regionOf(header.bodyPart), refused: "" };
  try {
    scope.check(header);
  } catch ({ message }) {
    told.refused = message;
  }
  return told;
});
await writeFile(`${output}.json`, JSON.stringify(found));
