// OpenCV's resize and remap of grey pictures, uint8, to the bit wherever a test says so.

import { pixels } from "../pixels.js";
import { clamp, roundEven } from "../../numbers.js";

const WEIGHT_BITS = 11;
const ONE = 1 << WEIGHT_BITS;

/** Linear interpolation in whole numbers: cv2.resize with INTER_LINEAR. */
export function resizeLinear(picture, width, height) {
  const { data } = picture;
  if (picture.width === width && picture.height === height) return picture;
  if (picture.width === 2 * width && picture.height === 2 * height) return resizeArea(picture, width, height);
  const across = linearPlaces(picture.width, width);
  const down = linearPlaces(picture.height, height, true);
  const found = pixels(width, height);
  const levels = found.data;
  const { first, second, near, far } = across;
  const mix = (row, source) => {
    const start = source * picture.width;
    for (let x = 0; x < width; x += 1) {
      row[x] = (Math.imul(data[start + first[x]], near[x]) + Math.imul(data[start + second[x]], far[x])) >> 4;
    }
  };
  let [above, below] = [new Int32Array(width), new Int32Array(width)];
  let [heldAbove, heldBelow] = [-1, -1];
  for (let y = 0; y < height; y += 1) {
    const [top, bottom] = [down.first[y], down.second[y]];
    if (heldBelow === top && heldAbove !== top) {
      [above, below] = [below, above];
      [heldAbove, heldBelow] = [heldBelow, heldAbove];
    }
    if (heldAbove !== top) mix(above, top);
    if (heldBelow !== bottom) mix(below, bottom);
    [heldAbove, heldBelow] = [top, bottom];
    const [nearer, farther] = [down.near[y], down.far[y]];
    const at = y * width;
    for (let x = 0; x < width; x += 1) {
      levels[at + x] = ((Math.imul(nearer, above[x]) >> 16) + (Math.imul(farther, below[x]) >> 16) + 2) >> 2;
    }
  }
  return found;
}

// For each place of the result: two places of the source and their weights in 2048ths. Beyond the edge OpenCV takes one
// place alone across, and the edge twice, with both weights, down.
function linearPlaces(from, to, twice = false) {
  const scale = from / to;
  const places = {
    first: new Int32Array(to), second: new Int32Array(to), near: new Int32Array(to), far: new Int32Array(to),
  };
  for (let index = 0; index < to; index += 1) {
    let fraction = Math.fround((index + 0.5) * scale - 0.5);
    let start = Math.floor(fraction);
    fraction = Math.fround(fraction - start);
    if (!twice && start < 0) [start, fraction] = [0, 0];
    if (!twice && start >= from - 1) [start, fraction] = [from - 1, 0];
    places.first[index] = clamp(start, 0, from - 1);
    places.second[index] = clamp(start + 1, 0, from - 1);
    places.near[index] = roundEven(Math.fround(1 - fraction) * ONE);
    places.far[index] = roundEven(fraction * ONE);
  }
  return places;
}

/** Means over areas: cv2.resize with INTER_AREA to at most the size of the picture in both directions. */
export function resizeArea(picture, width, height) {
  if (picture.width === width && picture.height === height) return picture;
  if (width > picture.width || height > picture.height) return resizeAreaUp(picture, width, height);
  const across = picture.width / width;
  const down = picture.height / height;
  if (Number.isInteger(across) && Number.isInteger(down)) return blockMeans(picture, width, height, across, down);
  return areaMeans(picture, width, height);
}

function blockMeans(picture, width, height, across, down) {
  const found = pixels(width, height);
  const [{ data: levels }, { data }] = [found, picture];
  const sums = new Int32Array(width);
  const share = Math.fround(1 / (across * down));
  const halves = across === 2 && down === 2;
  for (let y = 0; y < height; y += 1) {
    sums.fill(0);
    for (let row = 0; row < down; row += 1) {
      let at = (y * down + row) * picture.width;
      for (let x = 0; x < width; x += 1) {
        let sum = 0;
        for (let column = 0; column < across; column += 1, at += 1) sum += data[at];
        sums[x] += sum;
      }
    }
    for (let x = 0; x < width; x += 1) {
      levels[y * width + x] = halves ? (sums[x] + 2) >> 2 : roundEven(Math.fround(sums[x] * share));
    }
  }
  return found;
}

function areaMeans(picture, width, height) {
  const across = areaPlaces(picture.width, width);
  const down = areaPlaces(picture.height, height);
  const found = pixels(width, height);
  const row = new Float32Array(width);
  const sums = new Float32Array(width);
  let before = 0;
  const finish = (y) => {
    for (let x = 0; x < width; x += 1) found.data[y * width + x] = clamp(roundEven(sums[x]), 0, 255);
    sums.fill(0);
  };
  for (let step = 0; step < down.count; step += 1) {
    const start = down.source[step] * picture.width;
    row.fill(0);
    for (let place = 0; place < across.count; place += 1) {
      const weighed = Math.fround(picture.data[start + across.source[place]] * across.weight[place]);
      row[across.target[place]] += weighed;
    }
    if (down.target[step] !== before) finish(before);
    before = down.target[step];
    const weight = down.weight[step];
    for (let x = 0; x < width; x += 1) sums[x] += Math.fround(row[x] * weight);
  }
  finish(before);
  return found;
}

// Which places of the source lie how far in each place of the result, in order.
function areaPlaces(from, to) {
  const scale = from / to;
  const most = from + 2 * to;
  const places = { count: 0, target: new Int32Array(most), source: new Int32Array(most), weight: new Float32Array(most) };
  const add = (target, source, weight) => {
    places.target[places.count] = target;
    places.source[places.count] = source;
    places.weight[places.count] = weight;
    places.count += 1;
  };
  for (let target = 0; target < to; target += 1) {
    const begins = target * scale;
    const ends = begins + scale;
    const cell = Math.min(scale, from - begins);
    const last = Math.min(Math.floor(ends), from - 1);
    const first = Math.min(Math.ceil(begins), last);
    if (first - begins > 1e-3) add(target, first - 1, (first - begins) / cell);
    for (let source = first; source < last; source += 1) add(target, source, 1 / cell);
    if (ends - last > 1e-3) add(target, last, Math.min(Math.min(ends - last, 1), cell) / cell);
  }
  return places;
}

// INTER_AREA where a side grows: linear, with the pixels' own extent kept sharp.
function resizeAreaUp(picture, width, height) {
  const across = areaUpPlaces(picture.width, width);
  const down = areaUpPlaces(picture.height, height);
  const found = pixels(width, height);
  const at = (x, y) => picture.data[y * picture.width + x];
  for (let y = 0; y < height; y += 1) {
    const [top, bottom] = [down[y].start, Math.min(down[y].start + 1, picture.height - 1)];
    for (let x = 0; x < width; x += 1) {
      const { start, near, far } = across[x];
      const end = Math.min(start + 1, picture.width - 1);
      const above = at(start, top) * near + at(end, top) * far;
      const below = at(start, bottom) * near + at(end, bottom) * far;
      const mixed = ((down[y].near * (above >> 4)) >> 16) + ((down[y].far * (below >> 4)) >> 16);
      found.data[y * width + x] = (mixed + 2) >> 2;
    }
  }
  return found;
}

function areaUpPlaces(from, to) {
  const scale = from / to;
  return Array.from({ length: to }, (_, index) => {
    let start = Math.floor(index * scale);
    let fraction = Math.fround(index + 1 - (start + 1) / scale);
    fraction = fraction <= 0 ? 0 : Math.fround(fraction - Math.floor(fraction));
    if (start < 0) [start, fraction] = [0, 0];
    if (start >= from - 1) [start, fraction] = [from - 1, 0];
    return { start, near: roundEven(Math.fround(1 - fraction) * ONE), far: roundEven(fraction * ONE) };
  });
}

/** Floats enlarged or reduced by linear interpolation: cv2.resize of a float32 picture with INTER_LINEAR. */
export function resizeFloats({ width: wide, height: tall, data }, width, height) {
  const [across, down] = [floatPlaces(wide, width), floatPlaces(tall, height)];
  const found = new Float32Array(width * height);
  for (let y = 0, at = 0; y < height; y += 1) {
    const [top, bottom, lower] = [down.first[y] * wide, down.second[y] * wide, down.fraction[y]];
    for (let x = 0; x < width; x += 1, at += 1) {
      const [left, right, further] = [across.first[x], across.second[x], across.fraction[x]];
      const above = data[top + left] * (1 - further) + data[top + right] * further;
      const below = data[bottom + left] * (1 - further) + data[bottom + right] * further;
      found[at] = above * (1 - lower) + below * lower;
    }
  }
  return { width, height, data: found };
}

function floatPlaces(from, to) {
  const places = { first: new Int32Array(to), second: new Int32Array(to), fraction: new Float64Array(to) };
  for (let index = 0; index < to; index += 1) {
    let fraction = Math.fround((index + 0.5) * (from / to) - 0.5);
    let start = Math.floor(fraction);
    fraction = Math.fround(fraction - start);
    if (start < 0) [start, fraction] = [0, 0];
    if (start >= from - 1) [start, fraction] = [from - 1, 0];
    places.first[index] = start;
    places.second[index] = Math.min(start + 1, from - 1);
    places.fraction[index] = fraction;
  }
  return places;
}

/** Grey levels at places between the pixels; those beyond the edge are the edge's: cv2.remap, BORDER_REPLICATE. */
export function sampleLinear({ width, height, data }, xs, ys) {
  const found = new Uint8Array(xs.length);
  const at = (x, y) => data[clamp(y, 0, height - 1) * width + clamp(x, 0, width - 1)];
  for (let index = 0; index < xs.length; index += 1) {
    const [x, y] = [Math.fround(xs[index]), Math.fround(ys[index])];
    const [left, top] = [Math.floor(x), Math.floor(y)];
    const [further, lower] = [Math.fround(x - left), Math.fround(y - top)];
    const above = at(left, top) + further * (at(left + 1, top) - at(left, top));
    const below = at(left, top + 1) + further * (at(left + 1, top + 1) - at(left, top + 1));
    found[index] = roundEven(Math.fround(above + lower * (below - above)));
  }
  return found;
}
