// What a header says of an image's kind and body part, and whether a model is meant for it: serving/scope.py.

import { SCOPE } from "./constants.js";
import { ImageError } from "./errors.js";

/** The terms of a bundle that carries no list of its own: this version's, for a model that was trained for `regions`. */
export function termsFor(regions) {
  const wanted = (regions.length ? regions : SCOPE.REGIONS).map((region) => region.toLowerCase());
  // A model whose regions have other names than ours may be meant for any of them.
  const known = wanted.every((region) => region in SCOPE.WORDS);
  const isMeant = (area) => wanted.includes(area) || (!known && SCOPE.REGIONS.includes(area));
  const areas = Object.entries(SCOPE.WORDS).map(([area, words]) => [area, words.split(" ")]);
  return {
    intended: Object.fromEntries(areas.filter(([area]) => area && isMeant(area))),
    refused: Object.fromEntries(areas.filter(([area]) => area && !isMeant(area))),
    either: SCOPE.WORDS[""].split(" "),
    modalities: SCOPE.OTHER_MODALITIES,
    sop_classes: Object.fromEntries(Object.entries(SCOPE.CLASSES)
      .flatMap(([modality, numbers]) => numbers.split(" ").map((number) => [SCOPE.STORAGE + number, modality]))),
  };
}

/** What a model is meant for: `terms` as scope.json holds them, and its regions as it names them itself. */
export class Scope {
  #areas;

  constructor(terms, regions) {
    Object.assign(this, { terms, regions });
    const areas = Object.entries({ ...terms.intended, ...terms.refused, "": terms.either });
    this.#areas = new Map(areas.flatMap(([area, words]) => words.map((word) => [word, area])));
  }

  /** The one intended region that a body part's words name, empty where they name none or several. */
  regionOf(bodyPart) {
    const named = new Set(this.#areasOf(bodyPart).filter((area) => area in this.terms.intended));
    return named.size === 1 ? [...named][0] : "";
  }

  /** Refuse an image whose header says that it is none of the model's. */
  check(header) {
    const found = this.#reasonOf(header);
    if (!found) return;
    const meant = (this.regions.length ? this.regions : Object.keys(this.terms.intended)).join(", ");
    throw new ImageError("out_of_scope", `the header says ${found}; this model is for radiographs of: ${meant}`);
  }

  #reasonOf({ modality: given = "", sopClassUid = "", bodyPart = "" }) {
    const { modalities, refused } = this.terms;
    const code = given.trim().toUpperCase();
    const modality = code in modalities ? code : this.#modalityOf(sopClassUid);
    if (modality) return `${modalities[modality]} (${modality})`;
    const areas = this.#areasOf(bodyPart);
    return areas.every((area) => area in refused) ? [...new Set(areas)].sort().join(" and ") : "";
  }

  #modalityOf(sopClass) {
    const parts = sopClass.split(".");
    for (let length = parts.length; length > 0; length -= 1) {
      const found = this.terms.sop_classes[parts.slice(0, length).join(".")];
      if (found) return found;
    }
    return "";
  }

  #areasOf(bodyPart) {
    const plain = [...bodyPart.toUpperCase()].map((letter) => SCOPE.UMLAUTS[letter] ?? letter).join("");
    const words = plain.split(/[^A-Z]+/);
    const joined = words.slice(1).map((word, index) => words[index] + word);
    return [...words, ...joined].map((word) => this.#areaOf(word)).filter((area) => area !== undefined);
  }

  // A side may stand before a word, but never makes it one that refuses.
  #areaOf(word) {
    if (this.#areas.has(word)) return this.#areas.get(word);
    const bare = SCOPE.SIDES.filter((side) => word.startsWith(side)).map((side) => this.#areas.get(word.slice(side.length)));
    return bare.find((area) => area !== undefined && !(area in this.terms.refused));
  }
}
