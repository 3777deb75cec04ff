// BMP without compression: 1, 4, 8, 16, 24 or 32 bits a pixel.

import { Unidentified } from "../../errors.js";

const SIZES = [12, 40, 52, 56, 64, 108, 124];
const PLAIN = 0;
const MASKS = [3, 6];

/** What a BMP says of itself. Throws Unidentified where there is no header, Error for a broken or compressed one. */
export function readHeader(bytes) {
  if (bytes.length < 18) throw new Unidentified("no header");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const size = view.getUint32(14, true);
  if (!SIZES.includes(size) || 14 + size > bytes.length) throw new Error("an unusual header, or one that is cut short");
  const core = size === 12;
  const width = core ? view.getUint16(18, true) : view.getUint32(18, true);
  const rows = core ? view.getUint16(20, true) : view.getUint32(22, true);
  const downwards = !core && bytes[25] === 0xff; // a negative number of rows
  const depth = view.getUint16(core ? 24 : 28, true);
  const compression = core ? PLAIN : view.getUint32(30, true);
  if (compression !== PLAIN && !MASKS.includes(compression)) throw new Error("a compressed BMP is not read");
  if (![1, 4, 8, 16, 24, 32].includes(depth)) throw new Error("an unusual BMP header");
  if (width === 0 || rows === 0) throw new Unidentified("no picture");
  const colours = depth > 8 ? 0 : (core ? 0 : view.getUint32(46, true)) || 2 ** depth;
  const start = 14 + size;
  const palette = Array.from({ length: colours }, (_, index) => {
    const at = start + index * (core ? 3 : 4);
    return [bytes[at + 2], bytes[at + 1], bytes[at]];
  });
  const masks = MASKS.includes(compression)
    ? [0, 4, 8].map((at) => view.getUint32(54 + at, true))
    : depth === 16 ? [0x7c00, 0x3e0, 0x1f] : [0xff0000, 0xff00, 0xff];
  return { width, height: downwards ? 2 ** 32 - rows : rows, upwards: !downwards, depth, palette, masks, start: view.getUint32(10, true) };
}

/** Whether every colour of the palette is the grey level of its number, as a grey picture has it. */
export function isGrey({ depth, palette }) {
  const scale = depth === 1 ? 255 : 1;
  return (depth === 8 || depth === 1) && palette.every(([r, g, b], index) => r === index * scale && g === r && b === r);
}

/** Three planes: { width, height, red, green, blue }; and how many rows are there, those that are missing black. */
export function readColours(bytes, header) {
  const { width, height, depth, palette, masks, upwards, start } = header;
  const stride = Math.ceil((width * depth) / 32) * 4;
  const [red, green, blue] = [0, 1, 2].map(() => new Uint8Array(width * height));
  const shifts = masks.map((mask) => (mask ? 31 - Math.clz32(mask & -mask) : 0));
  const tops = masks.map((mask, index) => Math.max(1, (mask >>> 0) >>> shifts[index]));
  let rows = 0;
  for (let row = 0; row < height; row += 1) {
    const from = start + row * stride;
    if (from + Math.ceil((width * depth) / 8) > bytes.length) break;
    rows += 1;
    const to = (upwards ? height - 1 - row : row) * width;
    for (let x = 0; x < width; x += 1) {
      let colour;
      if (depth <= 8) {
        const bit = x * depth;
        colour = palette[(bytes[from + (bit >> 3)] >> (8 - depth - (bit & 7))) & ((1 << depth) - 1)] ?? [0, 0, 0];
      } else {
        const at = from + (x * depth) / 8;
        let value = bytes[at] | (bytes[at + 1] << 8);
        if (depth > 16) value |= bytes[at + 2] << 16;
        if (depth > 24) value |= bytes[at + 3] << 24;
        colour = masks.map((mask, index) => Math.floor((((value & mask) >>> shifts[index]) * 255) / tops[index]));
      }
      [red[to + x], green[to + x], blue[to + x]] = colour;
    }
  }
  return { width, height, red, green, blue, rows };
}
