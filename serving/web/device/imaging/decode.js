// Bytes to pixels: serving/imaging/decode.py. A browser's own decoder is asked for WebP only: of the other formats it
// gives no reduced scale and no more than eight bits, and it turns pictures and converts colours as it likes.

import { DECODE, LIMITS } from "../constants.js";
import { ImageError, Unidentified } from "../errors.js";
import { clamp, roundEven } from "../numbers.js";
import * as bmp from "./codecs/bmp.js";
import { Jpeg } from "./codecs/jpeg.js";
import { readHeader as readJpegHeader } from "./codecs/jpeg_header.js";
import * as png from "./codecs/png.js";
import * as webp from "./codecs/webp.js";
import { greyOf } from "./colour.js";
import * as deepColour from "./deep_colour.js";
import { isDicom } from "./dicom/prefix.js";
import { formatOf, refusal } from "./formats.js";
import { eightBitLevels, inEightBits } from "./lattice.js";
import { resizeArea } from "./opencv/resize.js";
import { pixels } from "./pixels.js";

/**
 * @typedef {{ format: string, width: number, height: number, orientation: number, frames: number, hasColours: boolean }}
 *   Header what a file says about itself; width and height are those of the upright image. That of a DICOM object has its
 *   sopInstanceUid, sopClassUid, modality, bodyPart and forProcessing as well.
 * @typedef {{ pixels: import("./pixels.js").Pixels, values: import("./pixels.js").Values | null, header: Header,
 *   truncated: boolean }} Decoded grey, upright pixels, and the values behind them where the file has more than eight bits
 */

const READERS = { JPEG: readJpeg, PNG: readPng, WEBP: readWebp, BMP: readBmp };
const SWAPS_SIDES = [5, 6, 7, 8];

/**
 * A file's header, checked, and how to decode it: `decode(atLeast)` gives { pixels, values, header, truncated },
 * `colours()` a small picture of three planes, null for a file without colours. ImageError for what is not read.
 */
export async function decoderOf(content) {
  if (content.length === 0) throw new ImageError("empty", "the file is empty; export or copy it again");
  const format = isDicom(content) ? "DICOM" : formatOf(content);
  if (!format) throw new ImageError("unsupported_format", refusal(content));
  const found = format === "DICOM" ? await openDicom(content) : opened(format, content);
  const { stored, orientation } = found;
  const [width, height] = SWAPS_SIDES.includes(orientation) ? [stored.height, stored.width] : [stored.width, stored.height];
  const header = { format, width, height, orientation, frames: found.frames ?? 1, hasColours: found.hasColours, ...found.more };
  if (width < 1 || height < 1) throw new ImageError("undecodable", `the image is ${width} x ${height} pixels`);
  if (width * height * header.frames > LIMITS.MAX_PIXELS) {
    const size = `${width} x ${height}${header.frames > 1 ? ` x ${header.frames}` : ""}`;
    throw new ImageError("too_many_pixels", `the image has ${size} pixels, more than ${LIMITS.MAX_PIXELS}; save it smaller`);
  }
  const decode = async (atLeast) => {
    const { grey, values = null, truncated = false } = await attempted(() => found.decode(atLeast));
    const same = values && eightBitLevels(values);
    if (same) return { pixels: upright(same, orientation), values: null, header, truncated };
    return { pixels: upright(grey, orientation), values: values && upright(values, orientation), header, truncated };
  };
  const colours = async () => (header.hasColours ? bounded(await attempted(found.colours)) : null);
  return { header, decode, colours };
}

function opened(format, content) {
  try {
    return READERS[format](content);
  } catch (error) {
    if (error instanceof Unidentified) throw new ImageError("unsupported_format", refusal(content));
    throw new ImageError("undecodable", `the image's header is broken (${error.message})`);
  }
}

// What reads DICOM objects is fetched with the first of them, so that it costs nothing to those who have none.
async function openDicom(content) {
  let objects;
  try {
    objects = await import("./dicom/objects.js");
  } catch (error) {
    throw new Error(`what reads DICOM objects cannot be loaded (${error.message}); open one while there is a network`);
  }
  return objects.open(content);
}

async function attempted(action) {
  try {
    return await action();
  } catch (error) {
    if (error instanceof ImageError) throw error;
    throw new ImageError("undecodable", `the image cannot be decoded (${error.message})`);
  }
}

function readJpeg(content) {
  const { frame, exif } = readJpegHeader(content);
  let read = null;
  const whole = () => { read ??= new Jpeg(content); return read; };
  const factorFor = (atLeast) => [8, 4, 2].find((factor) => Math.max(frame.width, frame.height) >= factor * atLeast) ?? 1;
  return {
    stored: frame,
    orientation: orientationOf(exif),
    hasColours: frame.components.length > 1,
    colours: () => whole().colours(whole().cutShort ? 1 : factorFor(DECODE.PREVIEW_AT_LEAST)),
    decode: (atLeast) => {
      const file = whole();
      // As for the service, a file that is cut short is decoded as far as it goes, at its full scale.
      if (!file.cutShort && !lacksEnd(content)) return { grey: file.grey(factorFor(atLeast)) };
      return { grey: file.grey(1), truncated: true };
    },
  };
}

function lacksEnd(content) {
  const last = (second) => {
    for (let at = content.length - 2; at >= 0; at -= 1) if (content[at] === 0xff && content[at + 1] === second) return at;
    return -1;
  };
  const end = last(0xd9);
  return end !== content.length - 2 && end <= last(0xda);
}

function readPng(content) {
  const header = png.readHeader(content);
  const { width, height, depth, kind, palette, transparent } = header;
  let samples = null;
  const read = () => { samples ??= png.readSamples(header); return samples; };
  const truncated = !endsWithMark(content);
  const many = width * height;
  const planes = async () => {
    const { data, channels } = await read();
    const found = { width, height, red: new Uint8Array(many), green: new Uint8Array(many), blue: new Uint8Array(many) };
    for (let at = 0; at < many; at += 1) {
      const from = at * channels;
      let alpha = 255;
      let colour;
      if (kind === 3) {
        const index = data[from];
        colour = [0, 1, 2].map((part) => palette?.[3 * index + part] ?? 0);
        alpha = transparent?.[index] ?? 255;
      } else {
        colour = channels < 3 ? Array(3).fill(data[from]) : [0, 1, 2].map((part) => data[from + part]);
        if (kind >= 4) alpha = data[from + channels - 1];
        else if (transparent && isTransparent(data, from, channels, transparent)) alpha = 0;
      }
      [found.red[at], found.green[at], found.blue[at]] = alpha === 255 ? colour : colour.map((part) => Math.round((part * alpha) / 255));
    }
    return found;
  };
  const deep = async () => {
    const found = await read();
    return deepColour.samplesOf(header, found, (at) => transparent && isTransparent(found.data, at, found.channels, transparent));
  };
  return {
    stored: header,
    orientation: orientationOf(header.exif),
    frames: header.frames,
    hasColours: [2, 3, 6].includes(kind),
    colours: async () => (depth === 16 ? deepColour.shown(await deep()) : planes()),
    decode: async () => {
      const { data, rows } = await read();
      const cutShort = truncated || rows < height;
      if (depth === 16) {
        const { values, grey } = deepColour.greyOf(await deep());
        const same = grey?.data ?? inEightBits(values.data);
        if (same) return { grey: pixels(width, height, same), truncated: cutShort };
        return { grey: stretched(values), values, truncated: cutShort };
      }
      if (kind === 0 && !transparent) {
        const scale = 255 / (2 ** depth - 1);
        return { grey: pixels(width, height, depth === 8 ? data : data.map((value) => value * scale)), truncated: cutShort };
      }
      const opencv = kind === 2 && !transparent && !cutShort;
      return { grey: greyOf(await planes(), opencv), truncated: cutShort };
    },
  };
}

function isTransparent(data, from, channels, transparent) {
  for (let part = 0; part < channels; part += 1) {
    if (data[from + part] !== ((transparent[2 * part] << 8) | transparent[2 * part + 1])) return false;
  }
  return true;
}

function endsWithMark(content) {
  const tail = content.subarray(-4096);
  for (let at = tail.length - 4; at >= 0; at -= 1) {
    if (tail[at] === 0x49 && tail[at + 1] === 0x45 && tail[at + 2] === 0x4e && tail[at + 3] === 0x44) return true;
  }
  return false;
}

function readWebp(content) {
  const header = webp.readHeader(content);
  let read = null;
  const colours = () => { read ??= webp.readColours(content); return read; };
  return {
    stored: header, orientation: orientationOf(header.exif), frames: header.frames, hasColours: true, colours,
    decode: async () => ({ grey: greyOf(await colours(), false) }),
  };
}

function readBmp(content) {
  const header = bmp.readHeader(content);
  let read = null;
  const colours = () => { read ??= bmp.readColours(content, header); return read; };
  const grey = bmp.isGrey(header);
  return {
    stored: header, orientation: 1, hasColours: !grey, colours,
    decode: () => {
      const planes = colours();
      const shown = grey ? pixels(header.width, header.height, planes.red) : greyOf(planes, false);
      return { grey: shown, truncated: planes.rows < header.height };
    },
  };
}

/** Map values linearly to 0..255, the smallest to 0 and the largest to 255; a flat image to 0. */
export function stretched({ width, height, data }) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of data) {
    if (!Number.isFinite(value)) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  const found = pixels(width, height);
  if (!(high > low)) return found;
  const scale = Math.fround(255 / (high - low));
  data.forEach((value, at) => {
    const finite = Number.isNaN(value) ? low : clamp(value, low, high);
    found.data[at] = roundEven(Math.fround(Math.fround(finite - low) * scale));
  });
  return found;
}

// Reduced to a few pixels a side, so that statistics take little time.
function bounded(planes) {
  const factor = DECODE.MAX_PREVIEW / Math.max(planes.width, planes.height);
  if (factor >= 1) return planes;
  const [width, height] = [planes.width, planes.height].map((side) => Math.max(1, roundEven(side * factor)));
  const reduced = (data) => resizeArea({ width: planes.width, height: planes.height, data }, width, height).data;
  return { width, height, red: reduced(planes.red), green: reduced(planes.green), blue: reduced(planes.blue) };
}

// The number of Exif 2.3, tag 274; 1 where it is missing or none of the eight.
function orientationOf(exif) {
  if (!exif || exif.length < 8) return 1;
  const start = String.fromCharCode(...exif.subarray(0, 4)) === "Exif" ? 6 : 0;
  const view = new DataView(exif.buffer, exif.byteOffset + start, exif.byteLength - start);
  const little = view.getUint16(0) === 0x4949;
  try {
    const first = view.getUint32(4, little);
    for (let entry = 0; entry < view.getUint16(first, little); entry += 1) {
      const at = first + 2 + 12 * entry;
      if (view.getUint16(at, little) !== DECODE.ORIENTATION_TAG) continue;
      const value = view.getUint16(at + 8, little);
      return value >= 1 && value <= 8 ? value : 1;
    }
  } catch {
    // A directory that leads out of the segment says nothing.
  }
  return 1;
}

// Undoes the orientation in which pixels are stored.
function upright(picture, orientation) {
  if (orientation === 1) return picture;
  const { width, height, data } = picture;
  const swaps = SWAPS_SIDES.includes(orientation);
  const [wide, tall] = swaps ? [height, width] : [width, height];
  const found = new data.constructor(data.length);
  const [downwards, across] = [[3, 4, 7, 8].includes(orientation), [2, 3, 6, 7].includes(orientation)];
  for (let y = 0; y < tall; y += 1) {
    for (let x = 0; x < wide; x += 1) {
      const [row, column] = [downwards ? tall - 1 - y : y, across ? wide - 1 - x : x];
      found[y * wide + x] = swaps ? data[column * width + row] : data[row * width + column];
    }
  }
  return { width: wide, height: tall, data: found };
}

/** Refuse a truncated picture of which more than half is missing; missing rows are the last ones, of one shade. */
export function checkComplete({ pixels: shown, header, truncated }) {
  if (!truncated) return;
  // Turned by a further inverse the picture lies as it is stored.
  const inverse = { 6: 8, 8: 6 }[header.orientation] ?? header.orientation;
  const stored = upright(shown, inverse);
  const { width, height, data } = stored;
  const last = data[(height - 1) * width];
  let there = height;
  const flat = (row) => data.subarray(row * width, (row + 1) * width).every((value) => value === last);
  while (there > 0 && flat(there - 1)) there -= 1;
  if (there < DECODE.LEAST_ROWS * height) {
    const share = Math.round((100 * there) / height);
    throw new ImageError("undecodable", `the file is cut short: ${share}% of the image is there; send it again whole`);
  }
}
