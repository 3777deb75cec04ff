// PNG (W3C, third edition): all kinds of pixels, interlaced or not.

import { Unidentified } from "../../errors.js";

const DEPTHS = { 0: [1, 2, 4, 8, 16], 2: [8, 16], 3: [1, 2, 4, 8], 4: [8, 16], 6: [8, 16] };
const SHORTEST = { IHDR: 13, gAMA: 4, cHRM: 32, sRGB: 1, pHYs: 9, acTL: 8, fcTL: 26 };
const CHANNELS = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 };
const PAETH = 4; // the last of the filters
const PASSES = [[0, 0, 8, 8], [4, 0, 8, 8], [0, 4, 4, 8], [2, 0, 4, 4], [0, 2, 2, 4], [1, 0, 2, 2], [0, 1, 1, 2]];

/**
 * What a PNG says of itself: size, depth, kind of pixels, palette, transparency, Exif and number of frames. Like Pillow it
 * throws Unidentified for chunks before the picture that are damaged, Error for a file that ends within one of them.
 */
export function readHeader(bytes) {
  const found = { frames: 1, palette: null, transparent: null, exif: null, parts: [] };
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 8; ;) {
    if (at + 8 > bytes.length) {
      if (found.parts.length) break;
      throw new Unidentified("the file ends before its picture");
    }
    const length = view.getUint32(at);
    const name = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    const data = bytes.subarray(at + 8, Math.min(at + 8 + length, bytes.length));
    if (name === "IEND") break;
    if (name === "IDAT") found.parts.push(data);
    else if (!found.parts.length) {
      checkChunk(bytes, view, at, length, name);
      readChunk(found, name, data);
    }
    at += 12 + length;
  }
  if (!found.width || !found.height || !DEPTHS[found.kind]?.includes(found.depth)) throw new Unidentified("no image header");
  return found;
}

function checkChunk(bytes, view, at, length, name) {
  if (!/^\w{4}$/.test(name)) throw new Unidentified("a broken chunk");
  const end = at + 8 + length;
  if (end > bytes.length || length < (SHORTEST[name] ?? 0)) throw new Error(`the chunk ${name} is cut short`);
  if (end + 4 > bytes.length || view.getUint32(end) !== crc32(bytes.subarray(at + 4, end))) {
    throw new Unidentified(`the chunk ${name} has another checksum`);
  }
}

function readChunk(found, name, data) {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  if (name === "IHDR") {
    if (data[11]) throw new Unidentified("an unknown kind of filters");
    Object.assign(found, {
      width: view.getUint32(0), height: view.getUint32(4), depth: data[8], kind: data[9], interlaced: data[12] !== 0,
    });
  }
  if (name === "acTL") found.frames = view.getUint32(0) || 1;
  if (name === "PLTE") found.palette = data;
  if (name === "tRNS") found.transparent = data;
  if (name === "eXIf") found.exif = data;
}

// Of a chunk's name and data (PNG, annex D).
function crc32(bytes) {
  let rest = -1;
  for (let at = 0; at < bytes.length; at += 1) {
    rest ^= bytes[at];
    for (let bit = 0; bit < 8; bit += 1) rest = (rest >>> 1) ^ (rest & 1 ? 0xedb88320 : 0);
  }
  return ~rest >>> 0;
}

/**
 * The samples as they are stored: { channels, data }, `data` Uint16Array for 16 bits, else Uint8Array, unscaled; and
 * how many rows are there. Throws Error where there is none.
 */
export async function readSamples(header) {
  const { width, height, depth, kind, interlaced } = header;
  const channels = CHANNELS[kind];
  const raw = await inflated(header.parts, rawLength(header, channels));
  const data = depth === 16 ? new Uint16Array(width * height * channels) : new Uint8Array(width * height * channels);
  const passes = interlaced ? PASSES : [[0, 0, 1, 1]];
  let at = 0;
  let rows = height;
  for (const [left, top, across, down] of passes) {
    const wide = Math.ceil((width - left) / across);
    const tall = Math.ceil((height - top) / down);
    if (wide <= 0 || tall <= 0) continue;
    const size = Math.ceil((wide * channels * depth) / 8);
    const step = Math.max(1, (channels * depth) >> 3);
    let before = new Uint8Array(size);
    for (let y = 0; y < tall; y += 1) {
      if (at + 1 + size > raw.length) {
        rows = Math.min(rows, interlaced ? 0 : y);
        break;
      }
      if (raw[at] > PAETH) return { channels, data, rows: Math.min(rows, interlaced ? 0 : y) }; // damaged from here on
      const row = raw.subarray(at + 1, at + 1 + size);
      unfilter(raw[at], row, before, step);
      spreadOut(row, data, depth, channels, wide, (top + y * down) * width + left, across);
      before = row;
      at += 1 + size;
    }
  }
  if (rows === 0) throw new Error("there is no row of the image");
  return { channels, data, rows };
}

function rawLength({ width, height, depth, interlaced }, channels) {
  return (interlaced ? PASSES : [[0, 0, 1, 1]]).reduce((sum, [left, top, across, down]) => {
    const wide = Math.max(0, Math.ceil((width - left) / across));
    const tall = Math.max(0, Math.ceil((height - top) / down));
    return wide ? sum + tall * (1 + Math.ceil((wide * channels * depth) / 8)) : sum;
  }, 0);
}

// As much as there is of the unpacked data, no more than the picture needs.
async function inflated(parts, length) {
  const found = new Uint8Array(length);
  let filled = 0;
  const reader = new Blob(parts).stream().pipeThrough(new DecompressionStream("deflate")).getReader();
  try {
    while (filled < length) {
      const { done, value } = await reader.read();
      if (done) break;
      found.set(value.subarray(0, length - filled), filled);
      filled += value.length;
    }
  } catch {
    // Cut short or damaged: what came before is kept.
  }
  reader.cancel().catch(() => {});
  return found.subarray(0, Math.min(filled, length));
}

function unfilter(filter, row, before, step) {
  for (let at = 0; at < row.length; at += 1) {
    const left = at >= step ? row[at - step] : 0;
    const above = before[at];
    if (filter === 1) row[at] += left;
    else if (filter === 2) row[at] += above;
    else if (filter === 3) row[at] += (left + above) >> 1;
    else if (filter === 4) row[at] += nearest(left, above, at >= step ? before[at - step] : 0);
  }
}

function nearest(left, above, corner) {
  const [a, b, c] = [Math.abs(above - corner), Math.abs(left - corner), Math.abs(left + above - 2 * corner)];
  if (a <= b && a <= c) return left;
  return b <= c ? above : corner;
}

function spreadOut(row, data, depth, channels, wide, start, across) {
  for (let x = 0; x < wide; x += 1) {
    const to = (start + x * across) * channels;
    for (let channel = 0; channel < channels; channel += 1) {
      const index = x * channels + channel;
      if (depth === 8) data[to + channel] = row[index];
      else if (depth === 16) data[to + channel] = (row[2 * index] << 8) | row[2 * index + 1];
      else data[to + channel] = (row[(index * depth) >> 3] >> (8 - depth - ((index * depth) & 7))) & ((1 << depth) - 1);
    }
  }
}
