// A class activation map to what a reader sees: serving/saliency.py.

import { SALIENCY } from "./constants.js";
import { roundEven, roundTo } from "./numbers.js";
import { components } from "./imaging/opencv/masks.js";
import { resizeFloats } from "./imaging/opencv/resize.js";
import { crop } from "./imaging/pixels.js";

/** A signed map as evidence for a fracture over what is shown of the image, 0 to 1, as large as it is on the canvas. */
export function evidence({ width, height, data }, place) {
  const canvas = resizeFloats({ width, height, data: data.map((value) => Math.max(value, 0)) }, place.size, place.size);
  const image = crop(canvas, place.left, place.top, place.left + place.width, place.top + place.height);
  const top = image.data.reduce((most, value) => Math.max(most, value), 0);
  return { ...image, data: image.data.map((value) => (top > 0 ? value / top : 0)) };
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
  data.forEach((value, at) => { if (value > data[highest]) highest = at; });
  if (!(data[highest] > 0)) return null;
  return { x: ((highest % width) + 0.5) / width, y: (Math.floor(highest / width) + 0.5) / height };
}

/** Boxes round the connected regions above `level`, strongest first, as fractions of the upright image. */
export function boxes(shown, level = 0.5, most = 3) {
  const { width, height, data } = shown;
  const { labels, areas } = components({ width, height, data: Uint8Array.from(data, (value) => (value >= level ? 1 : 0)) });
  const found = areas.map(() => ({ left: width, top: height, right: 0, bottom: 0 }));
  labels.forEach((label, at) => {
    if (!label) return;
    const [x, y, box] = [at % width, Math.floor(at / width), found[label - 1]];
    box.left = Math.min(box.left, x);
    box.top = Math.min(box.top, y);
    box.right = Math.max(box.right, x + 1);
    box.bottom = Math.max(box.bottom, y + 1);
  });
  return found.map(({ left, top, right, bottom }) => {
    const inside = crop(shown, left, top, right, bottom).data;
    const strength = roundTo(inside.reduce((highest, value) => Math.max(highest, value), 0), 4);
    return { x0: left / width, y0: top / height, x1: right / width, y1: bottom / height, strength };
  }).sort((one, other) => other.strength - one.strength).slice(0, most);
}

/** Evidence as a layer to lay over the image, RGBA of its size: no evidence is transparent. */
export function layer({ width, height, data }) {
  const found = new Uint8ClampedArray(4 * data.length);
  data.forEach((value, at) => {
    const [red, green, blue] = SALIENCY.INFERNO[Math.trunc(value * 255)];
    found.set([red, green, blue, Math.trunc(Math.min(Math.max(value * 1.5, 0), 1) * 255)], 4 * at);
  });
  return new ImageData(found, width, height);
}
