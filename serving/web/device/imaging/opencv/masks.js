// OpenCV's morphology on masks, uint8 pictures of 1 and 0, with a kernel of 3 x 3.

import { pixels } from "../pixels.js";

/** What lies wholly in a mask; beyond the edge lies `border`, by default nothing that counts. */
export function erode(mask, border = 1) {
  return inverse(dilate(inverse(mask), 1 - border));
}

/** A mask and what is next to it. */
export function dilate({ width, height, data }, border = 0) {
  const rows = new Uint8Array(width * height);
  for (let y = 0, at = 0; y < height; y += 1) {
    let [left, here] = [border, data[at]];
    for (let x = 1; x < width; x += 1, at += 1) {
      const right = data[at + 1];
      rows[at] = left | here | right;
      left = here;
      here = right;
    }
    rows[at] = left | here | border;
    at += 1;
  }
  const found = pixels(width, height);
  const last = (height - 1) * width;
  for (let at = 0; at < rows.length; at += 1) {
    found.data[at] = rows[at] | (at >= width ? rows[at - width] : border) | (at < last ? rows[at + width] : border);
  }
  return found;
}

/** Erosion, then dilation: what is narrower than the kernel goes. */
export function open(mask) {
  return dilate(erode(mask));
}

function inverse({ width, height, data }) {
  const found = pixels(width, height);
  for (let at = 0; at < data.length; at += 1) found.data[at] = 1 - data[at];
  return found;
}

export function count({ data }) {
  let found = 0;
  for (let at = 0; at < data.length; at += 1) found += data[at];
  return found;
}

/** Pixel by pixel: `combine(one, other)`. */
export function combined(one, other, combine) {
  const found = pixels(one.width, one.height);
  for (let at = 0; at < found.data.length; at += 1) found.data[at] = combine(one.data[at], other.data[at]);
  return found;
}

export const both = (one, other) => combined(one, other, (a, b) => a & b);
export const without = (one, other) => combined(one, other, (a, b) => a & ~b);

/** left, top, width and height of the rectangle round what is set. */
export function boundingRect({ width, height, data }) {
  let [left, top, right, bottom] = [width, height, -1, -1];
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      if (!data[y * width + x]) continue;
      left = Math.min(left, x);
      right = Math.max(right, x);
      top = Math.min(top, y);
      bottom = y;
    }
  }
  return right < 0 ? { left: 0, top: 0, width: 0, height: 0 } : { left, top, width: right - left + 1, height: bottom - top + 1 };
}

/** What of a mask is connected with its edge by sides, where a frame one pixel wide lies all around it. */
export function reachedFromOutside({ width, height, data }) {
  const found = pixels(width, height);
  const waiting = [];
  const visit = (x, y) => {
    const at = y * width + x;
    if (!data[at] || found.data[at]) return;
    found.data[at] = 1;
    waiting.push(at);
  };
  for (let x = 0; x < width; x += 1) {
    visit(x, 0);
    visit(x, height - 1);
  }
  for (let y = 0; y < height; y += 1) {
    visit(0, y);
    visit(width - 1, y);
  }
  while (waiting.length) {
    const at = waiting.pop();
    const [x, y] = [at % width, Math.floor(at / width)];
    if (x > 0) visit(x - 1, y);
    if (x < width - 1) visit(x + 1, y);
    if (y > 0) visit(x, y - 1);
    if (y < height - 1) visit(x, y + 1);
  }
  return found;
}

/** Pieces of a mask that are connected by sides or corners, by their first pixel: a mask's labels and their areas. */
export function components({ width, height, data }) {
  const labels = new Int32Array(width * height);
  const areas = [];
  const waiting = [];
  for (let start = 0; start < data.length; start += 1) {
    if (!data[start] || labels[start]) continue;
    areas.push(0);
    labels[start] = areas.length;
    waiting.push(start);
    while (waiting.length) {
      const at = waiting.pop();
      areas[areas.length - 1] += 1;
      const [x, y] = [at % width, Math.floor(at / width)];
      for (let row = Math.max(0, y - 1); row <= Math.min(height - 1, y + 1); row += 1) {
        for (let column = Math.max(0, x - 1); column <= Math.min(width - 1, x + 1); column += 1) {
          const next = row * width + column;
          if (!data[next] || labels[next]) continue;
          labels[next] = areas.length;
          waiting.push(next);
        }
      }
    }
  }
  return { labels, areas };
}
