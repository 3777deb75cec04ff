// A decoded image as the model's input: serving/imaging/model_input.py.

import { roundEven } from "../numbers.js";
import { canonical } from "./canonical/form.js";
import { robustRange, spread } from "./canonical/intensity.js";
import { decodeScale, fit, WHOLE_VIEW } from "./canvas.js";
import { isDivided } from "./gutter.js";

/**
 * The model's input and how it came about. `decodeAt(side)` decodes the image so that its longer side keeps at least
 * so many pixels; it is asked again where the field fills a small part of the picture.
 */
export async function prepare(decodeAt, preprocessing, heads) {
  const found = prepareDecoded(await decodeAt(decodeScale(preprocessing.image_size)), preprocessing, heads);
  const side = sideWanted(found, preprocessing);
  return side === null ? found : prepareDecoded(await decodeAt(side), preprocessing, heads);
}

/** The same of an image that is decoded already: { pixels, values, header, truncated }. */
export function prepareDecoded(decoded, preprocessing, heads) {
  const { header } = decoded;
  const { canonical: steps = {} } = preprocessing;
  if (!(steps.field || steps.range || steps.polarity)) {
    const { canvas, letterbox, smoothed } = fit(decoded.pixels, header.width, header.height, preprocessing);
    return { pixels: canvas, view: WHOLE_VIEW, letterbox, picture: decoded.pixels, decoded, inverted: false, smoothed };
  }
  const deep = steps.range && decoded.values;
  const values = deep ? decoded.values : decoded.pixels;
  const picture = deep ? spread(values, ...robustRange(values)) : decoded.pixels;
  const form = canonical(values, steps, heads);
  const [width, height] = sizeOf(form.view, header.width, header.height);
  const { canvas, letterbox, smoothed } = fit(form.pixels, width, height, preprocessing);
  return {
    pixels: canvas, view: form.view, letterbox, picture, decoded: { ...decoded, values: null }, inverted: form.inverted,
    smoothed, isDivided: isDivided(form.pixels),
  };
}

// Width and height in pixels of what is shown of an upright image.
function sizeOf({ box: [x0, y0, x1, y1] }, width, height) {
  return [Math.max(1, roundEven((x1 - x0) * width)), Math.max(1, roundEven((y1 - y0) * height))];
}

// How long the longer side of the image has to be for a field that fills a small part of it; null: it is so.
function sideWanted({ decoded, picture, view }, preprocessing) {
  const { header } = decoded;
  const [x0, y0, x1, y1] = view.box;
  const longest = Math.max(picture.width, picture.height);
  const shown = Math.max((x1 - x0) * picture.width, (y1 - y0) * picture.height);
  if (shown >= preprocessing.image_size || longest >= Math.max(header.width, header.height)) return null;
  return Math.ceil((decodeScale(preprocessing.image_size) * longest) / Math.max(shown, 1));
}
