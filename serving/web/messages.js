// Everything the page says about numbers and errors, in plain words.

const SPACE = "\u00a0"; // the space before a unit never breaks a line

// One entry per code of serving/http/problems.py, and for errors that only a browser meets.
// `again`: whether sending the same image again may help.
export const PROBLEMS = {
  missing_image: { title: "No image arrived", advice: "Open the image again.", again: true },
  malformed_multipart: {
    title: "The image arrived incomplete",
    advice: "Send it again. If that fails too, something between this page and the service alters the data.",
    again: true,
  },
  invalid_parameter: {
    title: "The service did not understand this page",
    advice: "The page and the service probably have different versions. Reload the page.",
  },
  empty: { title: "The file is empty", advice: "Export or copy the image again." },
  unauthorized: {
    title: "An API key is needed",
    advice: "Enter the key you were given for this service.",
    again: true,
  },
  feedback_refused: {
    title: "Your reading was not accepted",
    advice: "It may have been given too late, or with another key. Open the image again and say it once more.",
  },
  invalid_feedback: {
    title: "The service did not understand your reading",
    advice: "The page and the service probably have different versions. Reload the page.",
  },
  too_many_requests: { title: "Too much at once", advice: "Wait a minute.", again: true },
  store_unavailable: {
    title: "Your reading is not kept yet",
    advice: "The service cannot reach its store of answers.",
    again: true,
  },
  not_found: {
    title: "The service has no such address",
    advice: "The page and the service probably have different versions. Reload the page.",
  },
  method_not_allowed: {
    title: "The service refused the request",
    advice: "The page and the service probably have different versions. Reload the page.",
  },
  request_timeout: {
    title: "Sending took too long",
    advice: "The connection is slow or was interrupted. Try again, or send a smaller image.",
    again: true,
  },
  body_too_large: { title: "The file is too large", advice: "Export a smaller file, for example a compressed JPEG." },
  too_many_pixels: { title: "The image has too many pixels", advice: "Export it at a lower resolution." },
  too_many_files: { title: "Too many files at once", advice: "Open fewer images at a time." },
  unsupported_media_type: {
    title: "This kind of file is not accepted",
    advice: "Use JPEG, PNG, WebP, BMP, TIFF or DICOM.",
  },
  unsupported_format: {
    title: "This file cannot be read",
    advice: "Use JPEG or PNG, or a DICOM file where the page says that it reads them. Convert HEIC photographs, GIFs and PDF pages first.",
  },
  undecodable: {
    title: "The image is damaged",
    advice: "The file cannot be decoded. Export or copy it again from its source.",
  },
  no_pixels: {
    title: "The DICOM file holds no image",
    advice: "Some objects of a study hold only reports or settings. Open the one with the radiograph.",
  },
  unsupported_dicom: {
    title: "This kind of DICOM file is not supported",
    advice: "Export the radiograph as an uncompressed or JPEG-compressed DICOM image, or as PNG.",
  },
  out_of_scope: {
    title: "The model is not meant for this image",
    advice: "Its header names another kind of examination or body part. If that is wrong, correct the header.",
  },
  too_small: { title: "The image is too small", advice: "Bones cannot be seen at this size. Open the full-size image." },
  too_many_frames: {
    title: "The file holds several images",
    advice: "Export the frames or pages one by one and open the one you need.",
  },
  colour_photograph: {
    title: "This is a colour photograph",
    advice: "Only radiographs get an answer. When you photograph a film, fill the picture with it and avoid coloured light.",
  },
  blank: { title: "The image is blank", advice: "It shows a single shade of grey. Check the export." },
  not_a_radiograph: {
    title: "This does not look like the radiographs the model knows",
    advice: "The model gives no answer rather than a guess. It knows only some body parts and views; see About the model.",
  },
  internal: {
    title: "The model has failed",
    advice: "The image is not the cause. Try again. If that does not help, report it to whoever put the model here, with the number of the request if there is one.",
    again: true,
  },
  overloaded: { title: "The service is busy", advice: "It has too many requests. Try again in a minute.", again: true },
  timeout: { title: "The answer took too long", advice: "The service may be busy. Try again.", again: true },
  network: {
    title: "The service cannot be reached",
    advice: "Check the network connection. Nothing was lost: the image is still here.",
    again: true,
  },
  unreadable: {
    title: "The answer cannot be read",
    advice: "Something other than the service answered, perhaps the network's login page. Reload the page.",
    again: true,
  },
  bundle: {
    title: "The model on this device is damaged",
    advice: "No answer is given with it. Try again while there is a network: it is fetched anew.",
    again: true,
  },
  folder: { title: "Folders cannot be opened", advice: "Open the folder and drop the images in it." },
};

// Title, advice and the service's own words for an error (api.js, ServiceError).
export function explain(error) {
  const known = PROBLEMS[error.code] ?? {
    title: "The service gave no answer",
    advice: "This page does not know the reason. Reload it and try again.",
    again: true,
  };
  return { ...known, detail: error.detail };
}

// What a reader may say of an answer.
export const OPINIONS = {
  agree: { verb: "Agree", said: "you agree", symbol: "yes" },
  disagree: { verb: "Disagree", said: "you disagree", symbol: "no" },
  unsure: { verb: "Unsure", said: "you are not sure", symbol: "help" },
};

// Codes of serving/store/records.py.
export const COMMENTS = {
  old_fracture: "Healed or old fracture",
  hardware: "Implant, screw or plate",
  cast: "Cast or splint",
  growth_plate: "Growth plate",
  artefact: "Artefact or foreign object",
  positioning: "Positioning or projection",
  exposure: "Exposure or noise",
  wrong_region: "Another body region than stated",
  outside_image: "The fracture lies outside of this image",
  other_finding: "Another finding than a fracture",
};

export const SUSPICION = {
  none: { rank: 0, short: "None", words: "No suspicion" },
  possible: { rank: 1, short: "Possible", words: "Fracture possible" },
  high: { rank: 2, short: "High", words: "High suspicion" },
};

// A share as a whole percentage; certainty is never claimed. `short` is for a column of numbers.
export function percent(share, short = false) {
  if (share > 0 && share < 0.01) return short ? `<${SPACE}1${SPACE}%` : `under${SPACE}1${SPACE}%`;
  if (share < 1 && share > 0.99) return short ? `>${SPACE}99${SPACE}%` : `over${SPACE}99${SPACE}%`;
  return `${Math.round(share * 100)}${SPACE}%`;
}

// What a calibrated probability means, as a frequency: people judge "9 of 100" better than "0.09".
export function inHundred(probability) {
  const fractured = Math.round(probability * 100);
  const among = "Of 100 images with this probability";
  if (fractured < 1) return `${among}, fewer than one shows a fracture.`;
  if (fractured > 99) return `${among}, nearly all show a fracture.`;
  const rest = 100 - fractured;
  return `${among}, about ${fractured} ${fractured === 1 ? "shows" : "show"} a fracture and ${rest} ${rest === 1 ? "does" : "do"} not.`;
}

// Warnings of images that the test set holds none, or few, of: there the frequency was not measured.
const UNLIKE_TEST = new Set(["unusual", "out_of_range", "inverted", "noisy", "out_of_scope", "for_processing", "truncated", "unknown_region", "photographed"]);

export function isCalibrated({ warnings }) {
  return !warnings.some(({ code }) => UNLIKE_TEST.has(code));
}

// A note where the probability lies so close to the threshold that the label could change.
export function firmness(probability, threshold) {
  return Math.abs(probability - threshold) < 0.05
    ? "The probability is close to the threshold: a slightly different exposure could change the label."
    : "";
}

// The body part that an image shows, and how that is known.
export function regionWords({ region: { name, source, probability, also = [] }, warnings }) {
  const several = also.length > 0 && `; the image seems to show ${list([name, ...also.map((other) => other.name)])}`;
  if (source === "image" && warnings.some(({ code }) => code === "unknown_region")) return "not recognised";
  if (source === "caller") return `${name}, as the sender says${several || ""}`;
  if (source === "header") return `${name}, as the file says${several || ""}`;
  if (!several) return `${name}, as the image looks (${percent(probability)})`;
  return `several, as the image looks: ${list([{ name, probability }, ...also].map((one) => `${one.name} (${percent(one.probability)})`))}`;
}

function list(names) {
  return names.length > 1 ? `${names.slice(0, -1).join(", ")} and ${names.at(-1)}` : names.join("");
}

export function isCropped({ x0, y0, x1, y1 }) {
  return (x1 - x0) * (y1 - y0) < 0.995;
}

// What of the image the model saw, where that is not all of it as it is; null where it is.
export function seenWords({ x0, y0, x1, y1, turned, inverted }) {
  const words = [
    isCropped({ x0, y0, x1, y1 }) && `the outlined ${percent((x1 - x0) * (y1 - y0))} of its area, without the frame`,
    turned && `turned by ${turned} degrees anticlockwise`,
    inverted && "inverted, so that bone is white",
  ].filter(Boolean);
  return words.length > 0 ? words.join("; ") : null;
}

export function megabytes(bytes) {
  return `${Math.round(bytes / 2 ** 20)}${SPACE}MB`;
}

export function megapixels(pixels) {
  return `${Math.round(pixels / 1e6)} million pixels`;
}
