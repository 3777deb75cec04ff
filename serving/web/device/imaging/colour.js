// How colourful a picture is: serving/imaging/colour.py; and its brightness.

import { pixels } from "./pixels.js";

/** Spread of the chroma in grey levels, from a picture { width, height, red, green, blue } of three planes. */
export function colourfulness({ red, green, blue }) {
  const many = red.length;
  const sums = new Float64Array(3);
  const products = new Float64Array(6);
  for (let at = 0; at < many; at += 1) {
    const [r, g, b] = [red[at], green[at], blue[at]];
    // BT.601 in whole numbers of 2**14, as cv2.cvtColor rounds it; a grey pixel has no chroma at all.
    const y = (r * 4899 + g * 9617 + b * 1868 + 8192) >> 14;
    const cr = level(((r - y) * 11682 + (128 << 14) + 8192) >> 14);
    const cb = level(((b - y) * 9241 + (128 << 14) + 8192) >> 14);
    sums[0] += y;
    sums[1] += cr;
    sums[2] += cb;
    products[0] += y * y;
    products[1] += cr * cr;
    products[2] += cb * cb;
    products[3] += y * cr;
    products[4] += y * cb;
  }
  const [y, cr, cb] = sums.map((sum) => sum / many);
  const brightness = Math.max(products[0] / many - y * y, 1e-6);
  const unexplained = (squares, shared, mean) => squares / many - mean * mean - (shared / many - y * mean) ** 2 / brightness;
  return Math.sqrt(Math.max(unexplained(products[1], products[3], cr) + unexplained(products[2], products[4], cb), 0));
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
