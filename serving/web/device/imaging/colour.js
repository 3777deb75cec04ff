// How colourful a picture is: serving/imaging/colour.py; and its brightness.

import { COLOUR } from "../constants.js";
import { pixels } from "./pixels.js";

/**
 * Spread of the chroma in grey levels, from a picture { width, height, red, green, blue } of three planes; coloured marks on
 * a picture whose other pixels are grey do not count.
 */
export function colourfulness({ red, green, blue }) {
  const many = red.length;
  const [y, cr, cb] = [new Uint8Array(many), new Uint8Array(many), new Uint8Array(many)];
  for (let at = 0; at < many; at += 1) {
    const [r, g, b] = [red[at], green[at], blue[at]];
    // BT.601 in whole numbers of 2**14, as cv2.cvtColor rounds it; a grey pixel has no chroma at all.
    const brightness = (r * 4899 + g * 9617 + b * 1868 + 8192) >> 14;
    y[at] = brightness;
    cr[at] = level(((r - brightness) * 11682 + (128 << 14) + 8192) >> 14);
    cb[at] = level(((b - brightness) * 9241 + (128 << 14) + 8192) >> 14);
  }
  const all = spreadOf(y, cr, cb);
  if (all <= COLOUR.COLOURFUL) return all;
  const [usualCr, usualCb] = [medianOf(cr), medianOf(cb)];
  const isMarked = (at) => Math.abs(cr[at] - usualCr) > COLOUR.MARK || Math.abs(cb[at] - usualCb) > COLOUR.MARK;
  const grey = y.map((_, at) => (isMarked(at) ? 0 : 1));
  if (grey.reduce((sum, one) => sum + one, 0) / many < 1 - COLOUR.MARKS) return all;
  return spreadOf(...[y, cr, cb].map((plane) => plane.filter((_, at) => grey[at] === 1)));
}

// Standard deviation of Cb and Cr, both together, that brightness does not explain.
function spreadOf(y, cr, cb) {
  const many = y.length;
  const sums = new Float64Array(3);
  const products = new Float64Array(5);
  for (let at = 0; at < many; at += 1) {
    sums[0] += y[at];
    sums[1] += cr[at];
    sums[2] += cb[at];
    products[0] += y[at] * y[at];
    products[1] += cr[at] * cr[at];
    products[2] += cb[at] * cb[at];
    products[3] += y[at] * cr[at];
    products[4] += y[at] * cb[at];
  }
  const [meanY, meanCr, meanCb] = sums.map((sum) => sum / many);
  const brightness = Math.max(products[0] / many - meanY * meanY, 1e-6);
  const unexplained = (squares, shared, mean) => squares / many - mean * mean - (shared / many - meanY * mean) ** 2 / brightness;
  return Math.sqrt(Math.max(unexplained(products[1], products[3], meanCr) + unexplained(products[2], products[4], meanCb), 0));
}

function medianOf(plane) {
  const counts = new Uint32Array(256);
  for (const value of plane) counts[value] += 1;
  let [found, below] = [0, counts[0]];
  while (below < plane.length / 2) {
    found += 1;
    below += counts[found];
  }
  return found;
}

function level(value) {
  return value < 0 ? 0 : value > 255 ? 255 : value;
}

/** Brightness of colours: with the weights of OpenCV, which has read the file for the service, or of Pillow. */
export function greyOf({ width, height, red, green, blue }, opencv) {
  const [r, g, b, bits] = opencv ? [9798, 19235, 3735, 15] : [19595, 38470, 7471, 16];
  const half = 1 << (bits - 1);
  return pixels(width, height, red.map((value, at) => (value * r + green[at] * g + blue[at] * b + half) >> bits));
}
