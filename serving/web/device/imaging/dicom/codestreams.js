// Headers of compressed frames, checked before a decoder sees the stream: serving/imaging/dicom/codestreams.py.

import { CODESTREAMS, SYNTAXES, UIDS } from "../../constants.js";
import { ImageError } from "../../errors.js";
import { unsupported } from "./syntaxes.js";

const EOI = Uint8Array.of(0xff, 0xd9);

/** The error for pixels that do not match the size their object declares. */
export function misfit(rows, columns) {
  return new ImageError("undecodable", `the DICOM pixels do not fit Rows x Columns, ${rows} x ${columns}`);
}

/**
 * The coded image of a frame, checked to be `rows` x `columns`; a stream without its end marker gets one. Throws Error
 * for a broken stream, and ImageError for another size or for a JPEG of other than 8 bits.
 */
export function codestream(frame, syntax, rows, columns, samples = 1) {
  if (syntax === UIDS.JPEG2000Lossless || syntax === UIDS.JPEG2000) return jpeg2000(frame, rows, columns, samples);
  for (const { marker, payload } of segments(frame)) {
    if (marker !== 0xf7 && !(marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker))) continue;
    const precision = checkFrame(payload, rows, columns, samples);
    if (SYNTAXES.DECODERS[syntax] === "pyjpegls") return joined(frame, EOI); // without it CharLS may search for long
    if (precision !== 8) throw unsupported(syntax, `is supported with 8 bits, not with ${precision}`);
    return ends(frame) ? frame : joined(frame, EOI);
  }
  throw new Error("the stream has no frame header");
}

function jpeg2000(frame, rows, columns, samples) {
  const start = indexOf(frame, [0xff, 0x4f, 0xff, 0x51], 0, 4096); // boxes of JP2 may come before
  if (start < 0 || frame.length < start + 45) throw new Error("no JPEG 2000 codestream");
  const view = viewOf(frame);
  const [right, bottom, left, top] = [8, 12, 16, 20].map((at) => view.getUint32(start + at));
  const components = view.getUint16(start + 40);
  const same = bottom - top === rows && right - left === columns && components === samples;
  if (!same || frame[start + 43] !== 1 || frame[start + 44] !== 1) throw misfit(rows, columns);
  return wholeJpeg2000(frame.subarray(start));
}

/** Whether a JPEG or JPEG 2000 stream has its end marker; padding may follow it. */
export function ends(frame) {
  const begun = frame[0] === 0xff && frame[1] === 0xd8 ? 0xda : 0x93;
  return lastMarker(frame, 0xd9) > lastMarker(frame, begun);
}

function lastMarker(frame, code) {
  for (let at = frame.length - 2; at >= 0; at -= 1) if (frame[at] === 0xff && frame[at + 1] === code) return at;
  return -1;
}

// The stream with its end marker and the last bytes of its last tile, if these few are all that is missing.
function wholeJpeg2000(stream) {
  if (ends(stream)) return stream;
  const tile = [0xff, 0x90, 0x00, 0x0a];
  const view = viewOf(stream);
  let at = indexOf(stream, tile, 0);
  while (at >= 0 && stream.length >= at + 12) {
    const length = view.getUint32(at + 6);
    const missing = at + length - stream.length;
    if (!length || missing >= 0) {
      if (missing > CODESTREAMS.FEW * stream.length) throw new Error("the JPEG 2000 stream is cut short; send the object again whole");
      return joined(stream, new Uint8Array(Math.max(0, missing)), EOI);
    }
    at += length;
    if (tile.some((byte, index) => stream[at + index] !== byte)) return joined(stream.subarray(0, at), EOI);
  }
  throw new Error("the stream has no tile");
}

/** Marker, payload and end of each segment of a JPEG or JPEG-LS stream up to its scan. */
export function* segments(frame) {
  if (frame[0] !== 0xff || frame[1] !== 0xd8) throw new Error("no JPEG stream");
  let end = 2;
  for (let count = 0; count < CODESTREAMS.MAX_SEGMENTS; count += 1) {
    while (frame[end] === 0xff && frame[end + 1] === 0xff) end += 1; // fill bytes
    if (frame.length < end + 4) throw new Error("the stream ends before its scan");
    const [prefix, marker] = [frame[end], frame[end + 1]];
    const length = (frame[end + 2] << 8) | frame[end + 3];
    if (prefix !== 0xff || length < 2) throw new Error("the stream has a broken marker");
    const start = end + 4;
    end += 2 + length;
    yield { marker, payload: frame.subarray(start, end), end };
    if (marker === 0xda) return;
  }
  throw new Error("the stream has too many segments");
}

/** The bits per pixel that a frame header states; ImageError where it states another size. */
export function checkFrame(payload, rows, columns, samples = 1) {
  if (payload.length < 6) throw new Error("a short frame header");
  const view = viewOf(payload);
  if (view.getUint16(1) !== rows || view.getUint16(3) !== columns || payload[5] !== samples) throw misfit(rows, columns);
  return payload[0];
}

function indexOf(bytes, wanted, from, to = bytes.length) {
  const last = Math.min(to, bytes.length) - wanted.length;
  for (let at = from; at <= last; at += 1) if (wanted.every((byte, index) => bytes[at + index] === byte)) return at;
  return -1;
}

/** Byte strings one after the other. */
export function joined(...parts) {
  const found = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  parts.reduce((at, part) => { found.set(part, at); return at + part.length; }, 0);
  return found;
}

/** Numbers of several bytes in a byte string. */
export function viewOf(bytes) {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
