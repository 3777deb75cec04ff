// What a model input looks like beside those of training: serving/statistics.py.

import { STATISTICS } from "./constants.js";
import { interpolate } from "./numbers.js";
import { meanLaplacian } from "./imaging/opencv/filters.js";
import { resizeArea } from "./imaging/opencv/resize.js";
import { crop } from "./imaging/pixels.js";

/** Mean and standard deviation of grey levels. */
export function meanAndDeviation({ data }) {
  let [sum, squares] = [0, 0];
  for (let at = 0; at < data.length; at += 1) {
    sum += data[at];
    squares += data[at] * data[at];
  }
  const mean = sum / data.length;
  return [mean, Math.sqrt(Math.max(squares / data.length - mean * mean, 0))];
}

/** Statistics of one model input, in the order of STATISTICS.INPUTS. */
export function inputStatistics(canvas) {
  const { data } = canvas;
  let [dark, bright] = [0, 0];
  for (let at = 0; at < data.length; at += 1) {
    if (data[at] < 10) dark += 1;
    if (data[at] > 245) bright += 1;
  }
  const { rows, columns } = filled(canvas);
  return [
    ...meanAndDeviation(canvas), dark / data.length, bright / data.length, meanLaplacian(canvas),
    (sum(columns) / canvas.width) * (sum(rows) / canvas.height),
  ];
}

function sum(flags) {
  return flags.reduce((count, flag) => count + flag, 0);
}

// Which rows and columns hold anything but black, as 1 and 0.
function filled({ width, height, data }) {
  const [rows, columns] = [new Uint8Array(height), new Uint8Array(width)];
  for (let y = 0, at = 0; y < height; y += 1) {
    let row = 0;
    for (let x = 0; x < width; x += 1, at += 1) {
      if (data[at] === 0) continue;
      row = 1;
      columns[x] = 1;
    }
    rows[y] = row;
  }
  return { rows, columns };
}

/** How steep one model input is at several scales: quantiles of the steepness in doublings. */
export function texture(canvas) {
  const content = withoutPadding(canvas);
  const found = [];
  for (let scale = 0; scale < STATISTICS.SCALES; scale += 1) {
    const width = Math.max(STATISTICS.SMALLEST_LEVEL, content.width >> scale);
    const height = Math.max(STATISTICS.SMALLEST_LEVEL, content.height >> scale);
    const level = resizeArea(content, width, height);
    const counts = steps(level);
    const total = (width - 1) * (height - 1);
    const shares = [0];
    let below = 0;
    for (const number of counts) {
      below += number;
      shares.push(below / total);
    }
    const levels = shares.map((_, index) => index);
    for (const share of STATISTICS.STEEPNESS) found.push(Math.log2(1 + interpolate(share, shares, levels)));
  }
  return found;
}

// How many pixels differ by each number of grey levels from that beside or below them, whichever is more.
function steps({ width, height, data }) {
  const counts = new Int32Array(256);
  for (let y = 0; y < height - 1; y += 1) {
    let at = y * width;
    for (const end = at + width - 1; at < end; at += 1) {
      const corner = data[at];
      let [across, down] = [data[at + 1] - corner, data[at + width] - corner];
      if (across < 0) across = -across;
      if (down < 0) down = -down;
      counts[across > down ? across : down] += 1;
    }
  }
  return counts;
}

function withoutPadding(canvas) {
  const { rows, columns } = filled(canvas);
  if (!rows.includes(1)) return canvas;
  return crop(canvas, columns.indexOf(1), rows.indexOf(1), columns.lastIndexOf(1) + 1, rows.lastIndexOf(1) + 1);
}

/** What the images of training looked like: reference.npz. */
export class Reference {
  constructor(arrays) {
    this.arrays = arrays;
  }

  /** Which input statistics no image of the training set has: { name, value, low, high }. */
  outside(inputs) {
    const { data, shape: [, many] } = this.arrays.inputs;
    return STATISTICS.INPUTS.map((name, index) =>
      ({ name, value: inputs[index], low: data[index * many], high: data[(index + 1) * many - 1] }))
      .filter(({ name, value, low, high }) => name !== "content" && !(low <= value && value <= high));
  }

  /** Mahalanobis distance of a texture from those of training; about 1 for images like those of training. */
  distance(found) {
    const [mean, scale, precision] = ["mean", "scale", "precision"].map((name) => this.arrays[name].data);
    const many = found.length;
    const centred = found.map((value, index) => (value - mean[index]) / scale[index]);
    let squared = 0;
    for (let row = 0; row < many; row += 1) {
      for (let column = 0; column < many; column += 1) squared += centred[row] * precision[row * many + column] * centred[column];
    }
    return Math.sqrt(Math.max(squared, 0) / many);
  }
}
