// The canonical form of a radiograph: serving/imaging/canonical/form.py. Bundles that turn pictures are not exported.

import { FORM, POLARITY } from "../../constants.js";
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
  const inverted = steps.polarity && heads.polarity ? invertedProbability(heads.polarity, seen) : 0;
  const isInverted = inverted >= POLARITY.INVERTED;
  if (isInverted) seen = { ...seen, data: seen.data.map((value) => 255 - value) };
  const mask = field.upright ? null : field.mask(grey.width, grey.height);
  if (steps.range) {
    const exact = isGrey(values) ? seen : facing(field.crop(values), isInverted);
    seen = spread(exact, ...robustRange(exact, mask), FORM.DARKEST, FORM.BRIGHTEST);
  }
  if (mask !== null) seen = { ...seen, data: seen.data.map((value, at) => (mask.data[at] ? value : 0)) };
  return { pixels: seen, field, inverted: isInverted, view: field.view };
}

function isGrey({ data }) {
  return data instanceof Uint8Array;
}

function facing({ width, height, data }, inverted) {
  return { width, height, data: Float32Array.from(data, (value) => (inverted ? -value : value)) };
}
