// What is stated of an image's region, what it looks like, and the warnings about either: serving/region.py.

import { REGION, WORDING } from "./constants.js";
import { roundEven } from "./numbers.js";
import { filled, note } from "./wording.js";

/**
 * The header's region where the model knows it, else the likeliest of `shares`: [name, probability] pairs, empty without
 * a region head. Null where nothing tells it.
 */
export function findRegion(shares, likely, intended, inHeader) {
  const [best, highest] = shares.reduce((high, one) => (one[1] > high[1] ? one : high), ["", -1]);
  const known = shares.length === 0 || highest >= likely;
  const stated = new Map(shares).get(inHeader) ?? null;
  if (stated !== null || intended.includes(inHeader)) {
    const looksLike = shares.length > 0 && known && best !== inHeader ? [best, highest] : null;
    // The network cannot say that an image shows none, where it does not know the stated region.
    return { name: inHeader, source: "header", probability: stated, known: known || stated === null, looksLike, also: beside(inHeader, shares) };
  }
  if (shares.length === 0) return null;
  return { name: best, source: "image", probability: highest, known, looksLike: null, also: beside(best, shares) };
}

// The further regions, [name, probability] pairs, of an image that shows this one and others for sure.
function beside(name, shares) {
  const sure = shares.filter(([, share]) => share >= REGION.SEVERAL_FROM);
  return sure.some(([one]) => one === name) ? sure.filter(([one]) => one !== name).sort((one, other) => other[1] - one[1]) : [];
}

/** The warnings about a region; `weak` holds the regions that the model is not shown to be good for, with their figures. */
export function regionNotes(region, intended, weak) {
  if (region === null) return [];
  const found = [];
  const [name, share] = region.looksLike ?? [];
  if (name && region.probability !== null && region.probability < REGION.DIFFERS_BELOW && share >= REGION.SURE_FROM) {
    const seen = `${"aeiou".includes(name[0]) ? "an" : "a"} ${name}`;
    found.push(note("region_differs", { stated: region.name, seen, percent: Math.min(99, roundEven(100 * share)) }));
  }
  if (!region.known) {
    found.push(note("unknown_region", { known: intended.join(", ") }));
    if (region.source === "image") return found;
  }
  if (region.name in weak) found.push(weakNote(region.name, weak[region.name]));
  if (name && name in weak) found.push(weakNote(name, weak[name], WORDING.SEEN));
  for (const [other] of region.also) {
    if (other in weak && other !== name) found.push(weakNote(other, weak[other], WORDING.SEEN));
  }
  return found;
}

function weakNote(name, figures, seen = "") {
  return note("weak_region", { region: `${name}${seen}`, reason: reasonOf(figures) }, `Test images of ${name}: ${figures}`);
}

function reasonOf(figures) {
  const counts = /^(\d+) fractured of (\d+)/.exec(figures);
  if (!counts) return WORDING.WEAK;
  const [fractured, images] = counts.slice(1).map(Number);
  const normal = images - fractured;
  if (Math.min(fractured, normal) >= REGION.FEWEST) return WORDING.WEAK;
  const few = fractured <= normal ? WORDING.FEW_FRACTURED : WORDING.FEW_NORMAL;
  return filled(few, { fractured, normal, images });
}
