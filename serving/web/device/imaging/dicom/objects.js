// A DICOM object from its bytes to its header, and to grey levels: serving/imaging/dicom/objects.py.

import { ANATOMY, COLOUR, DATASET, OBJECTS, STORED } from "../../constants.js";
import { ImageError } from "../../errors.js";
import { colourfulness, greyOf } from "../colour.js";
import { pixels } from "../pixels.js";
import { isUid, read } from "./dataset.js";
import { greyLevels, unmapped } from "./display.js";
import { coloursOf } from "./palette.js";
import { samplesOf, storedValues } from "./stored.js";
import { isRead, unsupported } from "./syntaxes.js";

/** An object's header, as decode.js takes it, and how to decode it. ImageError for a broken one, or one without image. */
export async function open(content) {
  const header = await faults("the DICOM object is broken", async () => {
    const { elements } = await read(content, null);
    const [rows, columns] = imageSize(elements);
    return {
      stored: { width: columns, height: rows },
      frames: elements.number("NumberOfFrames") || 1,
      more: {
        sopInstanceUid: identifier(elements, "SOPInstanceUID"),
        sopClassUid: identifier(elements, "SOPClassUID"),
        modality: textOf(elements, "Modality"),
        bodyPart: bodyPartOf(elements),
        forProcessing: textOf(elements, "PresentationIntentType") === "FOR PROCESSING",
      },
    };
  });
  return { ...header, orientation: 1, hasColours: false, decode: () => decode(content) };
}

// Turns any error into an ImageError `undecodable` whose message starts with `problem`.
async function faults(problem, action) {
  try {
    return await action();
  } catch (error) {
    if (error instanceof ImageError) throw error;
    throw new ImageError("undecodable", `${problem} (${error.message})`);
  }
}

function imageSize(elements) {
  if (elements.value("Rows") === null || elements.value("Columns") === null) {
    throw new ImageError("no_pixels", "the DICOM object holds no image; if it should hold one, send it again whole");
  }
  for (const [keyword, name] of DATASET.DESCRIBING) {
    if (elements.raw(keyword) === null) {
      throw new ImageError("undecodable", `the DICOM object is incomplete: ${name} is missing; export it again`);
    }
  }
  return [elements.number("Rows"), elements.number("Columns")];
}

// A valid UID, or an empty string: anything else is free text, which may name a patient.
function identifier(elements, keyword) {
  const found = elements.text(keyword) ?? "";
  return isUid(found) ? found : "";
}

// The words of Body Part Examined and of the coded regions, these by their codes or else their meaning.
function bodyPartOf(elements) {
  const words = [textOf(elements, "BodyPartExamined")];
  for (const region of regionsOf(elements)) {
    const known = ANATOMY.MEANINGS[textOf(region, "CodeValue")];
    words.push(known ? known.toUpperCase() : textOf(region, "CodeMeaning"));
  }
  return words.filter(Boolean).join("; ");
}

function regionsOf(elements) {
  return (elements.has("AnatomicRegionSequence") ? elements.value("AnatomicRegionSequence") ?? [] : []).slice(0, OBJECTS.MAX_CODES);
}

function textOf(elements, keyword) {
  try {
    return (elements.text(keyword) ?? "").replace(/^[ \0]+|[ \0]+$/g, "").toUpperCase();
  } catch {
    return "";
  }
}

// Grey pixels of a single-frame object: { grey, values, truncated }.
async function decode(content) {
  const { object, element } = await faults("the DICOM object is broken", async () => {
    const header = await read(content, null);
    const [rows, columns] = imageSize(header.elements);
    const photometric = checkSupported(header);
    const size = (rows * columns * samplesOf(photometric) * header.elements.number("BitsAllocated")) >> 3;
    const whole = await read(content, Math.max(1, size));
    return { object: { ...whole, photometric, rows, columns }, element: whole.pixels };
  });
  if (!element?.value.length) throw new ImageError("no_pixels", "the DICOM object holds no pixel data; send the one with the image");
  return faults("the DICOM pixels cannot be decoded", async () => shownOf(await storedValues(object, element), object));
}

function shownOf({ values, red, green, blue, rows: there, truncated, dataset }, { photometric, rows, columns }) {
  const many = there * columns;
  const whole = (data, darkest) => {
    const found = new data.constructor(rows * columns).fill(darkest);
    found.set(data);
    return { width: columns, height: rows, data: found };
  };
  if (!STORED.GREY.includes(photometric)) {
    const found = values ? coloursOf(values, dataset.elements) : { red, green, blue };
    const [r, g, b] = [found.red, found.green, found.blue].map((plane) => plane.subarray(0, many));
    const planes = { width: columns, height: there, red: r, green: g, blue: b };
    checkGrey(planes);
    return { grey: whole(greyOf(planes, true).data, 0), truncated };
  }
  const stored = values.subarray(0, many);
  const grey = whole(greyLevels(stored, dataset), 0);
  const open = unmapped(stored, dataset);
  const darkest = open?.reduce((low, value) => Math.min(low, value), Infinity);
  return { grey: pixels(columns, rows, grey.data), values: open && whole(open, darkest), truncated };
}

function checkGrey({ width, height, red, green, blue }) {
  const step = Math.max(1, Math.floor(Math.max(width, height) / OBJECTS.ENOUGH));
  const [wide, tall] = [Math.ceil(width / step), Math.ceil(height / step)];
  const sampled = (plane) => Uint8Array.from({ length: wide * tall }, (_, at) =>
    plane[Math.floor(at / wide) * step * width + (at % wide) * step]);
  if (colourfulness({ red: sampled(red), green: sampled(green), blue: sampled(blue) }) > COLOUR.COLOURFUL) {
    throw new ImageError("colour_photograph", "the DICOM object is a picture in colour; send the radiograph itself");
  }
}

function checkSupported({ elements, syntax }) {
  const refused = (problem) => { throw new ImageError("unsupported_dicom", problem); };
  const photometric = (elements.text("PhotometricInterpretation") ?? "").trim().toUpperCase();
  const bits = elements.number("BitsAllocated");
  if ((elements.number("NumberOfFrames") || 1) > 1) refused("the DICOM object has several frames; send one image at a time");
  if (![...STORED.GREY, ...STORED.COLOURS].includes(photometric)) {
    refused(`photometric interpretation ${photometric} is not read; send it in grey`);
  }
  if (![8, 16].includes(bits)) refused("Bits Allocated of a radiograph is 8 or 16 (PS3.3, C.8.11.3)");
  if (samplesOf(photometric) > 1 && bits !== 8) refused("the DICOM object has three samples of 16 bits; 8 are read");
  if (!isRead(syntax)) throw unsupported(syntax, "is not supported");
  return photometric;
}
