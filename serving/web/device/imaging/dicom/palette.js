// Colours by their numbers (PS3.3, C.7.6.3.1.5), as pydicom's apply_color_lut looks them up.

import { viewOf } from "./codestreams.js";

const COLOURS = ["Red", "Green", "Blue"];

/** Three planes of stored values, eight bits each. Throws Error for an object without its palette, or with a segmented one. */
export function coloursOf(values, elements) {
  const descriptor = elements.value("RedPaletteColorLookupTableDescriptor");
  const tables = COLOURS.map((colour) => elements.value(`${colour}PaletteColorLookupTableData`));
  if (descriptor?.length !== 3 || tables.some((table) => !(table instanceof Uint8Array))) throw new Error("there is no palette that is read");
  const entries = descriptor[0] || 65536;
  const size = tables[0].length / entries;
  if (size !== 1 && size !== 2) throw new Error("a palette has entries of 8 or 16 bits");
  if (tables.some((table) => table.length !== tables[0].length)) throw new Error("the tables of a palette are of one length");
  const [red, green, blue] = tables.map((table) => {
    const view = viewOf(table);
    const level = (index) => (size === 1 ? table[index] : view.getUint16(2 * index, true) >> 8);
    return Uint8Array.from(values, (value) => level(Math.min(Math.max(value - descriptor[1], 0), entries - 1)));
  });
  return { red, green, blue };
}
