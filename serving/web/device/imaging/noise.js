// How noisy a radiograph is, and what is done about it: serving/imaging/noise.py.

import { NOISE } from "../constants.js";
import { separable } from "./opencv/filters.js";
import { pixels } from "./pixels.js";

/** Whether a picture has more noise than NOISY. */
export function isNoisy(picture) {
  return noiseOf(picture) > NOISE.NOISY;
}

/** Standard deviation of the noise in grey levels. */
export function noiseOf({ width, height, data }) {
  if (Math.min(width, height) < 3) return 0;
  let [all, sum, shown] = [0, 0, 0];
  for (let y = 1; y < height - 1; y += 1) {
    for (let at = y * width + 1; at < (y + 1) * width - 1; at += 1) {
      const [above, below] = [at - width, at + width];
      const curvature = Math.abs(
        data[above - 1] - 2 * data[above] + data[above + 1] - 2 * data[at - 1] + 4 * data[at] - 2 * data[at + 1] +
        data[below - 1] - 2 * data[below] + data[below + 1],
      );
      all += curvature;
      if (data[at] > NOISE.DARK && data[at] < NOISE.BRIGHT) {
        sum += curvature;
        shown += 1;
      }
    }
  }
  return NOISE.OF_CURVATURE * (shown >= NOISE.ENOUGH ? sum / shown : all / ((width - 2) * (height - 2)));
}

/** A picture smoothed by a Gaussian of one pixel's standard deviation. */
export function smooth(picture) {
  const { width, height, data } = separable(picture, NOISE.BINOMIAL);
  return pixels(width, height, Uint8Array.from(data, (sum) => (sum + 128) >> 8));
}
