// Bytes to a data set, bounded in time and memory: serving/imaging/dicom/dataset.py, and as much of pydicom's parser as
// an image needs.

import { BARE, DATASET, TAGS, UIDS } from "../../constants.js";
import { ImageError } from "../../errors.js";
import { Elements } from "./elements.js";
import { startOf, text } from "./prefix.js";

const [ITEM, SEQUENCE_END, ITEM_END] = [0xfffee000, 0xfffee0dd, 0xfffee00d];
const PIECE = 1 << 16; // bytes that are unpacked at a time
const DICTIONARY = new Map(Object.values(TAGS));

/** The file ends within a value: what was read of the data set counts for nothing. */
class EndOfFile extends Error {}

/**
 * @typedef {{ value: Uint8Array, length: number | null, vr: string }} PixelElement
 *   Pixel Data as it lies in the file; `length` is what the element states, null where it is undefined
 */

/**
 * The data set up to its pixel data, and these: { elements, syntax, pixels }. Throws Error for a broken one.
 *
 * `pixelBytes`, their expected size, bounds what is inflated; null where they are not wanted.
 */
export async function read(content, pixelBytes) {
  const start = startOf(content);
  const whole = start === null || start === 0 || text(content, start - 4, start) === BARE.PREFIX ? content : content.subarray(start);
  const source = new Source(whole);
  if (start !== null && whole === content) source.at = start;
  const meta = readMeta(source);
  if (source.at < whole.length && groupAt(source) === 0) readElements(source, true, true, (tag) => tag >= 0x10000);
  const stated = meta.text("TransferSyntaxUID");
  if (stated === UIDS.DeflatedExplicitVRLittleEndian) return { ...await inflated(whole.subarray(source.at), pixelBytes), syntax: stated };
  const { implicit, little } = encodingOf(source, stated);
  const end = new End(source);
  const elements = new Elements(readElements(source, implicit, little, end.stops), little);
  const found = implicit ? "ImplicitVRLittleEndian" : little ? "ExplicitVRLittleEndian" : "ExplicitVRBigEndian";
  return { elements, syntax: isUid(stated ?? "") ? stated : UIDS[found], pixels: end.pixels(whole) };
}

/** Whether a text is a valid UID (PS3.5, 9.1). */
export function isUid(value) {
  return value.length <= 64 && /^(0|[1-9]\d*)(\.(0|[1-9]\d*))*$/.test(value);
}

// File Meta Information, always in explicit VR, but for writers who do not know it.
function readMeta(source) {
  const start = source.at;
  const other = (tag) => tag < 0x20000 || tag > 0x2ffff;
  let found = readElements(source, false, true, other);
  const [first] = found.values();
  if (first && first.vr !== null && !BARE.VRS.includes(first.vr)) {
    source.at = start;
    found = readElements(source, true, true, other);
  }
  return new Elements(found, true);
}

function groupAt(source) {
  return source.view.byteLength - source.at < 2 ? -1 : source.view.getUint16(source.at, true);
}

// Where no transfer syntax is stated, the first element shows whether it has a VR, and in which order its bytes are.
function encodingOf(source, stated) {
  if (source.at >= source.bytes.length) return { implicit: true, little: true };
  if (stated === null) {
    if (source.bytes.length < source.at + 6) throw new Error("the file ends early");
    if (!BARE.VRS.includes(text(source.bytes, source.at + 4, source.at + 6))) return { implicit: true, little: true };
    return { implicit: false, little: groupAt(source) < 1024 };
  }
  return { implicit: stated === UIDS.ImplicitVRLittleEndian, little: stated !== UIDS.ExplicitVRBigEndian };
}

// A deflated data set (PS3.5, A.5); no more than a header and the pixels is inflated.
async function inflated(packed, pixelBytes) {
  const limit = DATASET.MAX_HEADER + (pixelBytes ?? 0);
  const { plain, complete } = await inflate(packed, limit);
  const source = new Source(plain);
  const end = new End(source);
  const elements = new Elements(readElements(source, false, true, end.stops), true);
  const pixels = pixelBytes === null ? null : end.pixels(plain);
  const tooLong = !complete && plain.length >= limit;
  if (tooLong && (!end.reached || (pixels && (pixels.length === null || pixels.value.length < pixels.length)))) {
    throw new ImageError("undecodable", "the DICOM object is broken (it inflates to more than a header and its image)");
  }
  if (!complete && !end.reached) throw new ImageError("undecodable", "the DICOM object is broken (it ends early)");
  return { elements, pixels };
}

// At most so many bytes of what is packed, and whether that is all. Of a stream that is cut short the beginning counts, so
// it is read before the end is announced: an error takes away what was not read yet.
async function inflate(packed, limit) {
  const { readable, writable } = new DecompressionStream("deflate-raw");
  const reader = readable.getReader();
  const writer = writable.getWriter();
  const plain = new Uint8Array(limit);
  let [length, complete] = [0, false];
  const collect = async () => {
    while (length < limit) {
      const { done, value } = await reader.read();
      if (done) return;
      plain.set(value.subarray(0, limit - length), length);
      length += Math.min(value.length, limit - length);
    }
    await reader.cancel();
  };
  const collecting = collect().catch(() => {});
  try {
    for (let at = 0; at < packed.length; at += PIECE) await writer.write(packed.subarray(at, at + PIECE));
    await new Promise((resolve) => { setTimeout(resolve); });
    await writer.close();
    complete = length < limit;
  } catch (error) {
    complete = /trailing|junk/i.test(error?.message ?? ""); // what follows the stream is no fault
  }
  await collecting;
  return { plain: plain.subarray(0, length), complete };
}

class Source {
  constructor(bytes) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.at = 0;
    this.reads = 0;
  }

  // As many of the next bytes as there are.
  read(length) {
    this.reads += 1;
    if (this.reads > DATASET.MAX_READS) {
      throw new ImageError("undecodable", "the DICOM object is broken (it has too many elements)");
    }
    const found = this.bytes.subarray(this.at, this.at + length);
    this.at += found.length;
    return found;
  }
}

// Stops the parser before the pixel data, whose value is not for it to read.
class End {
  constructor(source) {
    Object.assign(this, { source, reached: false, found: false, length: 0, at: 0, vr: "" });
    this.stops = (tag, vr, length) => {
      this.reached = tag >= DATASET.FIRST_PIXEL_DATA;
      this.found = tag === DATASET.PIXEL_DATA;
      Object.assign(this, { length, at: source.at, vr: vr ?? "" });
      return this.reached;
    };
  }

  pixels(bytes) {
    if (!this.found) return null;
    if (this.length === DATASET.UNDEFINED) return { value: bytes.subarray(this.at), length: null, vr: this.vr };
    return { value: bytes.subarray(this.at, this.at + this.length), length: this.length, vr: this.vr };
  }
}

// Elements by their tags: { vr, value, little, implicit }, or { items } of a sequence of undefined length.
function readElements(source, assumed, little, stops = null, length = null, nested = false) {
  const start = source.at;
  const implicit = isImplicit(source, assumed, little, stops, nested);
  const found = new Map();
  try {
    while (length === null || source.at - start < length) {
      const element = readElement(source, implicit, little, stops);
      if (element === null) break;
      found.set(element.tag, element);
    }
  } catch (error) {
    if (!(error instanceof EndOfFile)) throw error;
    if (length === null) return new Map();
  }
  return found;
}

// A writer may state one encoding and use the other: capital letters where a VR would be say so.
function isImplicit(source, assumed, little, stops, nested) {
  if (nested && assumed) return true;
  const [first, second] = source.bytes.subarray(source.at + 4, source.at + 6);
  if (second === undefined) return assumed;
  const found = !(first > 0x40 && first < 0x5b && second > 0x40 && second < 0x5b);
  if (found !== assumed) stops?.(tagAt(source, source.at, little), null, 0);
  return found;
}

function tagAt({ view }, at, little) {
  return view.getUint16(at, little) * 65536 + view.getUint16(at + 2, little);
}

// The next element; null at the end, and where `stops` says so.
function readElement(source, implicit, little, stops) {
  const begin = source.at;
  if (source.read(8).length < 8) return null;
  const tag = tagAt(source, begin, little);
  let length = source.view.getUint32(begin + 4, little);
  let vr = null;
  if (!implicit) {
    const letters = text(source.bytes, begin + 4, begin + 6);
    if (letters >= "AA" && letters <= "ZZ") {
      vr = letters;
      length = source.view.getUint16(begin + 6, little);
      if (BARE.LONG_VRS.includes(vr)) {
        if (source.read(4).length < 4) throw new Error("the file ends within a length");
        length = source.view.getUint32(begin + 8, little);
      }
    }
  }
  if (tag === ITEM_END) return null;
  if (stops?.(tag, vr, length)) {
    source.at = begin;
    return null;
  }
  if (length !== DATASET.UNDEFINED) {
    return { tag, vr, value: length > 0 ? source.read(length) : null, little, implicit };
  }
  return isSequence(source, tag, vr, little)
    ? { tag, vr: "SQ", items: readItems(source, implicit, little, null) }
    : { tag, vr, value: untilDelimiter(source, little), little, implicit };
}

function isSequence(source, tag, vr, little) {
  if (vr === "UN" || vr === "SQ") return true;
  if (vr !== null) return false;
  if (DICTIONARY.has(tag)) return DICTIONARY.get(tag) === "SQ";
  if (source.at + 4 > source.bytes.length) throw new Error("the file ends within a sequence");
  return tagAt(source, source.at, little) === ITEM;
}

function readItems(source, implicit, little, length) {
  const start = source.at;
  const items = [];
  while (length === null || source.at - start < length) {
    const at = source.at;
    if (source.read(8).length < 8) throw new Error("the file ends within a sequence");
    if (tagAt(source, at, little) === SEQUENCE_END) break;
    const size = source.view.getUint32(at + 4, little);
    const found = readElements(source, implicit, little, null, size === DATASET.UNDEFINED ? null : size, true);
    items.push(new Elements(found, little));
  }
  return items;
}

function untilDelimiter(source, little) {
  for (let at = source.at; at + 4 <= source.bytes.length; at += 1) {
    if (tagAt(source, at, little) !== SEQUENCE_END) continue;
    const value = source.bytes.subarray(source.at, at);
    source.at = Math.min(source.bytes.length, at + 8);
    return value;
  }
  throw new EndOfFile();
}

/** The items of a sequence whose length is stated: it is read when it is asked for. */
export function itemsOf({ items, value, implicit, little }) {
  return items ?? readItems(new Source(value ?? new Uint8Array(0)), implicit, little, value?.length ?? 0);
}
