// node decode.mjs DEVICE ORDER: what the page's modules decode of files, for tests that compare it with the service.
//
// ORDER is a JSON file { files: [path, ...], output }. Beside `output`.json, which tells what was found of each file, lie
// `output`.N.grey and, where a file has values behind its pixels, `output`.N.values.

import { readFile, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const [device, order] = process.argv.slice(2);
// The decoders take node for a place without modules; in a browser they ask for none of these.
Object.assign(globalThis, { require: createRequire(import.meta.url), __dirname: dirname(fileURLToPath(import.meta.url)) });
globalThis.fetch = async (address) => new Response(await readFile(address));

const { decoderOf } = await import(pathToFileURL(`${device}/imaging/decode.js`).href);
const { files, output } = JSON.parse(await readFile(order, "utf8"));

const found = [];
for (const [number, path] of files.entries()) {
  let told = {};
  try {
    const decoder = await decoderOf(new Uint8Array(await readFile(path)));
    told.header = decoder.header;
    const { pixels, values, truncated } = await decoder.decode(1);
    await writeFile(`${output}.${number}.grey`, pixels.data);
    if (values) await writeFile(`${output}.${number}.values`, values.data);
    told = { ...told, truncated, kind: values?.data.constructor.name ?? "" };
  } catch (error) {
    if (!error.code) throw error;
    told = { ...told, error: error.code, message: error.message };
  }
  found.push(told);
}
await writeFile(`${output}.json`, JSON.stringify(found));
