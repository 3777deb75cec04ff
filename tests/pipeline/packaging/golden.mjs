// node golden.mjs FOLDER: what the script of an app's folder makes of its golden vectors, in a context with nothing but
// JavaScript's own objects. Each NAME.grey holds the picture's grey levels; the findings are printed as JSON.

import { readFile, readdir } from "node:fs/promises";
import { createContext, runInContext } from "node:vm";

const [folder] = process.argv.slice(2);
const context = createContext({});
runInContext(await readFile(`${folder}/fracture.js`, "utf8"), context);
const { fracture } = context;
fracture.open(await readFile(`${folder}/bundle.json`, "utf8"));

const found = {};
for (const file of (await readdir(`${folder}/golden`)).filter((name) => name.endsWith(".json"))) {
  const name = file.slice(0, -5);
  const { width, height, outputs } = JSON.parse(await readFile(`${folder}/golden/${file}`, "utf8"));
  const grey = (await readFile(`${folder}/golden/${name}.grey`)).toString("base64");
  const { pixels } = JSON.parse(fracture.prepare(JSON.stringify({ width, height, grey })));
  found[name] = { pixels, ...JSON.parse(fracture.conclude(JSON.stringify(outputs))) };
}
const [first] = Object.keys(found);
const { width, height } = JSON.parse(await readFile(`${folder}/golden/${first}.json`, "utf8"));
const grey = (await readFile(`${folder}/golden/${first}.grey`)).toString("base64");
found.refused = {
  chest: JSON.parse(fracture.prepare(JSON.stringify({ width, height, grey, bodyPart: "CHEST" }))),
  blank: JSON.parse(fracture.prepare(JSON.stringify({ width: 96, height: 96, grey: Buffer.alloc(96 * 96, 7).toString("base64") }))),
  short: JSON.parse(fracture.prepare(JSON.stringify({ width: 96, height: 97, grey: Buffer.alloc(96 * 96).toString("base64") }))),
};
// `prepare` refused the last picture: what went before must not answer in its place.
try {
  found.stale = fracture.conclude(JSON.stringify(JSON.parse(await readFile(`${folder}/golden/${first}.json`, "utf8")).outputs));
} catch (error) {
  found.stale = error.message;
}
console.log(JSON.stringify(found));
