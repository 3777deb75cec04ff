// Whether a radiograph is inverted: serving/imaging/canonical/polarity.py.

import { POLARITY } from "../../constants.js";
import { clamp, roundEven } from "../../numbers.js";
import { blur5, gaussian5 } from "../opencv/filters.js";
import { sorted } from "../pixels.js";
import { thumbnail } from "./thumbnail.js";

/** Probability that the field of a radiograph is inverted; `weights` by the features' names, as polarity.json has them. */
export function invertedProbability(weights, picture) {
  const found = features(picture);
  const logit = POLARITY.FEATURES.reduce((sum, name, index) => sum + weights[name] * found[index], 0);
  return 0.5 * (1 + Math.tanh(0.5 * logit));
}

/** POLARITY.FEATURES of the field of a radiograph; a flat picture gives zeros. */
export function features(picture) {
  const { width, height, data: grey } = thumbnail(picture, POLARITY.SIDE);
  const [low, high] = quantiles(Float32Array.from(grey), 0.01, 0.99);
  if (high - low < 1) return POLARITY.FEATURES.map(() => 0);
  // -1 is the darkest, 1 the brightest: swapping them changes the sign of everything below.
  const x = Float32Array.from(grey, (value) => clamp((2 * value - (low + high)) / (high - low), -1, 1));
  const field = { width, height, data: x };
  const [q5, q10, q25, q50, q75, q90, q95] = quantiles(x, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95);
  const average = mean(x);
  const deviation = Math.sqrt(mean(x.map((value) => (value - average) ** 2))) + POLARITY.EPS;
  const centred = x.map((value) => value - average);
  const part = (left, top, right, bottom) => partOf(field, left, top, right, bottom);
  const deep = POLARITY.RIM;
  const rim = Float32Array.from([
    ...part(0, 0, width, deep), ...part(0, height - deep, width, height),
    ...part(0, 0, deep, height), ...part(width - deep, 0, width, height),
  ]);
  const [quarterX, quarterY] = [Math.floor(width / 4), Math.floor(height / 4)];
  const middle = part(quarterX, quarterY, width - quarterX, height - quarterY);
  const [w, h] = [Math.max(1, Math.floor(width / 6)), Math.max(1, Math.floor(height / 6))];
  const corners = [[0, 0], [width - w, 0], [0, height - h], [width - w, height - h]]
    .map(([left, top]) => median(part(left, top, left + w, top + h)));
  const squares = blur5({ width, height, data: x.map((value) => value * value) }).data;
  const means = blur5(field).data;
  const spread = squares.map((value, at) => Math.sqrt(Math.max(value - means[at] ** 2, 0)));
  const [flattest, flat] = quantiles(spread, 0.15, 0.4);
  const radius = Float64Array.from(x, (_, at) =>
    Math.hypot(place(at % width, width), place(Math.floor(at / width), height)));
  const meanBelow = (limit) => mean(x.filter((_, at) => spread[at] <= limit));
  const share = (test) => x.reduce((sum, value) => sum + (test(value) ? 1 : 0), 0) / x.length;
  return [
    average, q50, (q25 + q75) / 2, (q10 + q90) / 2, (q5 + q95) / 2,
    mean(centred.map((value) => value ** 3)) / deviation ** 3,
    mean(rim), median(rim), mean(rim) - mean(middle), mean(corners),
    meanBelow(flat) - average, meanBelow(flattest), correlation(centred, spread),
    correlation(centred, radius), share((value) => value > 0.95) - share((value) => value < -0.95), ...blobs(field),
  ];
}

function place(index, length) {
  return length === 1 ? -1 : -1 + (2 * index) / (length - 1);
}

function partOf({ width, height, data }, left, top, right, bottom) {
  const found = [];
  for (let y = Math.max(0, top); y < Math.min(height, bottom); y += 1) {
    for (let x = Math.max(0, left); x < Math.min(width, right); x += 1) found.push(data[y * width + x]);
  }
  return Float32Array.from(found);
}

function mean(values) {
  let sum = 0;
  for (const value of values) sum += value;
  return sum / values.length;
}

function median(values) {
  const ordered = sorted(values);
  const half = ordered.length >> 1;
  return ordered.length % 2 ? ordered[half] : (ordered[half - 1] + ordered[half]) / 2;
}

// Quantiles that are as far from the largest value as those of the other share from the smallest.
function quantiles(values, ...shares) {
  const ordered = sorted(values);
  const last = ordered.length - 1;
  return shares.map((share) => {
    if (share === 0.5) return (ordered[Math.floor(last / 2)] + ordered[last - Math.floor(last / 2)]) / 2;
    return ordered[share < 0.5 ? roundEven(share * last) : last - roundEven((1 - share) * last)];
  });
}

function correlation(a, b) {
  const average = mean(b);
  let [products, ours, theirs] = [0, 0, 0];
  a.forEach((value, at) => {
    const apart = b[at] - average;
    products += value * apart;
    ours += value * value;
    theirs += apart * apart;
  });
  return products / (Math.sqrt(ours * theirs) + POLARITY.EPS);
}

// Whether what is as wide as each scale is brighter (above 0) or darker than what is around it, told twice.
function blobs(field) {
  const told = [];
  let sharp = field;
  for (let scale = 0; scale < POLARITY.SCALES; scale += 1) {
    const soft = gaussian5(sharp, 1.2);
    const band = sharp.data.map((value, at) => value - soft.data[at]);
    let [signed, total] = [0, 0];
    for (const value of band) {
      signed += Math.abs(value) * value;
      total += value * value;
    }
    const [low, high] = quantiles(band, 0.02, 0.98);
    told.push(signed / (total + POLARITY.EPS), (low + high) / (high - low + POLARITY.EPS));
    const [width, height] = [Math.ceil(soft.width / 2), Math.ceil(soft.height / 2)];
    const data = new Float32Array(width * height);
    for (let y = 0; y < height; y += 1) {
      for (let x = 0; x < width; x += 1) data[y * width + x] = soft.data[2 * y * soft.width + 2 * x];
    }
    sharp = { width, height, data };
  }
  return told;
}
