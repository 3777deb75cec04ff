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
    (columns.filter(Boolean).length / canvas.width) * (rows.filter(Boolean).length / canvas.height),
  ];
}

// Which rows and columns hold anything but black.
function filled({ width, height, data }) {
  const [rows, columns] = [new Array(height).fill(false), new Array(width).fill(false)];
  for (let y = 0, at = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1, at += 1) if (data[at]) rows[y] = columns[x] = true;
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
    const counts = new Float64Array(256);
    for (let y = 0; y < height - 1; y += 1) {
      for (let x = 0; x < width - 1; x += 1) {
        const at = y * width + x;
        const corner = level.data[at];
        counts[Math.max(Math.abs(level.data[at + 1] - corner), Math.abs(level.data[at + width] - corner))] += 1;
      }
    }
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

function withoutPadding(canvas) {
  const { rows, columns } = filled(canvas);
  if (!rows.includes(true)) return canvas;
  return crop(canvas, columns.indexOf(true), rows.indexOf(true), columns.lastIndexOf(true) + 1, rows.lastIndexOf(true) + 1);
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
