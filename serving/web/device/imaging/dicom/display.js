// Stored values to grey levels: modality and VOI transformations, photometric interpretation:
// serving/imaging/dicom/display.py.

import { clamp, roundEven } from "../../numbers.js";
import { viewOf } from "./codestreams.js";

/**
 * Grey levels 0 to 255 of stored values, bright bone. `dataset` is { elements, photometric, bits, signed, stored, little }
 * as stored.js leaves it. Computed once for each value that occurs, then looked up.
 */
export function greyLevels(values, dataset) {
  const unsigned = new (values.BYTES_PER_ELEMENT === 1 ? Uint8Array : Uint16Array)(values.buffer, values.byteOffset, values.length);
  const occurs = new Uint8Array(1 << (8 * values.BYTES_PER_ELEMENT));
  for (let at = 0; at < unsigned.length; at += 1) occurs[unsigned[at]] = 1;
  const cells = Uint16Array.from(occurs.keys()).filter((cell) => occurs[cell]);
  const levels = levelsOf(Array.from(new values.constructor(cells)), dataset);
  const table = new Uint8Array(occurs.length);
  cells.forEach((cell, at) => { table[cell] = levels[at]; });
  const found = new Uint8Array(unsigned.length);
  for (let at = 0; at < found.length; at += 1) found[at] = table[unsigned[at]];
  return found;
}

function levelsOf(stored, dataset) {
  const padding = paddingOf(stored, dataset);
  const shown = display(modality(stored, dataset), dataset, padding);
  const inverted = isInverted(dataset);
  return shown.map((value, at) => {
    if (padding[at]) return 0;
    const level = roundEven(value * 255);
    return inverted ? 255 - level : level;
  });
}

/**
 * Values whose brightness the object leaves open: more than eight bits, and neither window nor table to show them. Bright
 * bone, padding as dark as the darkest; null where the object says how it is shown.
 */
export function unmapped(values, dataset) {
  const { elements } = dataset;
  if (values.BYTES_PER_ELEMENT < 2 || tableOf(dataset, "ModalityLUTSequence") || shows(values, dataset)) return null;
  const turned = isInverted(dataset) !== ((numberOf(elements, "RescaleSlope") || 1) < 0);
  const found = turned ? values.map((value) => ~value) : values;
  if (pixelValue(dataset, "PixelPaddingValue") === null) return found;
  const padding = paddingOf(values, dataset);
  const [darkest] = extremes(found, padding);
  return found.map((value, at) => (padding[at] ? darkest : value));
}

function isInverted({ photometric }) {
  return photometric === "MONOCHROME1";
}

// Where pixels only fill the rectangle; nowhere, where that would be everywhere.
function paddingOf(stored, dataset) {
  const ends = ["PixelPaddingValue", "PixelPaddingRangeLimit"].map((keyword) => pixelValue(dataset, keyword));
  const none = () => new Uint8Array(stored.length);
  if (ends[0] === null) return none();
  const given = ends.filter((end) => end !== null);
  const [low, high] = [Math.min(...given), Math.max(...given)];
  const found = none();
  for (let at = 0; at < found.length; at += 1) if (stored[at] >= low && stored[at] <= high) found[at] = 1;
  return found.includes(0) ? found : none();
}

// A value in the pixels' own type, whatever the VR says of its sign; null where there is none to be used.
function pixelValue({ elements, bits, signed }, keyword) {
  let first;
  try {
    first = Number(elements.value(keyword)?.[0] ?? NaN);
  } catch {
    return null;
  }
  if (!Number.isFinite(first)) return null;
  const span = 2 ** bits;
  const value = ((Math.trunc(first) % span) + span) % span;
  return signed && value >= span / 2 ? value - span : value;
}

// Modality values, and whether any modality value could be negative.
function modality(stored, dataset) {
  const table = tableOf(dataset, "ModalityLUTSequence");
  if (table) return { values: lookedUp(table, stored, dataset.signed), negative: false };
  const slope = numberOf(dataset.elements, "RescaleSlope") || 1;
  const intercept = numberOf(dataset.elements, "RescaleIntercept") || 0;
  const low = dataset.signed ? -(2 ** (dataset.stored - 1)) : 0;
  const lowest = Math.min(...[low, low + 2 ** dataset.stored - 1].map((value) => slope * value + intercept));
  return { values: stored.map((value) => value * slope + intercept), negative: lowest < 0 };
}

// Whether the object has a table or window that shows anything of the pixels.
function shows(stored, dataset) {
  if (!tableOf(dataset, "VOILUTSequence") && !windowOf(dataset.elements)) return false;
  const padding = paddingOf(stored, dataset);
  const { values, negative } = modality(extremes(stored, padding), dataset);
  return voiOf(dataset, negative, ...extremes(values, [])) !== null;
}

function extremes(values, padding) {
  let [low, high] = [Infinity, -Infinity];
  for (let at = 0; at < values.length; at += 1) {
    if (padding[at]) continue;
    if (values[at] < low) low = values[at];
    if (values[at] > high) high = values[at];
  }
  return [low, high];
}

function windowOf(elements) {
  const [center, width] = ["WindowCenter", "WindowWidth"].map((keyword) => numberOf(elements, keyword));
  return center === null || width === null || width <= 0 ? null : { center, width };
}

// Modality values to display values in [0, 1].
function display({ values, negative }, dataset, padding) {
  const [low, high] = extremes(values, padding);
  const voi = voiOf(dataset, negative, low, high);
  return values.map(voi ?? ((value) => clamp((value - low) / Math.max(high - low, 1e-9), 0, 1)));
}

// The table, or else the window, that shows modality values from `low` to `high`; null where there is none, or where these
// values all lie beyond it, so that it would show them as one shade.
function voiOf(dataset, negative, low, high) {
  const table = tableOf(dataset, "VOILUTSequence");
  if (table && (low === high || !isFlat(table, low, high, negative))) {
    const white = whiteOf(table);
    return (value) => clamp(lookedUp(table, [value], negative)[0] / white, 0, 1);
  }
  const window = windowOf(dataset.elements);
  if (window === null) return null;
  const show = shownBy(window, (dataset.elements.text("VOILUTFunction") ?? "").trim().toUpperCase());
  const [darkest, brightest] = [low, high].map((value) => roundEven(show(value) * 255));
  return low < high && darkest === brightest && [0, 255].includes(darkest) ? null : show;
}

function shownBy({ center, width }, kind) {
  if (kind === "SIGMOID") return (value) => 1 / (1 + Math.exp(clamp((-4 * (value - center)) / width, -700, 700)));
  // LINEAR is for whole numbers and has no slope at a width of 1; writers of 0..1 mean LINEAR_EXACT.
  if (kind === "LINEAR_EXACT" || width <= 1) return (value) => clamp((value - center) / width + 0.5, 0, 1);
  return (value) => clamp((value - (center - 0.5)) / (width - 1) + 0.5, 0, 1);
}

// The value shown white: the largest of the table's bits, or of its entries where these have fewer or more bits.
function whiteOf({ bits, entries }) {
  const largest = entries.reduce((most, value) => Math.max(most, value), 0);
  const length = largest ? Math.floor(Math.log2(largest)) + 1 : 0;
  return length === bits ? 2 ** bits - 1 : Math.max(largest, 1);
}

function lookedUp(table, values, signed) {
  return values.map((value) => table.entries[placeIn(table, value, signed)]);
}

// Whether the values from `low` to `high` all lie before the first entry or behind the last one.
function isFlat(table, low, high, signed) {
  const [first, last] = [low, high].map((value) => placeIn(table, value, signed));
  return first === last && [0, table.entries.length - 1].includes(first);
}

// Writers disagree about the sign of the first value, so the domain of the values decides.
function placeIn({ first, entries }, value, signed) {
  let from = ((first % 65536) + 65536) % 65536;
  if (signed && from >= 32768) from -= 65536;
  return clamp(roundEven(value) - from, 0, entries.length - 1);
}

// The first table of a sequence; null where there is none that can be used.
function tableOf({ elements, little }, keyword) {
  const item = elements.has(keyword) ? elements.value(keyword)?.[0] : null;
  if (!item) return null;
  let [descriptor, entries] = [null, null];
  try {
    [descriptor, entries] = [item.value("LUTDescriptor"), item.value("LUTData")];
  } catch {
    return null;
  }
  if (descriptor?.length !== 3 || entries === null) return null;
  const [first, bits] = [descriptor[1], descriptor[2] || 16];
  const count = (((descriptor[0] % 65536) + 65536) % 65536) || 65536;
  const found = entries instanceof Uint8Array ? fromBytes(entries, count, little) : entries;
  const levels = found.slice(0, count).map((value) => ((Number(value) % 65536) + 65536) % 65536);
  return levels.length ? { first, bits, entries: levels } : null;
}

function fromBytes(bytes, count, little) {
  const view = viewOf(bytes);
  const words = Array.from({ length: bytes.length >> 1 }, (_, index) => view.getUint16(2 * index, little));
  return words.length < count ? words.flatMap((word) => [word & 255, word >> 8]) : words; // two of eight bits in a word
}

/** The first value of a decimal string; null where it is absent, empty or no finite number. */
export function numberOf(elements, keyword) {
  const text = elements.raw(keyword)?.split("\\")[0].replace(/^[ \0]+|[ \0]+$/g, "").replaceAll(",", ".");
  return text && /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) && Number.isFinite(Number(text)) ? Number(text) : null;
}
