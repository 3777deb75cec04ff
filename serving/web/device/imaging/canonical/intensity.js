// Which values of a radiograph carry the picture: serving/imaging/canonical/intensity.py.

import { INTENSITY } from "../../constants.js";
import { clamp, roundEven } from "../../numbers.js";
import { pixels, sorted } from "../pixels.js";

/**
 * The values below which the shares LOW and HIGH of the pixels lie. `mask` (uint8, 1 where a pixel counts) may be null;
 * what is no finite number never counts. [0, 0] where nothing counts.
 */
export function robustRange({ width, height, data }, mask = null) {
  const step = Math.max(1, Math.trunc(Math.sqrt(data.length / INTENSITY.SAMPLES)));
  const found = new data.constructor(Math.ceil(width / step) * Math.ceil(height / step));
  let count = 0;
  for (let y = 0; y < height; y += step) {
    for (let x = 0; x < width; x += step) {
      const at = y * width + x;
      if ((mask === null || mask.data[at]) && Number.isFinite(data[at])) found[count++] = data[at];
    }
  }
  if (count === 0) return [0, 0];
  const ordered = sorted(found.subarray(0, count));
  return [ordered[Math.trunc(INTENSITY.LOW * (count - 1))], ordered[Math.ceil(INTENSITY.HIGH * (count - 1))]];
}

/**
 * Map values linearly to grey: `low` to `darkest`, `high` to `brightest`, clipped to 0..255. A range without extent
 * gives `darkest` everywhere; what is no number is shown as `low`.
 */
export function spread({ width, height, data }, low, high, darkest = 0, brightest = 255) {
  const found = pixels(width, height);
  if (!(high > low)) {
    found.data.fill(roundEven(darkest));
    return found;
  }
  const scale = (brightest - darkest) / (high - low);
  if (data instanceof Uint8Array) {
    const curve = Uint8Array.from({ length: 256 }, (_, level) => roundEven(clamp((level - low) * scale + darkest, 0, 255)));
    for (let at = 0; at < data.length; at += 1) found.data[at] = curve[data[at]];
    return found;
  }
  const [start, factor, floor] = [Math.fround(low), Math.fround(scale), Math.fround(darkest)];
  for (let at = 0; at < data.length; at += 1) {
    const value = Number.isNaN(data[at]) ? start : data[at];
    const exact = Math.fround(Math.fround(Math.fround(Math.fround(value) - start) * factor) + floor);
    found.data[at] = roundEven(clamp(exact, 0, 255));
  }
  return found;
}
