// node region.mjs DEVICE ORDER: region and warnings by the page's modules, for { cases: [[shares, likely, intended, header, weak], ...], output }.

import { readFile, writeFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";

const [device, order] = process.argv.slice(2);
const { findRegion, regionNotes } = await import(pathToFileURL(`${device}/region.js`).href);
const { cases, output } = JSON.parse(await readFile(order, "utf8"));

const found = cases.map(([shares, likely, intended, header, weak]) => {
  const region = findRegion(Object.entries(shares), likely, intended, header);
  return { region: region && [region.name, region.source, region.probability, region.also], notes: regionNotes(region, intended, weak) };
});
await writeFile(`${output}.json`, JSON.stringify(found));
