// What a JPEG (ITU-T T.81) says of itself: its segments, and the frame among them.

import { Unidentified } from "../../errors.js";

export const [EOI, SOS, DQT, DHT, DRI, APP14] = [0xd9, 0xda, 0xdb, 0xc4, 0xdd, 0xee];
const [SOI, APP1, DHP] = [0xd8, 0xe1, 0xde];
// Restarts, SOI and EOI, and what T.81 keeps for extensions.
const STANDALONE = (marker) => (marker >= 0xd0 && marker <= EOI) || marker === 0xc8 || (marker >= 0xf0 && marker <= 0xfd);

/**
 * What a JPEG says of itself before a coefficient is read, as Pillow reads it up to its first scan. Throws Unidentified
 * for what is no JPEG of eight bits behind its first bytes, Error for one that ends within a segment.
 */
export function readHeader(bytes) {
  const found = { frame: null, exif: null };
  for (const { marker, start, end } of toFirstScan(bytes)) {
    if (marker === DQT) checkQuantisation(bytes, start, end);
    const begins = String.fromCharCode(...bytes.subarray(start, Math.min(start + 6, end)));
    if (marker === APP1 && begins === "Exif\0\0") found.exif ??= bytes.subarray(start + 6, end);
    if (isFrame(marker) || marker === DHP) found.frame = checkedFrame(bytes, marker, start, end);
  }
  if (!found.frame?.width || !found.frame.height) throw new Unidentified("no frame header");
  return found;
}

// Segments up to that of the first scan; what stands between them, and markers without a segment, are passed over.
function* toFirstScan(bytes) {
  for (let at = 2; at + 1 < bytes.length;) {
    const marker = bytes[at + 1];
    if (bytes[at] !== 0xff || marker === 0xff) {
      at += 1;
      continue;
    }
    at += 2;
    if (marker === 0 || STANDALONE(marker)) continue;
    if (marker < 0xc0) throw new Unidentified("no marker found");
    if (at + 2 > bytes.length) throw new Unidentified("a marker without a segment");
    const end = at + Math.max(2, (bytes[at] << 8) | bytes[at + 1]);
    if (end > bytes.length) throw new Error("the file ends within its header");
    yield { marker, start: at + 2, end };
    if (marker === SOS) return;
    at = end;
  }
}

function checkQuantisation(bytes, start, end) {
  let at = start;
  while (at < end) at += bytes[at] >> 4 ? 129 : 65;
  if (at > end) throw new Unidentified("bad quantization table marker");
}

function checkedFrame(bytes, marker, start, end) {
  const frame = readFrame(bytes, marker, start);
  if (end - start < 6 || (end - start - 6) % 3 !== 0) throw new Unidentified("a short frame header");
  if (frame.precision !== 8) throw new Unidentified(`cannot handle ${frame.precision}-bit layers`);
  if (![1, 3, 4].includes(frame.components.length)) throw new Unidentified("an unusual number of components");
  return frame;
}

/** Whether a marker begins a frame (T.81, table B.1). */
export function isFrame(marker) {
  return marker >= 0xc0 && marker <= 0xcf && ![DHT, 0xc8, 0xcc].includes(marker);
}

/** What the frame header at `start` says: kind, precision, size and components. */
export function readFrame(bytes, marker, start) {
  const number = (at) => (bytes[at] << 8) | bytes[at + 1];
  const count = bytes[start + 5];
  const components = Array.from({ length: count }, (_, index) => {
    const at = start + 6 + 3 * index;
    return { id: bytes[at], h: bytes[at + 1] >> 4, v: bytes[at + 1] & 15, table: bytes[at + 2] };
  });
  return { kind: marker - 0xc0, precision: bytes[start], height: number(start + 1), width: number(start + 3), components };
}

/** The segments of a JPEG from `from` on, as { marker, start, end } of what each holds. */
export function* segments(bytes, from = 0) {
  let at = from || 2;
  if (bytes[0] !== 0xff || bytes[1] !== SOI) throw new Error("no start of a JPEG");
  while (at + 4 <= bytes.length) {
    if (bytes[at] !== 0xff) {
      at += 1;
      continue;
    }
    const marker = bytes[at + 1];
    if (marker === 0xff) {
      at += 1;
      continue;
    }
    if (marker === 0 || marker === 1 || (marker >= 0xd0 && marker <= SOI)) {
      at += 2;
      continue;
    }
    if (marker === EOI) return;
    const length = (bytes[at + 2] << 8) | bytes[at + 3];
    yield { marker, start: at + 4, end: at + 2 + length };
    at += 2 + length;
  }
}
