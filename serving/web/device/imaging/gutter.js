// Several radiographs in one picture, told by the uniform gutter that divides them: serving/imaging/gutter.py.

import { GUTTER } from "../constants.js";
import { thumbnail } from "./canonical/thumbnail.js";

/** Whether a gutter from edge to edge divides a picture in its canonical form into parts. */
export function isDivided(picture) {
  const { width, height, data } = thumbnail(picture, GUTTER.SIDE);
  if (Math.min(width, height) < GUTTER.SHORTEST) return false;
  return hasGutter(width, height, (x, y) => data[y * width + x]) || hasGutter(height, width, (y, x) => data[y * width + x]);
}

function hasGutter(width, height, at) {
  const extent = Array.from({ length: width }, (_, x) => {
    let [low, high] = [255, 0];
    for (let y = 0; y < height; y += 1) [low, high] = [Math.min(low, at(x, y)), Math.max(high, at(x, y))];
    return high - low;
  });
  const gutter = [...extent.keys()].filter((x) => extent[x] <= GUTTER.FLAT
    && x >= GUTTER.MARGIN * width && x < (1 - GUTTER.MARGIN) * width);
  if (gutter.length === 0) return false;
  const shows = (columns) => columns.filter((one) => one > GUTTER.SHOWN).length / columns.length > GUTTER.LEAST_SHOWN;
  return shows(extent.slice(0, gutter[0])) && shows(extent.slice(gutter.at(-1) + 1));
}
