// The canonical form of a radiograph: serving/imaging/canonical/form.py. Bundles that turn pictures are not exported.

import { FORM, POLARITY } from "../../constants.js";
import { sorted } from "../pixels.js";
import { Field, findField } from "./field.js";
import { robustRange, spread } from "./intensity.js";
import { invertedProbability } from "./polarity.js";

/**
 * Bring a picture of any number type into its canonical form. `steps` are those of the bundle's preprocessing, `heads`
 * { polarity } the weights that they need. Gives the canonical pixels, the field, and whether the picture was inverted.
 */
export function canonical(values, steps, heads) {
  const grey = isGrey(values) ? values : spread(values, ...robustRange(values));
  const field = steps.field ? findField(grey) : new Field();
  let seen = field.crop(grey);
  const mask = field.upright ? null : field.mask(grey.width, grey.height);
  const inverted = steps.polarity && heads.polarity ? invertedProbability(heads.polarity, filled(seen, mask)) : 0;
  const isInverted = inverted >= POLARITY.INVERTED;
  if (isInverted) seen = { ...seen, data: seen.data.map((value) => 255 - value) };
  if (steps.range) {
    const exact = isGrey(values) ? seen : facing(field.crop(values), isInverted);
    seen = spread(exact, ...robustRange(exact, mask), FORM.DARKEST, FORM.BRIGHTEST);
  }
  if (mask !== null) seen = { ...seen, data: seen.data.map((value, at) => (mask.data[at] ? value : 0)) };
  return { pixels: seen, field, inverted: isInverted, view: field.view };
}

// Pixels with the median of the field outside of it: white corners of a slanted frame are no air of an inverted one.
function filled(seen, mask) {
  if (mask === null) return seen;
  const { width, height, data } = seen;
  const step = Math.max(1, Math.floor(Math.max(width, height) / FORM.LOOKED_AT));
  const inside = [];
  for (let y = 0; y < height; y += step) {
    for (let x = 0; x < width; x += step) {
      if (mask.data[y * width + x]) inside.push(data[y * width + x]);
    }
  }
  if (inside.length === 0) return seen;
  const ordered = sorted(Uint8Array.from(inside));
  const last = ordered.length - 1;
  const middle = Math.floor((ordered[last >> 1] + ordered[(last + 1) >> 1]) / 2);
  return { ...seen, data: data.map((value, at) => (mask.data[at] ? value : middle)) };
}

function isGrey({ data }) {
  return data instanceof Uint8Array;
}

function facing({ width, height, data }, inverted) {
  return { width, height, data: Float32Array.from(data, (value) => (inverted ? -value : value)) };
}
