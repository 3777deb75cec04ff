// What a JPEG (ITU-T T.81) says of itself: its segments, and the frame among them.

export const [EOI, SOS, DQT, DHT, DRI, APP14] = [0xd9, 0xda, 0xdb, 0xc4, 0xdd, 0xee];
const [SOI, APP1] = [0xd8, 0xe1];

/** What a JPEG says of itself before a coefficient is read. Throws Error for a broken one. */
export function readHeader(bytes) {
  const found = { frame: null, exif: null, adobe: null, jfif: false };
  for (const { marker, start, end } of segments(bytes)) {
    if (marker === SOS) break;
    const text = (length) => String.fromCharCode(...bytes.subarray(start, start + length));
    if (marker === 0xe0 && text(4) === "JFIF") found.jfif = true;
    if (marker === APP1 && text(6) === "Exif\0\0" && !found.exif) found.exif = bytes.subarray(start + 6, end);
    if (marker === APP14 && text(5) === "Adobe") found.adobe = bytes[start + 11];
    if (isFrame(marker)) {
      found.frame = readFrame(bytes, marker, start);
      break;
    }
  }
  // What stands behind the frame may still say how colours are stored.
  if (!found.frame) throw new Error("no frame header");
  return found;
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
