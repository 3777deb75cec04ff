// One image of this session: the file, what became of it, and the pictures made from the answer.

import { isCropped, SUSPICION } from "./messages.js";

const THUMBNAIL_SIDE = 112;

export class Case {
  constructor(file, name, photographed = false) {
    this.file = file;
    this.name = name;
    this.photographed = photographed; // by the camera, from a film or a screen
    this.state = "waiting"; // waiting, reading, busy, answered or failed
    this.answer = null;
    this.model = null; // description of the model that answered
    this.error = null;
    this.local = null; // the file as the browser shows it
    this.shown = null; // the service's preview
    this.heatmap = null;
    this.thumbnail = null;
    this.review = null; // what the reader says of the answer, where the service wants to know
    this.reading = null; // and where it is said
    this.keptAs = null; // its number among the answers that are kept on this device
    this.view = null; // zoom, position and tone, kept by the viewer
    this.cancel = new AbortController();
  }

  get picture() {
    return this.shown ?? this.local;
  }

  get boxes() {
    return this.answer?.explanation?.boxes ?? [];
  }

  // The part of the image that the model saw, where it left a frame out.
  get field() {
    const seen = this.answer?.input.seen;
    return seen && isCropped(seen) ? seen : null;
  }

  // Whether its corners can be marked: a picture that the browser shows, and that is still there.
  get maybePhotograph() {
    return !this.photographed && this.file.size > 0 && this.file.type.startsWith("image/");
  }

  get finished() {
    return this.state === "answered" || this.state === "failed";
  }

  // Shows the file itself until the answer is there. Browsers know no DICOM and mostly no TIFF: then nothing changes.
  async openLocally() {
    if (this.picture || this.localTried) return;
    this.localTried = true;
    const url = URL.createObjectURL(this.file);
    const image = new Image();
    image.src = url;
    try {
      await image.decode();
    } catch {
      URL.revokeObjectURL(url);
      return;
    }
    if (this.shown || this.cancel.signal.aborted) URL.revokeObjectURL(url);
    else this.local = { url, width: image.naturalWidth, height: image.naturalHeight };
  }

  async adopt(answer, model) {
    const preview = toBlob(answer.preview);
    const { width, height } = answer.input;
    this.shown = { url: URL.createObjectURL(preview), width, height };
    this.heatmap = answer.explanation?.peak ? { url: URL.createObjectURL(toBlob(answer.explanation.heatmap)) } : null;
    this.#release("local");
    // The pictures now lie behind their addresses; as text they would take the memory twice.
    // The token is for this page, not for a saved answer.
    const { preview: _, feedback_token: __, ...rest } = answer;
    this.answer = rest;
    this.model = model;
    this.error = null;
    this.state = "answered";
    this.thumbnail = await thumbnailOf(preview).catch(() => null); // the list does without
  }

  fail(error) {
    this.error = error;
    this.state = "failed";
  }

  retry() {
    this.error = null;
    this.state = "waiting";
    this.cancel = new AbortController();
  }

  dispose() {
    this.cancel.abort();
    this.#release("local");
    this.#release("shown");
    this.#release("heatmap");
  }

  #release(name) {
    if (this[name]) URL.revokeObjectURL(this[name].url);
    this[name] = null;
  }
}

// Most suspicious first; then what is still being read, then what failed. Equal ones keep their order.
export function bySuspicion(cases) {
  const weight = (item) => {
    if (item.state === "failed") return -2;
    if (item.state !== "answered") return -1;
    return SUSPICION[item.answer.suspicion].rank + item.answer.probability;
  };
  return [...cases].sort((one, other) => weight(other) - weight(one));
}

// The service sends pictures as base64, a worker on this device as they are.
function toBlob({ data, media_type: type }) {
  if (data instanceof Blob) return data;
  return new Blob([Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0))], { type });
}

async function thumbnailOf(blob) {
  const image = await createImageBitmap(blob);
  const scale = THUMBNAIL_SIDE / Math.min(image.width, image.height);
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = THUMBNAIL_SIDE;
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  const [width, height] = [image.width * scale, image.height * scale];
  context.drawImage(image, (THUMBNAIL_SIDE - width) / 2, (THUMBNAIL_SIDE - height) / 2, width, height);
  image.close();
  return canvas;
}
