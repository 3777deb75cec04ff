// A class activation map to what a reader sees: serving/saliency.py.

import { SALIENCY } from "./constants.js";
import { clamp, roundEven, roundTo } from "./numbers.js";
import { components } from "./imaging/opencv/masks.js";
import { resizeFloats } from "./imaging/opencv/resize.js";
import { crop } from "./imaging/pixels.js";

/** A signed map as evidence for a fracture over what is shown of the image, 0 to 1, as large as it is on the canvas. */
export function evidence({ width, height, data }, place) {
  const positive = Float32Array.from(data);
  for (let at = 0; at < positive.length; at += 1) if (positive[at] < 0) positive[at] = 0;
  const canvas = resizeFloats({ width, height, data: positive }, place.size, place.size);
  const image = crop(canvas, place.left, place.top, place.left + place.width, place.top + place.height);
  const found = new Float32Array(image.data.length);
  const top = highestOf(image.data);
  if (top > 0) for (let at = 0; at < found.length; at += 1) found[at] = image.data[at] / top;
  return { ...image, data: found };
}

function highestOf(data) {
  let top = 0;
  for (let at = 0; at < data.length; at += 1) if (data[at] > top) top = data[at];
  return top;
}

/** Evidence over what is shown of a picture as evidence over the whole picture. */
export function onPicture(shown, { box: [x0, y0, x1, y1] }) {
  const height = Math.max(shown.height, roundEven(shown.height / (y1 - y0)));
  const width = Math.max(shown.width, roundEven(shown.width / (x1 - x0)));
  const top = Math.min(roundEven(y0 * height), height - shown.height);
  const left = Math.min(roundEven(x0 * width), width - shown.width);
  const whole = new Float32Array(width * height);
  for (let y = 0; y < shown.height; y += 1) {
    whole.set(shown.data.subarray(y * shown.width, (y + 1) * shown.width), (top + y) * width + left);
  }
  return { width, height, data: whole };
}

/** Centre of the highest pixel as fractions of the upright image; null where there is no evidence. */
export function peak({ width, height, data }) {
  let highest = 0;
  for (let at = 1; at < data.length; at += 1) if (data[at] > data[highest]) highest = at;
  if (!(data[highest] > 0)) return null;
  return { x: ((highest % width) + 0.5) / width, y: (Math.floor(highest / width) + 0.5) / height };
}

/** Boxes round the connected regions above `level`, strongest first, as fractions of the upright image. */
export function boxes(shown, level = 0.5, most = 3) {
  const { width, height, data } = shown;
  const above = new Uint8Array(data.length);
  for (let at = 0; at < data.length; at += 1) if (data[at] >= level) above[at] = 1;
  const { labels, areas } = components({ width, height, data: above });
  const found = areas.map(() => ({ left: width, top: height, right: 0, bottom: 0 }));
  for (let y = 0, at = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1, at += 1) {
      if (!labels[at]) continue;
      const box = found[labels[at] - 1];
      if (x < box.left) box.left = x;
      if (x >= box.right) box.right = x + 1;
      if (box.top === height) box.top = y;
      box.bottom = y + 1;
    }
  }
  return found.map(({ left, top, right, bottom }) => {
    const strength = roundTo(highestOf(crop(shown, left, top, right, bottom).data), 4);
    return { x0: left / width, y0: top / height, x1: right / width, y1: bottom / height, strength };
  }).sort((one, other) => other.strength - one.strength).slice(0, most);
}

/** Evidence as a layer to lay over the image, RGBA of its size: no evidence is transparent. Bytes as on little-endian machines. */
export function layer({ width, height, data }) {
  const colours = Uint32Array.from(SALIENCY.INFERNO, ([red, green, blue]) => (blue << 16) | (green << 8) | red);
  const found = new Uint32Array(data.length);
  for (let at = 0; at < data.length; at += 1) {
    const value = data[at];
    found[at] = colours[Math.trunc(value * 255)] | (Math.trunc(clamp(value * 1.5, 0, 1) * 255) << 24);
  }
  return new ImageData(new Uint8ClampedArray(found.buffer), width, height);
}
