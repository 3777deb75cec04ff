// What tells a DICOM file, or a data set without its preamble and prefix, from others: serving/imaging/dicom/prefix.py
// and bare.py. In the first part of a release; what reads objects is fetched when there is one.

import { BARE, PREFIX } from "../../constants.js";

/** Whether the bytes are a DICOM file, or a bare data set. */
export function isDicom(bytes) {
  return startOf(bytes) !== null;
}

/** Where the meta information or the data set begins; null where the bytes are no DICOM object. */
export function startOf(bytes) {
  const behind = PREFIX.PREAMBLE + BARE.PREFIX.length;
  return text(bytes, PREFIX.PREAMBLE, behind) === BARE.PREFIX ? behind : dataSetStart(bytes);
}

// At the very start, behind a prefix without its preamble, or behind a preamble without its prefix.
function dataSetStart(bytes) {
  if (BARE.PICTURES.some((start) => text(bytes, 0, start.length) === start)) return null;
  const prefixed = text(bytes, 0, BARE.PREFIX.length) === BARE.PREFIX;
  const places = prefixed ? [BARE.PREFIX.length] : [0, BARE.PREAMBLE];
  return places.find((place) => isDataSet(bytes.subarray(place, place + BARE.LOOKED_AT))) ?? null;
}

function isDataSet(head) {
  return [[true, true], [true, false], [false, true]].some(([little, explicit]) => holdsElements(head, little, explicit));
}

// Whether the bytes start with elements in ascending order, whose VRs and lengths make sense.
function holdsElements(head, little, explicit) {
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  let [at, before, seen] = [0, 0, 0];
  while (at + 12 <= head.length) {
    const group = view.getUint16(at, little);
    const tag = group * 65536 + view.getUint16(at + 2, little);
    if (Math.floor(before / 65536) === 2 && group !== 2) return true; // what follows may be in another encoding
    if (tag <= before || !(seen || BARE.GROUPS.includes(group))) return false;
    const { length, header } = lengthOf(head, view, at, little, explicit);
    if (seen && length === BARE.UNDEFINED) return true; // a sequence
    if (length > (seen ? BARE.LONGEST : BARE.LONGEST_FIRST)) return false;
    [before, seen, at] = [tag, seen + 1, at + header + length];
  }
  return seen > 0;
}

function lengthOf(head, view, at, little, explicit) {
  if (!explicit) return { length: view.getUint32(at + 4, little), header: 8 };
  const vr = text(head, at + 4, at + 6);
  if (!BARE.VRS.includes(vr)) return { length: BARE.LONGEST + 2, header: 8 };
  if (BARE.LONG_VRS.includes(vr)) return { length: view.getUint32(at + 8, little), header: 12 };
  return { length: view.getUint16(at + 6, little), header: 8 };
}

/** Bytes as text of one letter a byte. */
export function text(bytes, from, to) {
  return String.fromCharCode(...bytes.subarray(from, to));
}
