// A prepared image and the network's outputs to an answer: serving/predictor.py. The answer has the form of POST /predict.

import { STATISTICS, WORDING } from "./constants.js";
import { calibrated, labelOf, statementOf, suspicionOf } from "./decision.js";
import * as guard from "./guard.js";
import { guardLogOdds, regionProbabilities } from "./image_heads.js";
import { roundTo, threeDigits } from "./numbers.js";
import { findRegion, regionNotes } from "./region.js";
import * as saliency from "./saliency.js";
import { inputStatistics, texture } from "./statistics.js";
import { note } from "./wording.js";

/** What is behind an image's decoding: whether it may be answered, and how. */
export class Inference {
  /** `bundle` as bundle.js reads it. */
  constructor(bundle) {
    this.bundle = bundle;
  }

  /** The model's input as model_input.js makes it, with what was measured of it; ImageError for what is no radiograph. */
  look(given, header, sha256) {
    const { manifest, reference, imageHeads } = this.bundle;
    guard.checkContrast(given.picture);
    const steepness = texture(given.pixels);
    const distance = reference.distance(steepness);
    const { truncated } = given.decoded;
    if (!imageHeads.guard_weights) guard.checkDistance(distance, manifest.guard.limit, truncated);
    return { given, header, truncated, texture: steepness, distance, inputs: inputStatistics(given.pixels), sha256 };
  }

  /** The network's outputs for a prepared image as an answer. */
  infer(prepared, outputs) {
    const { manifest, scope } = this.bundle;
    const { given, header, truncated } = prepared;
    const unusual = this.#isUnusual(prepared, outputs);
    const region = this.#region(outputs, scope.regionOf(header.bodyPart ?? ""));
    const probabilities = calibrated(outputs.scores, manifest.calibration);
    const fracture = 1 - probabilities[0];
    const label = labelOf(fracture, manifest);
    const suspicion = suspicionOf(fracture, manifest);
    const [x0, y0, x1, y1] = given.view.box.map((edge) => roundTo(edge, 5));
    const answer = {
      label,
      probability: roundTo(fracture, 6),
      threshold: manifest.threshold,
      suspicion,
      statement: statementOf(label, suspicion, truncated),
      probabilities: Object.fromEntries(manifest.classes.map((name, index) => [name, roundTo(probabilities[index], 6)])),
      region: region && regionAnswer(region),
      warnings: [...this.#notes(prepared, unusual), ...regionNotes(region, manifest.intended.regions, manifest.quality.weak_regions ?? {})],
      input: {
        sha256: prepared.sha256, width: header.width, height: header.height, sop_instance_uid: header.sopInstanceUid || null,
        seen: { x0, y0, x1, y1, turned: 90 * given.view.quarters, inverted: given.inverted },
      },
    };
    const shown = saliency.onPicture(saliency.evidence(outputs.map, given.letterbox), given.view);
    const highest = saliency.peak(shown);
    const digits = (box) => Object.fromEntries(Object.entries(box).map(([key, value]) => [key, roundTo(value, 5)]));
    return {
      answer,
      picture: given.picture,
      evidence: shown,
      explanation: { peak: highest && digits(highest), boxes: saliency.boxes(shown).map(digits) },
    };
  }

  #isUnusual({ distance, texture: steepness, truncated }, outputs) {
    const { manifest, imageHeads } = this.bundle;
    const odds = guardLogOdds(imageHeads, outputs.embedding ?? [], steepness);
    if (odds === null) return distance > manifest.guard.unusual;
    guard.checkRadiograph(odds, imageHeads.guard_refuse.data[0], truncated);
    return odds < imageHeads.guard_unusual.data[0];
  }

  #region(outputs, inHeader) {
    const { manifest, imageHeads } = this.bundle;
    const shares = regionProbabilities(imageHeads, outputs.embedding ?? []) ?? [];
    return findRegion(shares, imageHeads.region_likely?.data[0] ?? 0, manifest.intended.regions, inHeader);
  }

  #notes({ given, header, truncated, inputs }, unusual) {
    const { manifest, reference } = this.bundle;
    const size = manifest.preprocessing.image_size;
    const notes = [];
    const add = (code, facts) => notes.push(note(code, facts));
    if (manifest.trained_on.synthetic) add("synthetic_model");
    if (header.forProcessing) add("for_processing");
    if (truncated) add("truncated");
    if (given.inverted) add("inverted");
    if (given.isDivided) add("several_images");
    if (given.smoothed) add("noisy");
    if (Math.max(header.width, header.height) < size) add("low_resolution", { size });
    if (unusual) add("unusual");
    const outside = reference.outside(inputs);
    if (outside.length) {
      const what = outside.map(({ name }) => WORDING.OUTSIDE[name]).join(" and ");
      const found = outside.map(({ name, value, low, high }) =>
        `${STATISTICS.INPUT_MEANINGS[name]} ${threeDigits(value)}, in training ${threeDigits(low)} to ${threeDigits(high)}`).join("; ");
      const bright = outside.some(({ name, value, high }) => name === "mean" && value > high);
      const told = note("out_of_range", { what: capital(what) }, capital(found));
      notes.push(bright ? { ...told, message: told.message + WORDING.IS_IT_INVERTED } : told);
    }
    return notes;
  }
}

function regionAnswer({ name, source, probability, also }) {
  const told = { name, source, probability: probability === null ? null : roundTo(probability, 6) };
  return also.length === 0 ? told : { ...told, also: also.map(([other, share]) => ({ name: other, probability: roundTo(share, 6) })) };
}

function capital(words) {
  return `${words[0].toUpperCase()}${words.slice(1)}`;
}
