// The model bundle, verified before anything is answered with it: serving/bundle.py.

import { BUNDLE, FORM, SIGNATURE } from "./constants.js";
import { BundleError } from "./errors.js";
import { readNpz } from "./npz.js";
import { sha256 } from "./predictor.js";
import { Scope, termsFor } from "./scope.js";
import { checkSignature } from "./signature.js";
import { Reference } from "./statistics.js";

/**
 * The bundle behind `fetchFile(name)`, a promise of a file's bytes. Throws BundleError for a missing or changed file;
 * `manifestHash` is the sha256 that model.json has to have. Where there are `keys`, as signature.js takes them, one of them
 * must have signed model.json, which names all other files with their sha256.
 */
export async function readBundle(fetchFile, manifestHash, keys) {
  if (keys.length) await checkSigned(fetchFile, manifestHash, keys);
  const raw = await verified(fetchFile, BUNDLE.MANIFEST, manifestHash);
  const manifest = JSON.parse(new TextDecoder().decode(raw));
  const file = (name) => verified(fetchFile, name, manifest.files[name]);
  const json = async (name) => JSON.parse(new TextDecoder().decode(await file(name)));
  const arrays = async (name) => readNpz(await file(name));
  const has = (name) => name in manifest.files;
  const { regions } = manifest.intended;
  const [polarity, imageHeads, reference, terms] = await Promise.all([
    manifest.preprocessing.canonical?.polarity ? json(FORM.POLARITY) : null,
    has(BUNDLE.IMAGE_HEADS) ? arrays(BUNDLE.IMAGE_HEADS) : {},
    arrays(BUNDLE.REFERENCE),
    has(BUNDLE.SCOPE) ? json(BUNDLE.SCOPE) : termsFor(regions),
  ]);
  return {
    manifest,
    file,
    reference: new Reference(reference),
    heads: { polarity },
    imageHeads,
    scope: new Scope(terms, regions),
  };
}

async function checkSigned(fetchFile, manifestHash, keys) {
  const text = new TextDecoder().decode(await fetchFile(BUNDLE.MANIFEST + SIGNATURE.SUFFIX));
  await checkSignature(text, keys, BUNDLE.MANIFEST, manifestHash).catch(({ message }) => { throw new BundleError(message); });
}

async function verified(fetchFile, name, wanted) {
  const content = await fetchFile(name);
  if ((await sha256(content)) !== wanted) {
    throw new BundleError(`${name} is damaged or was changed: its sha256 is not the one that was published`);
  }
  return content;
}
