// Pictures of eight bits that were saved with more: serving/imaging/lattice.py.

import { LATTICE } from "../constants.js";
import { roundEven } from "../numbers.js";
import { pixels } from "./pixels.js";

/** The grey levels of eight bits that were saved with sixteen as they are or times 256 or 257; null for others. */
export function inEightBits(data) {
  const unit = [257, 256, 1].find((one) => data.every((value) => value % one === 0 && value <= 255 * one));
  if (!unit || (unit === 1 && data.every((value) => value < 128))) return null;
  return Uint8Array.from(data, (value) => value / unit);
}

/** The grey levels of whole numbers that hold no more than eight bits, the darkest at 0; null for any other picture. */
export function eightBitLevels({ width, height, data }) {
  const step = Math.max(1, Math.trunc(Math.sqrt(data.length / LATTICE.FEW)));
  const sample = new Set();
  for (let y = 0; y < height; y += step) {
    for (let x = 0; x < width; x += step) sample.add(data[y * width + x]);
  }
  if (sample.size > LATTICE.MOST_STEPS + 1) return null;
  const [low, high] = data.reduce(([least, most], value) => [Math.min(least, value), Math.max(most, value)], [Infinity, -Infinity]);
  if (high - low >= LATTICE.WIDEST) return null;
  const table = new Uint8Array(high - low + 1);
  for (const value of data) table[value - low] = 1;
  const distinct = [...table.keys()].filter((at) => table[at]);
  const lattice = latticeOf(distinct, LATTICE.ROUNDED);
  if (lattice === null) return null;
  for (const at of distinct) table[at] = roundEven((at - lattice.offset) / lattice.gain);
  return pixels(width, height, Uint8Array.from(data, (value) => table[value - low]));
}

// Gain and offset of the lattice on which values lie, given once each and in order, the first at 0; else null.
function latticeOf(values, tolerance) {
  if (values.length < LATTICE.OCCUPIED * LATTICE.FEWEST_STEPS || values.length > LATTICE.MOST_STEPS + 1) return null;
  const most = Math.min(LATTICE.MOST_STEPS, Math.trunc(values.length / LATTICE.OCCUPIED));
  const [start] = values;
  const extent = values[values.length - 1] - start;
  const ends = extent < 2 * LATTICE.MOST_STEPS ? [-tolerance, 0, tolerance] : [0];
  for (let steps = Math.max(LATTICE.FEWEST_STEPS, values.length - 1); steps <= most; steps += 1) {
    for (const first of ends) {
      for (const last of ends) {
        const found = fitted(values, (extent + last - first) / steps, start + first, tolerance);
        if (found !== null) return found;
      }
    }
  }
  return null;
}

// Gain and offset from a first estimate of them; null where values lie too far from that lattice.
function fitted(values, firstGain, firstOffset, tolerance) {
  let [gain, offset] = [firstGain, firstOffset];
  for (let round = 0; round < LATTICE.ROUNDS; round += 1) {
    const [from, by] = [offset, gain];
    const levels = values.map((value) => roundEven((value - from) / by));
    const mean = levels.reduce((sum, level) => sum + level, 0) / levels.length;
    const along = (others) => levels.reduce((sum, level, at) => sum + (level - mean) * others[at], 0);
    gain = along(values) / along(levels);
    const apart = values.map((value, at) => value - gain * levels[at]);
    const [least, most] = [Math.min(...apart), Math.max(...apart)];
    offset = (most + least) / 2;
    const isApart = levels.every((level, at) => at === 0 || level > levels[at - 1]);
    const steps = levels[levels.length - 1] - levels[0];
    if ((most - least) / 2 <= tolerance && isApart && steps <= LATTICE.MOST_STEPS) return { gain, offset: offset + gain * levels[0] };
  }
  return null;
}
