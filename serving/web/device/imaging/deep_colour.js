// Colours, and grey with transparency, of sixteen bits: serving/imaging/deep_colour.py.

import { DEEP_COLOUR } from "../constants.js";
import { robustRange, spread } from "./canonical/intensity.js";
import { eightBitLevels, inEightBits } from "./lattice.js";

const WHITE = 0xffff;
const [GREY, GREY_WITH_ALPHA] = [0, 4];

/**
 * @typedef {{ width: number, height: number, count: number, data: Uint16Array }} Samples red, green and blue of each pixel,
 *   or grey alone, as `count` says
 */

/** A PNG's samples, transparent pixels black; `isTransparent` tells whether the pixel at a place has the colour of tRNS. */
export function samplesOf({ width, height, kind }, { data, channels }, isTransparent) {
  const count = kind === GREY || kind === GREY_WITH_ALPHA ? 1 : 3;
  const found = { width, height, count, data: new Uint16Array(width * height * count) };
  for (let at = 0, to = 0; at < data.length; at += channels) {
    const alpha = isTransparent(at) ? 0 : channels > count ? data[at + count] : WHITE;
    for (let part = 0; part < count; part += 1) found.data[to++] = Math.floor((data[at + part] * alpha + 0x7fff) / WHITE);
  }
  return found;
}

/** Their brightness { values }, or { grey } where they hold no more than eight bits; of equal channels it is one of them. */
export function greyOf({ width, height, count, data }) {
  const many = width * height;
  const isGrey = count === 1 || data.every((value, at) => value === data[at - (at % 3)]);
  if (isGrey) return { values: { width, height, data: Uint16Array.from({ length: many }, (_, at) => data[at * count]) } };
  const same = levelsOf({ width, height, count, data });
  const brightness = (samples, found) => {
    const [red, green, blue] = DEEP_COLOUR.WEIGHTS;
    for (let at = 0; at < many; at += 1) {
      const sum = samples[3 * at] * red + samples[3 * at + 1] * green + samples[3 * at + 2] * blue;
      found[at] = Math.floor((sum + 0x8000) / 0x10000);
    }
    return { width, height, data: found };
  };
  return same ? { grey: brightness(same, new Uint8Array(many)) } : { values: brightness(data, new Uint16Array(many)) };
}

/** Some of their pixels in eight bits, as three planes. */
export function shown(samples) {
  const { width, height, count, data } = sampled(samples);
  const whole = { width: width * count, height, data };
  const levels = levelsOf({ width, height, count, data }) ?? spread(whole, ...robustRange(whole)).data;
  const plane = (part) => Uint8Array.from({ length: width * height }, (_, at) => levels[at * count + part]);
  return { width, height, red: plane(0), green: plane(count >> 1), blue: plane(count - 1) };
}

function sampled({ width, height, count, data }) {
  const step = Math.max(1, Math.floor(Math.max(width, height) / DEEP_COLOUR.ENOUGH));
  const [wide, tall] = [Math.ceil(width / step), Math.ceil(height / step)];
  const found = { width: wide, height: tall, count, data: new Uint16Array(wide * tall * count) };
  for (let y = 0, to = 0; y < tall; y += 1) {
    for (let x = 0; x < wide; x += 1) {
      const at = (y * width + x) * step * count;
      for (let part = 0; part < count; part += 1) found.data[to++] = data[at + part];
    }
  }
  return found;
}

function levelsOf({ width, height, count, data }) {
  return inEightBits(data) ?? eightBitLevels({ width: width * count, height, data })?.data ?? null;
}
