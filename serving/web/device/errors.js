// Why an image gets no answer: serving/errors.py.

export class ImageError extends Error {
  /** `code` is stable and one of those of the service; `message` is one line for a person. */
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/** The bundle cannot be used; nothing is answered with it. */
export class BundleError extends Error {
  code = "bundle";
}

/** The bytes only begin as a picture of their format does: for the service, Pillow's SyntaxError or struct.error. */
export class Unidentified extends Error {}
