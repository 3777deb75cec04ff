// Pictures of one channel: { width, height, data }, `data` a typed array in rows from the top.

/**
 * @typedef {{ width: number, height: number, data: Uint8Array }} Pixels grey levels
 * @typedef {{ width: number, height: number, data: Uint8Array | Uint16Array | Int16Array | Int32Array | Float32Array }} Values
 *   stored values, of any number type
 */

export function pixels(width, height, data = new Uint8Array(width * height)) {
  return { width, height, data };
}

/** A part of a picture, as a copy: columns [left, right) of rows [top, bottom). */
export function crop({ width, data }, left, top, right, bottom) {
  const wide = right - left;
  const tall = bottom - top;
  if (wide === width) return { width: wide, height: tall, data: data.subarray(top * width, bottom * width) };
  const found = new data.constructor(wide * tall);
  for (let y = 0; y < tall; y += 1) {
    found.set(data.subarray((top + y) * width + left, (top + y) * width + right), y * wide);
  }
  return { width: wide, height: tall, data: found };
}

/** Turned by quarters, anticlockwise: numpy.rot90. */
export function turned(picture, quarters) {
  let { width, height, data } = picture;
  for (let turn = 0; turn < quarters; turn += 1) {
    const found = new data.constructor(data.length);
    for (let y = 0; y < height; y += 1) {
      for (let x = 0; x < width; x += 1) found[(width - 1 - x) * height + y] = data[y * width + x];
    }
    [width, height, data] = [height, width, found];
  }
  return { width, height, data };
}

/** Numbers in rising order, as a typed array of their own. */
export function sorted(values) {
  return values instanceof Uint8Array ? counted(values) : values.slice().sort();
}

function counted(values) {
  const counts = new Uint32Array(256);
  for (let at = 0; at < values.length; at += 1) counts[values[at]] += 1;
  const found = new Uint8Array(values.length);
  for (let value = 0, at = 0; value < 256; value += 1) {
    found.fill(value, at, at + counts[value]);
    at += counts[value];
  }
  return found;
}
