// Pictures that are no radiographs get a reason instead of a diagnosis: serving/guard.py.

import { COLOUR, GUARD } from "./constants.js";
import { ImageError } from "./errors.js";
import { colourfulness } from "./imaging/colour.js";
import { meanAndDeviation } from "./statistics.js";

const CUT_SHORT = "; the file is cut short";

/** Refuse what the header alone shows to be no single radiograph. */
export function checkHeader({ width, height, frames = 1 }) {
  if (Math.min(width, height) < GUARD.SMALLEST) {
    throw new ImageError("too_small", `the image is ${width} x ${height} pixels; at least ${GUARD.SMALLEST} a side are needed; `
      + GUARD.AT_FULL_SIZE);
  }
  if (frames > 1) {
    throw new ImageError("too_many_frames", `the file holds several frames or pages; ${GUARD.ONE_AT_A_TIME}`);
  }
}

/** Refuse a colour photograph, seen as a small picture of three planes; null where the file has no colours. */
export function checkColours(small) {
  if (small !== null && colourfulness(small) > COLOUR.COLOURFUL) {
    throw new ImageError("colour_photograph", `the image is a colour photograph, not a radiograph; ${GUARD.THE_RADIOGRAPH}`);
  }
}

/** Refuse an empty picture. */
export function checkContrast(picture) {
  if (meanAndDeviation(picture)[1] < GUARD.BLANK) {
    throw new ImageError("blank", `the image shows nothing but one shade of grey; ${GUARD.EXPORTED_AGAIN}`);
  }
}

/** Refuse what is unlike every image of training. */
export function checkDistance(distance, limit, truncated) {
  if (distance <= limit) return;
  throw new ImageError("not_a_radiograph", `the image is unlike the radiographs this model was trained on (distance `
    + `${distance.toFixed(2)}, at most ${limit.toFixed(2)}); no answer is given. ${GUARD.AS_STORED}${truncated ? CUT_SHORT : ""}`);
}

/** Refuse what the guard's head takes for no radiograph. */
export function checkRadiograph(logOdds, limit, truncated) {
  if (logOdds >= limit) return;
  throw new ImageError("not_a_radiograph", "the image does not look like a radiograph; no answer is given. "
    + `${GUARD.AS_STORED}${truncated ? CUT_SHORT : ""}`);
}
