// A small version of a picture, free of aliasing: serving/imaging/canonical/thumbnail.py.

import { roundEven } from "../../numbers.js";
import { resizeArea, resizeLinear } from "../opencv/resize.js";

/** A grey picture with `side` pixels on its longer side; a smaller one as it is. */
export function thumbnail(picture, side) {
  const factor = side / Math.max(picture.width, picture.height);
  if (factor >= 1) return picture;
  const width = Math.max(1, roundEven(picture.width * factor));
  const height = Math.max(1, roundEven(picture.height * factor));
  const multiple = Math.max(1, Math.trunc(1 / factor));
  return resizeArea(resizeLinear(picture, width * multiple, height * multiple), width, height);
}
