// RLE Lossless frames (PS3.5, annex G): serving/imaging/dicom/rle.py.

import { misfit, viewOf } from "./codestreams.js";

/**
 * The pixels of a frame of one sample, and how many rows of it are there: { values, rows }; `size` is the bytes of a
 * stored value. Throws Error for a broken frame, ImageError for one of another size.
 */
export function decode(frame, rows, columns, size) {
  const segments = segmentsOf(frame, rows, columns, size);
  const last = segments.pop();
  const many = rows * columns;
  const values = new Uint16Array(many);
  const add = (bytes) => { for (let at = 0; at < many; at += 1) values[at] |= bytes[at]; };
  for (const segment of segments) {
    add(unpacked(segment, many));
    for (let at = 0; at < many; at += 1) values[at] <<= 8;
  }
  let there = many;
  const whole = attempted(last, many);
  if (whole) {
    add(whole);
  } else {
    const found = completed(last, many);
    if (!found.inRun) throw misfit(rows, columns); // nothing was cut off: these are the pixels of another size
    there = found.there;
    add(found.bytes);
  }
  return { values, rows: Math.floor(there / columns) };
}

/** The three planes of a frame of three samples of 8 bits. */
export function decodeColours(frame, rows, columns) {
  return segmentsOf(frame, rows, columns, 3).map((segment) => unpacked(segment, rows * columns));
}

function segmentsOf(frame, rows, columns, expected) {
  if (frame.length < 64) throw new Error("no header of segments");
  const view = viewOf(frame);
  const count = view.getUint32(0, true);
  if (count !== expected) throw new Error(`${count} segments for ${expected} bytes a pixel`);
  const offsets = Array.from({ length: count }, (_, index) => view.getUint32(4 + 4 * index, true));
  const segments = offsets.map((start, index) => frame.subarray(start, Math.max(start, offsets[index + 1] ?? frame.length)));
  // It should end; one byte may be padding.
  if (attempted(segments[0], rows * columns + 2)) throw misfit(rows, columns);
  return segments;
}

function unpacked(segment, length) {
  const found = attempted(segment, length);
  if (!found) throw new Error("a segment ends early");
  return found;
}

// PackBits, up to `length` bytes; null where there are fewer.
function attempted(segment, length) {
  const found = new Uint8Array(length);
  let [at, filled] = [0, 0];
  while (filled < length) {
    if (at >= segment.length) return null;
    const head = segment[at];
    if (head === 128) {
      at += 1;
    } else if (head > 128) {
      if (at + 2 > segment.length) return null;
      found.fill(segment[at + 1], filled, filled + 257 - head);
      filled += 257 - head;
      at += 2;
    } else {
      if (at + head + 2 > segment.length) return null;
      found.set(segment.subarray(at + 1, at + 1 + Math.min(head + 1, length - filled)), filled);
      filled += head + 1;
      at += head + 2;
    }
  }
  return found;
}

// What a segment cut short holds in whole runs, with zeros behind it; and whether it ends within a run.
function completed(segment, length) {
  let [at, there] = [0, 0];
  while (at + 1 < segment.length) {
    const head = segment[at];
    const [size, count] = head < 128 ? [head + 2, head + 1] : head > 128 ? [2, 257 - head] : [1, 0];
    if (at + size > segment.length || there + count > length) break;
    [at, there] = [at + size, there + count];
  }
  const bytes = new Uint8Array(length);
  if (there) bytes.set(attempted(segment.subarray(0, at), there));
  return { bytes, there, inRun: segment.length - at > 1 };
}
