// What a file is that no decoder here reads, and what to do about it: serving/imaging/formats.py.

import { FORMATS } from "../constants.js";

/** What is read here. */
export const READ = "JPEG, PNG, WebP, BMP or DICOM";

/** Whether bytes begin with a signature, given as text of one letter a byte. */
export function startsWith(bytes, signature, at = 0) {
  for (let index = 0; index < signature.length; index += 1) {
    if (bytes[at + index] !== signature.charCodeAt(index)) return false;
  }
  return true;
}

/** The format of a picture by its first bytes; empty for any other file. */
export function formatOf(bytes) {
  if (startsWith(bytes, "\xff\xd8\xff")) return "JPEG";
  if (startsWith(bytes, "\x89PNG\r\n\x1a\n")) return "PNG";
  if (startsWith(bytes, "BM")) return "BMP";
  return startsWith(bytes, "RIFF") && startsWith(bytes, "WEBP", 8) ? "WEBP" : "";
}

/** In one line: what the file is, and what to do about it. */
export function refusal(bytes) {
  const named = nameOf(bytes);
  return named === null ? `the file is no ${READ} image` : `the file is ${named[0]}, which is not read; ${named[1]}`;
}

function nameOf(bytes) {
  const text = (from, to) => String.fromCharCode(...bytes.subarray(from, Math.min(to, bytes.length)));
  if (text(4, 8) === "ftyp") {
    const brands = [text(8, 12)];
    for (let at = 16; at < Math.min(64, bytes.length); at += 4) brands.push(text(at, at + 4));
    const known = brands.find((brand) => brand in FORMATS.BRANDS);
    return known ? FORMATS.BRANDS[known] : ["a video", "send one frame as a picture"];
  }
  if (FORMATS.TIFF.some((signature) => startsWith(bytes, signature))) return ["a TIFF file", "open it with the service, or save it as PNG"];
  if (startsWith(bytes, "RIFF")) return ["a sound or a video", "send a picture"];
  const start = text(0, 512).replace(/^[\xef\xbb\xbf \t\r\n]+/, "").toLowerCase();
  if (text(0, 2048).toLowerCase().includes("<svg") && start.startsWith("<")) return ["an SVG drawing", "export it as PNG"];
  if (/^(<!doctype html|<html)/.test(start)) return ["a web page", "save the image itself"];
  const signature = Object.keys(FORMATS.SIGNATURES).find((known) => startsWith(bytes, known));
  return signature ? FORMATS.SIGNATURES[signature] : null;
}
