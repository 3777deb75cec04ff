// Encapsulated pixel data: fragments to one frame, and the codec where no transfer syntax names it:
// serving/imaging/dicom/fragments.py.

import { FRAGMENTS, UIDS } from "../../constants.js";
import { joined, segments, viewOf } from "./codestreams.js";
import { text } from "./prefix.js";
import { isEncapsulated, unsupported } from "./syntaxes.js";

const PROCESSES = new Map(FRAGMENTS.JPEG_PROCESSES);

/** The transfer syntax in which the pixels are: that of the object, or what they show themselves. */
export function syntaxOf(stated, element) {
  const { value, length } = element;
  const encapsulated = text(value, 0, 4) === FRAGMENTS.ITEM && (length === null || value.length >= 16);
  if (!encapsulated) return isEncapsulated(stated) ? UIDS.ExplicitVRLittleEndian : stated;
  if (isEncapsulated(stated)) return stated;
  const found = codecOf(frameOf(element).frame);
  if (found === null) throw unsupported("", "is missing and the pixels are of no known codec");
  return found;
}

/** The fragments of a single frame, joined, and whether the value was cut short. Throws Error for too many, or none. */
export function frameOf({ value, length }) {
  const view = viewOf(value);
  const fragments = [];
  let at = 0;
  while (at + 8 <= value.length && text(value, at, at + 4) === FRAGMENTS.ITEM) {
    if (fragments.length > FRAGMENTS.MAX_FRAGMENTS) throw new Error("too many fragments");
    const size = view.getUint32(at + 4, true);
    fragments.push(value.subarray(at + 8, at + 8 + size));
    at += 8 + size;
  }
  const whole = text(value, at, at + 4) === FRAGMENTS.DELIMITER || at === length;
  // The first item is a table of offsets, which some writers leave out.
  const frame = joined(...(fragments.length && codecOf(fragments[0]) ? fragments : fragments.slice(1)));
  if (!frame.length) throw new Error("there is no fragment");
  return { frame, cutShort: !whole };
}

// The transfer syntax of a coded frame, from its first bytes; null where they are those of no codec.
function codecOf(frame) {
  if (FRAGMENTS.JPEG_2000.some((start) => text(frame, 0, start.length) === start)) return UIDS.JPEG2000;
  if (frame[0] === 0xff && frame[1] === 0xd8) {
    try {
      return [...segments(frame)].map(({ marker }) => PROCESSES.get(marker)).find(Boolean) ?? null;
    } catch {
      return null;
    }
  }
  if (frame.length > 64) {
    const view = viewOf(frame);
    const [count, first] = [view.getUint32(0, true), view.getUint32(4, true)];
    if (count >= 1 && count <= 15 && first === 64) return UIDS.RLELossless;
  }
  return null;
}
