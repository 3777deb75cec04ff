// The values of a data set's elements, as pydicom gives them.

import { TAGS } from "../../constants.js";
import { itemsOf } from "./dataset.js";

const NUMBERS = {
  US: [2, "getUint16"], SS: [2, "getInt16"], UL: [4, "getUint32"], SL: [4, "getInt32"], FL: [4, "getFloat32"],
  FD: [8, "getFloat64"],
};
const TEXTS = new Set(["AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"]);
const BYTES = new Set(["OB", "OW", "OD", "OF", "OL", "OV", "UN"]);
const UTF_8 = "ISO_IR 192";

/** A data set, or an item of a sequence: elements by their keywords. */
export class Elements {
  constructor(found, little) {
    this.found = found;
    this.little = little;
  }

  has(keyword) {
    return this.found.has(TAGS[keyword][0]);
  }

  /**
   * Numbers as an array, texts as an array, bytes, or items of a sequence; null where the element is absent or empty.
   * Throws Error where the value is none of its VR.
   */
  value(keyword) {
    const [tag, known] = TAGS[keyword];
    const element = this.found.get(tag);
    if (!element) return null;
    const vr = vrOf(element, known);
    if (vr === "SQ") return itemsOf(element);
    if (element.value === null) return null;
    if (vr in NUMBERS) return numbersOf(element, ...NUMBERS[vr]);
    if (BYTES.has(vr)) return element.value;
    if (!TEXTS.has(vr)) throw new Error(`an unknown value representation ${vr}`);
    return this.#decoded(element.value).split("\\").map((part) => part.replace(/[ \0]+$/, ""));
  }

  /** The first number, null where there is none. Throws Error where the value is text that is no whole number. */
  number(keyword) {
    const value = this.value(keyword);
    if (value === null || (value.length === 1 && value[0] === "")) return null;
    const [first] = value;
    if (value.length !== 1 || value instanceof Uint8Array) throw new Error(`${keyword} is no number`);
    const number = typeof first === "string" ? Number(first.trim()) : first;
    if (!Number.isFinite(number) || (typeof first === "string" && !Number.isInteger(number))) {
      throw new Error(`${keyword} is no number`);
    }
    return Math.trunc(number);
  }

  /** The text, several values joined by spaces; null where the element is absent. */
  text(keyword) {
    if (!this.has(keyword)) return null;
    const value = this.value(keyword);
    if (value === null) return "";
    return value instanceof Uint8Array ? latin(value) : value.join(" ");
  }

  /** The value as it lies in the file, as text of one letter a byte; null where it is absent or empty. */
  raw(keyword) {
    const value = this.found.get(TAGS[keyword][0])?.value;
    return value ? latin(value) : null;
  }

  #decoded(value) {
    const sets = this.found.get(TAGS.SpecificCharacterSet[0])?.value;
    return sets && latin(sets).includes(UTF_8) ? new TextDecoder().decode(value) : latin(value);
  }
}

function vrOf({ vr }, known) {
  return vr === null || vr === "UN" ? known : vr;
}

function numbersOf({ value, little }, size, method) {
  if (value.length % size) throw new Error("a value of another length than its kind");
  const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
  return Array.from({ length: value.length / size }, (_, index) => view[method](index * size, little));
}

function latin(bytes) {
  return Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
}
