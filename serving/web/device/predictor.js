// Bundle and bytes to an answer: serving/predictor.py.

import * as guard from "./guard.js";
import { decoderOf, checkComplete } from "./imaging/decode.js";
import { prepare } from "./imaging/model_input.js";
import { Inference } from "./inference.js";

export class Predictor {
  /** `bundle` as bundle.js reads it; `network(pixels)` gives a promise of { scores, map, embedding }. */
  constructor(bundle, network) {
    Object.assign(this, { bundle, network, inference: new Inference(bundle) });
  }

  /** The answer for one image file's bytes, with what is drawn of it; ImageError for what gets none. */
  async predict(content) {
    const prepared = await this.prepare(content);
    return this.inference.infer(prepared, await this.network(prepared.given.pixels));
  }

  /** Everything before the network: decode, and refuse what is not a radiograph. */
  async prepare(content) {
    const { manifest, heads, scope } = this.bundle;
    const decoder = await decoderOf(content);
    const { header } = decoder;
    scope.check(header);
    guard.checkHeader(header);
    guard.checkColours(await decoder.colours());
    const given = await prepare((side) => decoder.decode(side), manifest.preprocessing, heads);
    checkComplete(given.decoded);
    return this.inference.look(given, header, await sha256(content));
  }
}

/** SHA-256 of bytes, in hexadecimal digits. */
export async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (value) => value.toString(16).padStart(2, "0")).join("");
}
