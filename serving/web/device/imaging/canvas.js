// Geometry of the model's input: serving/imaging/canvas.py.

import { roundEven } from "../numbers.js";
import { isNoisy, smooth } from "./noise.js";
import { resizeArea, resizeLinear } from "./opencv/resize.js";
import { pixels } from "./pixels.js";

/**
 * @typedef {{ left: number, top: number, width: number, height: number, size: number }} Letterbox
 *   where the upright image lies on the square canvas, all in canvas pixels
 * @typedef {{ box: [number, number, number, number], quarters: number }} View
 *   what of an upright picture is shown: x0, y0, x1, y1 in fractions, turned by quarters, anticlockwise
 */

/** @type {View} */
export const WHOLE_VIEW = { box: [0, 0, 1, 1], quarters: 0 };

/** Fractions of the picture to fractions of what is shown, outside [0, 1] on what is left out. */
export function fromPicture({ box: [x0, y0, x1, y1], quarters }, x, y) {
  let [across, down] = [(x - x0) / (x1 - x0), (y - y0) / (y1 - y0)];
  for (let turn = 0; turn < quarters; turn += 1) [across, down] = [down, 1 - across];
  return [across, down];
}

/** Resize grey pixels without aliasing. */
export function shrink(picture, width, height) {
  const multiple = Math.max(1, roundEven(Math.max(picture.width / width, picture.height / height)));
  const between = resizeLinear(picture, width * multiple, height * multiple);
  return multiple === 1 ? between : resizeArea(between, width, height);
}

/** Where an image lies on a canvas of `size`: centred, its aspect ratio kept. */
export function letterboxOf(width, height, size) {
  const scale = size / Math.max(width, height);
  const [w, h] = [Math.max(1, roundEven(width * scale)), Math.max(1, roundEven(height * scale))];
  return { left: Math.floor((size - w) / 2), top: Math.floor((size - h) / 2), width: w, height: h, size };
}

/**
 * Letterbox an image on a black square. `width` and `height` are those of the upright image; `picture` shows all of it,
 * possibly at a reduced scale. Bundles that reduce the noise of every image are not exported.
 */
export function fit(picture, width, height, { image_size: size, denoise }) {
  const box = letterboxOf(width, height, size);
  const shrunk = shrink(picture, box.width, box.height);
  const smoothed = denoise === "adaptive" && isNoisy(shrunk);
  const content = smoothed ? smooth(shrunk) : shrunk;
  const canvas = pixels(size, size);
  for (let y = 0; y < box.height; y += 1) {
    canvas.data.set(content.data.subarray(y * box.width, (y + 1) * box.width), (box.top + y) * size + box.left);
  }
  return { canvas, letterbox: box, smoothed };
}

/** How long the longer side of a picture has to stay when a JPEG is decoded at a reduced scale. */
export function decodeScale(size) {
  return Math.ceil(size * 1.5);
}
