// A data set and its pixel data to stored values, in any transfer syntax that is read:
// serving/imaging/dicom/stored.py.

import { STORED, SYNTAXES, UIDS } from "../../constants.js";
import { Jpeg } from "../codecs/jpeg.js";
import { jpeg2000, jpegLs } from "./codecs.js";
import { codestream, ends, misfit, segments, viewOf } from "./codestreams.js";
import { frameOf, syntaxOf } from "./fragments.js";
import * as lossless from "./lossless.js";
import * as rle from "./rle.js";
import { isEncapsulated, unsupported } from "./syntaxes.js";

const JPEG = [UIDS.JPEGBaseline8Bit, UIDS.JPEGExtended12Bit];
const [EXTENDED, EXTENDED_BITS] = [0xc1, 12];

/** Samples of a pixel, by its photometric interpretation: 1 or 3. */
export function samplesOf(photometric) {
  return STORED.COLOURS.includes(photometric) && photometric !== STORED.PALETTE ? 3 : 1;
}

/**
 * The stored values as far as they go: { values, rows, truncated, dataset }, `values` of the type that Bits Allocated and
 * Pixel Representation name, or { red, green, blue, ... } of an object with three samples a pixel. `dataset` says what
 * display.js asks. ImageError for pixels of another size or a codec that is not read, Error for broken ones.
 */
export async function storedValues({ elements, syntax: stated, photometric, rows, columns }, element) {
  const syntax = syntaxOf(stated, element);
  const dataset = {
    elements, photometric, syntax, rows, columns, samples: samplesOf(photometric),
    bits: elements.number("BitsAllocated"), stored: elements.number("BitsStored"), high: elements.number("HighBit"),
    signed: elements.number("PixelRepresentation") === 1, planar: elements.number("PlanarConfiguration"),
    little: syntax !== UIDS.ExplicitVRBigEndian,
  };
  return isEncapsulated(syntax) ? coded(dataset, frameOf(element)) : native(dataset, element);
}

// What pydicom asks of an object before it gives its pixels.
function checkDescribed({ elements, bits, stored, samples, planar }) {
  if (stored < 1 || stored > bits) throw new Error(`Bits Stored of ${stored} with Bits Allocated of ${bits}`);
  if (![0, 1].includes(elements.number("PixelRepresentation"))) throw new Error("no Pixel Representation");
  if (elements.number("SamplesPerPixel") !== samples) throw new Error("another number of Samples per Pixel");
  if (samples > 1 && ![0, 1].includes(planar)) throw new Error("no Planar Configuration");
}

function native(dataset, { value, length, vr }) {
  const { rows, columns, samples, bits, photometric, planar, syntax } = dataset;
  const row = (columns * (photometric === "YBR_FULL_422" ? 16 : samples * bits)) >> 3;
  const excess = value.subarray(rows * row);
  if (excess.length >= Math.max(row, 2) && excess.some((byte) => byte !== excess[0])) throw misfit(rows, columns);
  const there = Math.min(rows, Math.floor(value.length / Math.max(row, 1)));
  const cutShort = length !== null && value.length < length;
  // Rows that are missing are no sign of wrong Columns; pixels that fill all Rows at another width are one.
  const inPart = there < rows && !cutShort && value.length % row;
  if (!there || (inPart && isNarrower(value, dataset))) throw misfit(rows, columns);
  if (there < rows && samples > 1 && planar === 1) throw new Error("the object is cut short; send it again whole");
  checkDescribed(dataset);
  let content = new Uint8Array(rows * row + ((rows * row) & 1));
  content.set(value.subarray(0, content.length));
  if (syntax === UIDS.ExplicitVRBigEndian && bits === 8 && vr === "OW") content = swapped(content);
  const truncated = there < rows;
  if (samples === 1) return { values: cells(content, dataset, true), rows: there, truncated, dataset };
  return { ...coloursOf(content, dataset), rows: there, truncated, dataset };
}

// Whether pixels that are too few fill all Rows, of which each has fewer than Columns. Below each other lie pixels that
// resemble each other, so that the right width is that with the smaller steps.
function isNarrower(content, { rows, columns, samples, bits, little }) {
  const cell = bits >> 3;
  const width = Math.floor(content.length / (rows * samples * cell));
  if (content.length - width * rows * samples * cell > 1 || !width) return false;
  const view = viewOf(content);
  const many = Math.floor(content.length / cell);
  const at = (place) => (cell === 1 ? content[place] : view.getUint16(2 * place, little));
  const steps = (apart) => {
    let sum = 0;
    for (let place = apart; place < many; place += 1) sum += Math.abs(at(place) - at(place - apart));
    return sum / (many - apart);
  };
  return steps(width * samples) <= steps(columns * samples);
}

function swapped(bytes) {
  return bytes.map((_, at) => bytes[at ^ 1]);
}

// Bytes to values of the object's own type, without the bits around those that are stored (PS3.5, 8.1.1).
function cells(content, { rows, columns, bits, little, ...facts }, shifts) {
  const many = rows * columns;
  let found = content.subarray(0, many);
  if (bits === 16) {
    const [first, second] = little ? [0, 1] : [1, 0];
    found = new Uint16Array(many);
    for (let at = 0; at < many; at += 1) found[at] = content[2 * at + first] | (content[2 * at + second] << 8);
  }
  return withoutUnused(found, { bits, ...facts }, shifts);
}

// Of unsigned cells: the stored bits, with their sign.
function withoutUnused(found, { bits, stored, high, signed }, shifts) {
  const low = shifts && high !== null && high >= stored && high < bits ? high + 1 - stored : 0;
  const values = typed(found, bits, signed);
  const up = bits - stored - low;
  return up || low ? shifted(values, up, up + low) : values;
}

function typed(values, bits, signed) {
  const Kind = bits === 8 ? (signed ? Int8Array : Uint8Array) : signed ? Int16Array : Uint16Array;
  return new Kind(values);
}

// Each value moved up and down again, in place: bits that leave its type on the way are gone.
function shifted(values, up, down) {
  for (let at = 0; at < values.length; at += 1) {
    values[at] <<= up;
    values[at] >>= down;
  }
  return values;
}

function coloursOf(content, { rows, columns, photometric, planar }) {
  const many = rows * columns;
  const planes = [0, 1, 2].map(() => new Uint8Array(many));
  if (photometric === "YBR_FULL_422") {
    for (let at = 0; at < many; at += 1) {
      const pair = 4 * (at >> 1);
      planes[0][at] = content[pair + (at & 1)];
      planes[1][at] = content[pair + 2];
      planes[2][at] = content[pair + 3];
    }
    return rgbOf(planes, "YBR_FULL");
  }
  planes.forEach((plane, part) => plane.forEach((_, at) => {
    plane[at] = planar === 1 ? content[part * many + at] : content[3 * at + part];
  }));
  return rgbOf(planes, photometric);
}

// Brightness and colours become red, green and blue (PS3.3, C.7.6.3.1.2); three planes of the rest are those already.
function rgbOf([first, second, third], photometric) {
  if (!photometric.startsWith("YBR_FULL")) return { red: first, green: second, blue: third };
  const [red, green, blue] = [0, 1, 2].map(() => new Uint8Array(first.length));
  const rounded = (value) => Math.min(255, Math.max(0, Math.floor(Math.fround(value + 0.5))));
  first.forEach((y, at) => {
    const [cb, cr] = [second[at] - 128, third[at] - 128];
    red[at] = rounded(y + Math.fround(1.402) * cr);
    green[at] = rounded(y - Math.fround((0.114 * 1.772) / 0.587) * cb - Math.fround((0.299 * 1.402) / 0.587) * cr);
    blue[at] = rounded(y + Math.fround(1.772) * cb);
  });
  return { red, green, blue };
}

async function coded(dataset, { frame, cutShort }) {
  const { rows } = dataset;
  const found = await decodedFrame(dataset, frame);
  if (!found.rows) throw new Error("the object is cut short; send it again whole");
  return { ...found, truncated: found.truncated || cutShort || found.rows < rows, dataset };
}

async function decodedFrame(dataset, frame) {
  const { syntax, rows, columns, samples } = dataset;
  const plugin = SYNTAXES.DECODERS[syntax];
  if (syntax === UIDS.JPEGExtended12Bit && precisionOf(frame) === EXTENDED_BITS) {
    throw unsupported(syntax, "with 12 bits is not read here", "open it with the service, or send it uncompressed");
  }
  if (plugin === "rle" || plugin === "lossless") return byOwnDecoder(dataset, plugin, frame);
  const stream = codestream(frame, syntax, rows, columns, samples);
  if (JPEG.includes(syntax)) return byJpeg(dataset, stream, ends(frame));
  checkDescribed(dataset);
  if (plugin === "pyjpegls") return { ...fromJpegLs(await jpegLs(stream), dataset), rows, truncated: false };
  return { ...fromJpeg2000(await jpeg2000(stream), dataset), rows, truncated: !ends(frame) };
}

function precisionOf(frame) {
  for (const { marker, payload } of segments(frame)) if (marker === EXTENDED && payload.length) return payload[0];
  return 0;
}

function byOwnDecoder(dataset, plugin, frame) {
  const { rows, columns, samples, bits, syntax, photometric } = dataset;
  if (samples > 1) {
    if (plugin !== "rle") throw unsupported(syntax, "is supported for grey pixels only");
    const planes = rle.decodeColours(frame, rows, columns);
    checkDescribed({ ...dataset, planar: 0 });
    return { ...rgbOf(planes, photometric), rows, truncated: false };
  }
  const found = (plugin === "rle" ? rle : lossless).decode(frame, rows, columns, bits >> 3);
  checkDescribed(dataset);
  const shifts = plugin === "rle"; // the other codec codes values, not cells
  return { values: withoutUnused(found.values, dataset, shifts), rows: found.rows, truncated: plugin !== "rle" && !ends(frame) };
}

// A JPEG of 8 bits, whatever was allocated; of one cut short, the rows before those of the last shade.
function byJpeg(dataset, stream, whole) {
  const { samples, rows, columns } = dataset;
  const described = { ...dataset, bits: 8, stored: Math.min(8, dataset.stored) };
  checkDescribed(described);
  const file = new Jpeg(stream);
  Object.assign(dataset, { bits: 8, stored: described.stored });
  if (samples === 1) {
    const values = withoutUnused(file.grey(1).data, described, false);
    return { values, rows: whole ? rows : rowsDecoded(values, rows, columns), truncated: !whole };
  }
  const photometric = file.isRgb ? "RGB" : file.jfif ? "YBR_FULL" : dataset.photometric;
  const { red, green, blue } = file.adobe === null ? rgbOf(file.planes(1).planes, photometric) : file.colours(1);
  const there = whole ? rows : Math.max(...[red, green, blue].map((plane) => rowsDecoded(plane, rows, columns)));
  return { red, green, blue, rows: there, truncated: !whole };
}

function rowsDecoded(values, rows, columns) {
  const last = values[values.length - 1];
  let there = rows;
  while (there > 0 && values.subarray((there - 1) * columns, there * columns).every((value) => value === last)) there -= 1;
  return there || rows;
}

function fromJpegLs({ values, precision, planar }, dataset) {
  const { samples, bits, stored, signed, photometric } = dataset;
  if (samples > 1) return coloursOf(values, { ...dataset, planar: planar ? 1 : 0, photometric });
  if (precision > 8 && bits === 8) throw new Error(`${precision} bits do not fit in 8`);
  // JPEG-LS does not tell signed values: the object does.
  const found = typed(values, bits, signed);
  const up = bits - (signed ? precision : stored);
  return { values: up ? shifted(found, up, up) : found };
}

function fromJpeg2000({ values, precision, signed: streamSigned }, dataset) {
  const { samples, bits, signed, photometric } = dataset;
  if (samples > 1) {
    if (precision > 8) throw new Error(`${precision} bits a sample of colours`);
    const kind = ["YBR_ICT", "YBR_RCT"].includes(photometric) ? "RGB" : photometric;
    return coloursOf(values, { ...dataset, planar: 0, photometric: kind });
  }
  if (precision > 8 && bits === 8) throw new Error(`${precision} bits do not fit in 8`);
  const found = typed(streamSigned && signed ? Int32Array.from(values, (value) => value - 2 ** (precision - 1)) : values, bits, signed);
  const up = signed && !streamSigned ? bits - precision : 0; // the object says that there are signs, the stream does not
  return { values: up ? shifted(found, up, up) : found };
}
