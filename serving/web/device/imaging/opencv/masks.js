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

/** What is not set in a mask. */
export function inverse({ width, height, data }) {
  const found = pixels(width, height);
  for (let at = 0; at < data.length; at += 1) found.data[at] = 1 - data[at];
  return found;
}

export function count({ data }) {
  let found = 0;
  for (let at = 0; at < data.length; at += 1) found += data[at];
  return found;
}

/** What is set in both masks. */
export function both(one, other) {
  const found = pixels(one.width, one.height);
  for (let at = 0; at < found.data.length; at += 1) found.data[at] = one.data[at] & other.data[at];
  return found;
}

/** What is set in one mask and not in the other. */
export function without(one, other) {
  const found = pixels(one.width, one.height);
  for (let at = 0; at < found.data.length; at += 1) found.data[at] = one.data[at] & ~other.data[at];
  return found;
}

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
  const last = (height - 1) * width;
  const visit = (at) => {
    if (!data[at] || found.data[at]) return;
    found.data[at] = 1;
    waiting.push(at);
  };
  for (let x = 0; x < width; x += 1) {
    visit(x);
    visit(last + x);
  }
  for (let y = 0; y < height; y += 1) {
    visit(y * width);
    visit(y * width + width - 1);
  }
  while (waiting.length) {
    const at = waiting.pop();
    const x = at % width;
    if (x > 0) visit(at - 1);
    if (x < width - 1) visit(at + 1);
    if (at >= width) visit(at - width);
    if (at < last) visit(at + width);
  }
  return found;
}

/** Pieces of a mask that are connected by sides or corners, by their first pixel: a mask's labels and their areas. */
export function components({ width, height, data }) {
  const labels = new Int32Array(width * height);
  const areas = [];
  const last = (height - 1) * width;
  const waiting = [];
  for (let start = 0; start < data.length; start += 1) {
    if (!data[start] || labels[start]) continue;
    areas.push(0);
    labels[start] = areas.length;
    waiting.push(start);
    let area = 0;
    while (waiting.length) {
      const at = waiting.pop();
      area += 1;
      const x = at % width;
      const [left, right] = [x > 0 ? -1 : 0, x < width - 1 ? 1 : 0];
      const [above, below] = [at >= width ? -width : 0, at < last ? width : 0];
      for (let row = at + above; row <= at + below; row += width) {
        for (let next = row + left; next <= row + right; next += 1) {
          if (!data[next] || labels[next]) continue;
          labels[next] = areas.length;
          waiting.push(next);
        }
      }
    }
    areas[areas.length - 1] = area;
  }
  return { labels, areas };
}
