// For an app that decodes pictures and runs the network itself: what comes before the network and behind it. Text goes in
// and comes out, so that an engine without a browser does: `fracture export --format mobile` makes one script of it.

import { ImageError } from "./errors.js";
import { checkHeader } from "./guard.js";
import { prepareDecoded } from "./imaging/model_input.js";
import { pixels } from "./imaging/pixels.js";
import { Inference } from "./inference.js";
import { Scope } from "./scope.js";
import { Reference } from "./statistics.js";

const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

let bundle = null;
let prepared = null;

/** Takes what the file bundle.json holds. */
export function open(text) {
  const facts = JSON.parse(text);
  bundle = {
    manifest: facts.manifest,
    reference: new Reference(arraysOf(facts.reference)),
    heads: facts.heads,
    imageHeads: arraysOf(facts.image_heads),
    scope: new Scope(facts.scope, facts.manifest.intended.regions),
  };
}

/**
 * The network's input for an upright grey picture, given as { width, height, grey } with `grey` in base64, and where known
 * { modality, bodyPart, sopClassUid }. JSON: { pixels } in base64, or { error: { code, message } }.
 */
export function prepare(text) {
  prepared = null; // a picture that is refused leaves nothing of the one before it
  return answered(() => {
    const { width, height, grey, ...more } = JSON.parse(text);
    const header = { format: "", width, height, orientation: 1, frames: 1, hasColours: false, ...more };
    const decoded = { pixels: pixels(width, height, bytesOf(grey)), values: null, header, truncated: false };
    if (decoded.pixels.data.length !== width * height) throw new ImageError("undecodable", "the picture has another size than stated");
    bundle.scope.check(header);
    checkHeader(header);
    const given = prepareDecoded(decoded, bundle.manifest.preprocessing, bundle.heads);
    prepared = new Inference(bundle).look(given, header, "");
    return { pixels: textOf(given.pixels.data) };
  });
}

/**
 * The answer for the image that was prepared last, from the network's outputs by their names: { scores, map, embedding },
 * flat lists of numbers, and `mapShape` [rows, columns]. JSON: { answer, explanation } or { error }.
 */
export function conclude(text) {
  if (!prepared) throw new Error("conclude: no picture is prepared; call prepare, and go on only where it gives pixels");
  return answered(() => {
    const { scores, map, mapShape: [height, width], embedding } = JSON.parse(text);
    const outputs = { scores, embedding, map: { width, height, data: Float32Array.from(map) } };
    const { answer, explanation } = new Inference(bundle).infer(prepared, outputs);
    return { answer, explanation };
  });
}

function answered(action) {
  try {
    return JSON.stringify(action());
  } catch (error) {
    if (!(error instanceof ImageError)) throw error;
    return JSON.stringify({ error: { code: error.code, message: error.message } });
  }
}

function arraysOf(named) {
  const arrays = Object.entries(named).map(([name, { shape, data }]) =>
    [name, { shape, data: typeof data[0] === "string" ? data : Float64Array.from(data) }]);
  return Object.fromEntries(arrays);
}

function bytesOf(text) {
  const plain = text.replace(/=+$/, "");
  const found = new Uint8Array(Math.floor((plain.length * 3) / 4));
  let [held, bits, at] = [0, 0, 0];
  for (const letter of plain) {
    held = ((held << 6) | LETTERS.indexOf(letter)) & 0xffff;
    bits += 6;
    if (bits < 8) continue;
    bits -= 8;
    found[at] = held >> bits;
    at += 1;
  }
  return found;
}

function textOf(bytes) {
  const found = [];
  for (let at = 0; at < bytes.length; at += 3) {
    const word = (bytes[at] << 16) | ((bytes[at + 1] ?? 0) << 8) | (bytes[at + 2] ?? 0);
    const there = Math.min(3, bytes.length - at) + 1;
    for (let place = 0; place < 4; place += 1) found.push(place < there ? LETTERS[(word >> (18 - 6 * place)) & 63] : "=");
  }
  return found.join("");
}
