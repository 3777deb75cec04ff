// node prepare.mjs DEVICE ORDER: what the page's modules make of files, for tests that compare it with the service.
//
// ORDER is a JSON file { preprocessing, polarity, files: [path, ...], output }; beside `output`.json, which tells what was
// found of each file, lie `output`.N.canvas and `output`.N.picture.

import { readFile, writeFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";

const [device, order] = process.argv.slice(2);
const load = (name) => import(pathToFileURL(`${device}/${name}`).href);
const { decoderOf, checkComplete } = await load("imaging/decode.js");
const { prepare } = await load("imaging/model_input.js");
const guard = await load("guard.js");
const { inputStatistics, texture } = await load("statistics.js");
const { preprocessing, polarity, files, output } = JSON.parse(await readFile(order, "utf8"));

const found = [];
for (const [number, path] of files.entries()) {
  try {
    const decoder = await decoderOf(new Uint8Array(await readFile(path)));
    guard.checkHeader(decoder.header);
    guard.checkColours(await decoder.colours());
    const given = await prepare((side) => decoder.decode(side), preprocessing, { polarity });
    checkComplete(given.decoded);
    guard.checkContrast(given.picture);
    await writeFile(`${output}.${number}.canvas`, given.pixels.data);
    await writeFile(`${output}.${number}.picture`, given.picture.data);
    found.push({
      width: given.picture.width, height: given.picture.height, box: given.view.box, inverted: given.inverted,
      smoothed: given.smoothed, divided: given.isDivided, truncated: given.decoded.truncated, texture: texture(given.pixels), inputs: inputStatistics(given.pixels),
    });
  } catch (error) {
    if (!error.code) throw error;
    found.push({ error: error.code, message: error.message });
  }
}
await writeFile(`${output}.json`, JSON.stringify(found));
