// Which region a picture shows, and whether it is a radiograph at all: serving/image_heads.py.

import { sigmoid } from "./decision.js";

/** Probability of each region by its name, in the head's order; they need not sum to 1. Null without such a head. */
export function regionProbabilities(arrays, embedding) {
  if (!arrays.region_names) return null;
  const { data: weights, shape: [, many] } = arrays.region_weights;
  return arrays.region_names.data.map((name, row) => {
    let odds = arrays.region_bias.data[row];
    for (let column = 0; column < many; column += 1) odds += weights[row * many + column] * embedding[column];
    return [name, sigmoid(odds)];
  });
}

/** Log odds of a radiograph; null where the bundle has no such head. */
export function guardLogOdds(arrays, embedding, texture) {
  if (!arrays.guard_weights) return null;
  const { data: weights } = arrays.guard_weights;
  const read = weights.length - texture.length;
  let odds = arrays.guard_bias.data[0];
  for (let at = 0; at < read; at += 1) odds += weights[at] * embedding[at];
  texture.forEach((value, at) => { odds += weights[read + at] * value; });
  return odds;
}
