// Checks signatures with the page's module: `node signature.mjs DEVICE ORDER`, as device.py runs it.

import { readFileSync, writeFileSync } from "node:fs";

const [, , device, order] = process.argv;
const { cases, output } = JSON.parse(readFileSync(order, "utf8"));
const { checkSignature } = await import(`${device}/signature.js`);
const found = [];
for (const { text, keys, sha256 } of cases) {
  found.push(await checkSignature(text, keys, "model.json", sha256).then(() => "", ({ message }) => message));
}
writeFileSync(`${output}.json`, JSON.stringify(found));
