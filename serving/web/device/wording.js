// Warnings in the service's words: serving/wording.py.

import { WORDING } from "./constants.js";

/** A warning, with the facts in the place of the words in braces and, where there are any, the numbers behind it. */
export function note(code, facts = {}, detail = "") {
  return { code, message: filled(WORDING.WARNINGS[code], facts), ...(detail && { detail }) };
}

/** A text with the facts in the place of the words in braces. */
export function filled(text, facts) {
  return text.replace(/\{(\w+)\}/g, (_, name) => facts[name]);
}
