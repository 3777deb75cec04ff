// From a network's raw scores to an answer: serving/decision.py.

import { DECISION, WORDING } from "./constants.js";
import { clamp } from "./numbers.js";

function logit(p) {
  const clipped = clamp(p, DECISION.EPS, 1 - DECISION.EPS);
  return Math.log(clipped) - Math.log1p(-clipped);
}

export function sigmoid(x) {
  return 0.5 * (1 + Math.tanh(0.5 * x));
}

/** Calibrated probabilities of the classes from one image's raw scores. */
export function calibrated(scores, calibration) {
  if (calibration.kind === "logistic") {
    const p = sigmoid(calibration.slope * logit(scores[0]) + calibration.bias);
    return [1 - p, p];
  }
  const z = Array.from(scores, (score) => Math.log(clamp(score, DECISION.EPS, 1)) / calibration.temperature);
  const powers = z.map((value) => Math.exp(value - Math.max(...z)));
  const total = powers.reduce((sum, value) => sum + value, 0);
  return powers.map((value) => value / total);
}

/** None below the high-sensitivity point, high from the high-specificity point on; never `none` for a fracture. */
export function suspicionOf(probability, { threshold, operating_points: points }) {
  const [low, high] = [points.high_sensitivity, points.high_specificity].sort((a, b) => a - b);
  if (probability < Math.min(low, threshold)) return "none";
  return probability >= high ? "high" : "possible";
}

export function labelOf(probability, facts) {
  if (probability >= facts.threshold) return DECISION.FRACTURED;
  return suspicionOf(probability, facts) === "high" ? DECISION.SUSPICIOUS : DECISION.NORMAL;
}

/** The answer in words; a file that is cut short was only seen in part. */
export function statementOf(label, suspicion, truncated) {
  if (suspicion === "none" && truncated) return WORDING.NONE_IN_PART;
  return WORDING.STATEMENTS.find(([[forLabel, forSuspicion]]) => forLabel === label && forSuspicion === suspicion)[1];
}
