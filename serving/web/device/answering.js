// The answers of the worker: a bundle, its network, and the pictures that go with an answer.

import { readBundle } from "./bundle.js";
import { roundEven } from "./numbers.js";
import { loadRuntime } from "./network.js";
import { Predictor } from "./predictor.js";
import { layer } from "./saliency.js";
import { BUNDLE, PICTURES } from "./constants.js";

const SAMPLES = "samples/";

/**
 * Opens the bundle that the worker's address names: its folder, the sha256 of model.json, the keys that may have signed it,
 * the runtime's folder, and how the network runs.
 */
export async function open(parameters) {
  const [folder, runtime] = ["bundle", "runtime"].map((name) => new URL(parameters.get(name), self.location).href);
  const fetchFile = async (name) => {
    const response = await fetch(`${folder}/${name}`);
    if (!response.ok) throw new Error(`${name} cannot be loaded`);
    return new Uint8Array(await response.arrayBuffer());
  };
  const opening = readBundle(fetchFile, parameters.get("sha256"), JSON.parse(parameters.get("keys")));
  const [bundle, content, compile] = await Promise.all([
    opening,
    opening.then(({ file }) => file(BUNDLE.MODEL)),
    loadRuntime(runtime, parameters.get("run")),
  ]);
  return new Answering(new Predictor(bundle, await compile(content)));
}

class Answering {
  constructor(predictor) {
    this.predictor = predictor;
  }

  /** Answers a sample, so that a browser has compiled what the first image needs. */
  async warm() {
    const { manifest, file } = this.predictor.bundle;
    const sample = Object.keys(manifest.files).find((name) => name.startsWith(SAMPLES));
    if (sample) await this.answer(await file(sample));
  }

  /** The answer for one file, in the form of POST /predict, with its pictures as blobs. */
  async answer(content) {
    const began = performance.now();
    const { answer, picture, evidence, explanation } = await this.predictor.predict(content);
    const milliseconds = Math.round(performance.now() - began);
    return {
      ...answer,
      milliseconds,
      explanation: { ...explanation, heatmap: await encoded(layer(evidence), "image/png") },
      preview: await preview(picture),
    };
  }
}

async function encoded(image, type) {
  const canvas = new OffscreenCanvas(image.width, image.height);
  canvas.getContext("2d").putImageData(image, 0, 0);
  return asPicture(canvas, type);
}

async function asPicture(canvas, type) {
  const data = await canvas.convertToBlob({ type, quality: 0.92 });
  return { media_type: type, width: canvas.width, height: canvas.height, data };
}

// The upright grey image, of at most so many pixels a side.
async function preview({ width, height, data }) {
  const image = new ImageData(width, height);
  const colours = new Uint32Array(image.data.buffer);
  for (let at = 0; at < data.length; at += 1) colours[at] = data[at] * 0x010101 - 0x1000000; // opaque
  const scale = Math.min(1, PICTURES.PREVIEW_SIDE / Math.max(width, height));
  if (scale === 1) return encoded(image, "image/jpeg");
  const canvas = new OffscreenCanvas(roundEven(width * scale), roundEven(height * scale));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  const whole = await createImageBitmap(image);
  context.drawImage(whole, 0, 0, canvas.width, canvas.height);
  whole.close();
  return asPicture(canvas, "image/jpeg");
}
