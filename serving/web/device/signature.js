// Signatures of the OpenSSF model signing format, checked with WebCrypto: serving/signature.py. The packaging writes this
// text into the service worker too, without its imports and exports.

import { SIGNATURE } from "./constants.js";

/**
 * Throws Error, in one line, unless one of `keys` made the signature `text` of a folder that holds the file `name` with the
 * digest `sha256`, and nothing else. A key is { fingerprint, curve, hash, spki }: curve and hash as WebCrypto names them,
 * `spki` in base64.
 */
export async function checkSignature(text, keys, name, sha256) {
  const { payload, signature, named } = parsed(text);
  const key = keys.find(({ fingerprint }) => fingerprint === named);
  if (!key) throw new Error(`the signature was made with the key ${named.slice(0, 12) || "(none)"}, which is not trusted`);
  if (!await isMade(key, signature, preAuthentication(payload))) {
    throw new Error("the signature is not valid: it was changed, or another key made it");
  }
  const { _type: type, subject, predicateType, predicate } = JSON.parse(new TextDecoder().decode(payload));
  const { method, hash_type: hash } = predicate.serialization;
  if (type !== SIGNATURE.STATEMENT || predicateType !== SIGNATURE.PREDICATE || method !== "files" || hash !== "sha256") {
    throw new Error("the signature says something else than files with their sha256");
  }
  const [only, ...others] = predicate.resources;
  if (others.length || only.name !== name || only.algorithm !== "sha256" || only.digest !== sha256) {
    throw new Error(`the signature is that of another ${name}`);
  }
  if (subject.length !== 1 || subject[0].digest.sha256 !== await digestOf(bytesOfHex(only.digest))) {
    throw new Error("the signature contradicts its own digest");
  }
}

// The signed bytes, their signature, and the fingerprint of the key that the signature names.
function parsed(text) {
  try {
    const { mediaType, verificationMaterial: { publicKey }, dsseEnvelope: envelope } = JSON.parse(text);
    const [{ sig }, ...others] = envelope.signatures;
    if (mediaType !== SIGNATURE.MEDIA_TYPE || envelope.payloadType !== SIGNATURE.PAYLOAD_TYPE || others.length) throw new Error(mediaType);
    return { payload: bytesOf(envelope.payload), signature: bytesOf(sig), named: publicKey?.hint ?? "" };
  } catch {
    throw new Error("the signature cannot be used: it is none of a key in the OpenSSF model signing format");
  }
}

async function isMade({ curve, hash, spki }, der, signed) {
  const key = await crypto.subtle.importKey("spki", bytesOf(spki), { name: "ECDSA", namedCurve: curve }, false, ["verify"]);
  const size = Math.ceil(Number(curve.slice("P-".length)) / 8);
  return crypto.subtle.verify({ name: "ECDSA", hash }, key, rawOf(der, size), signed);
}

// The two numbers of a signature, as WebCrypto takes them: `size` bytes each, instead of a sequence of DER (X.690).
function rawOf(der, size) {
  const raw = new Uint8Array(2 * size);
  let at = der[1] < 128 ? 2 : 3;
  for (const end of [size, 2 * size]) {
    const number = der.subarray(at + 2, at + 2 + der[at + 1]);
    const digits = number.subarray(Math.max(0, number.findIndex(Boolean)));
    if (der[at] !== 2 || digits.length > size) throw new Error("the signature cannot be used");
    raw.set(digits, end - digits.length);
    at += 2 + number.length;
  }
  return raw;
}

// The bytes that a DSSE signature covers (its protocol, v1.0.2).
function preAuthentication(payload) {
  const kind = SIGNATURE.PAYLOAD_TYPE;
  const head = new TextEncoder().encode(`DSSEv1 ${kind.length} ${kind} ${payload.length} `);
  const found = new Uint8Array(head.length + payload.length);
  found.set(head);
  found.set(payload, head.length);
  return found;
}

async function digestOf(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (value) => value.toString(16).padStart(2, "0")).join("");
}

function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}

function bytesOfHex(text) {
  return Uint8Array.from(text.match(/../g), (pair) => parseInt(pair, 16));
}
