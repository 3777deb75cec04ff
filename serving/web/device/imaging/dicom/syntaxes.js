// The transfer syntaxes that are read: serving/imaging/dicom/syntaxes.py.

import { SYNTAXES, UIDS } from "../../constants.js";
import { ImageError } from "../../errors.js";
import { isUid } from "./dataset.js";

const NATIVE = [
  UIDS.ImplicitVRLittleEndian, UIDS.ExplicitVRLittleEndian, UIDS.DeflatedExplicitVRLittleEndian, UIDS.ExplicitVRBigEndian,
];
const NAMES = new Map(Object.entries(UIDS).map(([name, uid]) => [uid, name]));

export function isEncapsulated(syntax) {
  return !NATIVE.includes(syntax);
}

/** Whether a decoder reads a transfer syntax. */
export function isRead(syntax) {
  return syntax in SYNTAXES.DECODERS;
}

/** The error for a transfer syntax that no decoder here reads. */
export function unsupported(syntax, problem, remedy = "send the object uncompressed") {
  const uid = isUid(syntax) ? syntax : "missing";
  const name = NAMES.has(syntax) ? `${uid} (${NAMES.get(syntax)})` : uid;
  return new ImageError("unsupported_dicom", `transfer syntax ${name} ${problem}; ${remedy}`);
}
