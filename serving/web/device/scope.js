// What a header says of an image's kind and body part: serving/scope.py.

import { SCOPE } from "./constants.js";
import { ImageError } from "./errors.js";

const AREAS = new Map(Object.entries(SCOPE.WORDS).flatMap(([area, words]) => words.split(" ").map((word) => [word, area])));
const OTHER_CLASSES = new Map(Object.entries(SCOPE.CLASSES)
  .flatMap(([modality, numbers]) => numbers.split(" ").map((number) => [number, modality])));

/** The one of SCOPE.REGIONS that a body part's words name, empty where they name none or several. */
export function regionOf(bodyPart) {
  const named = new Set(areasOf(bodyPart).filter((area) => SCOPE.REGIONS.includes(area)));
  return named.size === 1 ? [...named][0] : "";
}

/** Refuse an image whose header says that it is none of a model's. */
export function checkScope(header, regions) {
  const found = reasonOf(header, regions);
  if (!found) return;
  const meant = (regions.length ? regions : SCOPE.REGIONS).join(", ");
  throw new ImageError("out_of_scope", `the header says ${found}; this model is for radiographs of: ${meant}`);
}

function reasonOf({ modality: given = "", sopClassUid = "", bodyPart = "" }, regions) {
  const code = given.trim().toUpperCase();
  const modality = code in SCOPE.OTHER_MODALITIES ? code : modalityOf(sopClassUid);
  if (modality) return `${SCOPE.OTHER_MODALITIES[modality]} (${modality})`;
  const areas = areasOf(bodyPart);
  const wanted = new Set((regions.length ? regions : SCOPE.REGIONS).map((region) => region.toLowerCase()));
  // A model whose regions have other names than ours may be meant for any of them.
  const known = [...wanted].every((region) => region in SCOPE.WORDS);
  const passes = (area) => wanted.has(area) || area === "" || (SCOPE.REGIONS.includes(area) && !known);
  if (areas.length === 0 || areas.some(passes)) return "";
  return [...new Set(areas)].sort().join(" and ");
}

function modalityOf(sopClass) {
  if (!sopClass.startsWith(SCOPE.STORAGE)) return "";
  const parts = sopClass.slice(SCOPE.STORAGE.length).split(".");
  for (let length = parts.length; length > 0; length -= 1) {
    const found = OTHER_CLASSES.get(parts.slice(0, length).join("."));
    if (found) return found;
  }
  return "";
}

function areasOf(bodyPart) {
  const plain = [...bodyPart.toUpperCase()].map((letter) => SCOPE.UMLAUTS[letter] ?? letter).join("");
  const words = plain.split(/[^A-Z]+/);
  const joined = words.slice(1).map((word, index) => words[index] + word);
  return [...words, ...joined].map(areaOf).filter((area) => area !== undefined);
}

// A side may stand before a word, but never makes it one that refuses.
function areaOf(word) {
  if (AREAS.has(word)) return AREAS.get(word);
  const bare = SCOPE.SIDES.filter((side) => word.startsWith(side)).map((side) => AREAS.get(word.slice(side.length)));
  return bare.find((area) => area === "" || SCOPE.REGIONS.includes(area));
}
