// WebP: its header read here, its pixels by the browser, whose decoder is the format's own.

/** What a WebP says of itself: size, alpha, frames, Exif. Throws Error for a broken one. */
export function readHeader(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found = { frames: 1, exif: null, alpha: false, width: 0, height: 0 };
  let frames = 0;
  for (const { name, start, end } of chunks(bytes)) {
    if (name === "VP8X") {
      found.alpha = (bytes[start] & 16) !== 0;
      [found.width, found.height] = [4, 7].map((at) => 1 + (view.getUint32(start + at, true) & 0xffffff));
    } else if (name === "VP8 " && !found.width) {
      [found.width, found.height] = [6, 8].map((at) => view.getUint16(start + at, true) & 0x3fff);
    } else if (name === "VP8L" && !found.width) {
      const bits = view.getUint32(start + 1, true);
      [found.width, found.height] = [1 + (bits & 0x3fff), 1 + ((bits >>> 14) & 0x3fff)];
      found.alpha = (bits >>> 28 & 1) === 1;
    } else if (name === "ANMF") {
      frames += 1;
    } else if (name === "EXIF") {
      found.exif = bytes.subarray(start, end);
    }
  }
  if (!found.width || !found.height) throw new Error("no picture");
  return { ...found, frames: Math.max(1, frames) };
}

function* chunks(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 12; at + 8 <= bytes.length;) {
    const size = view.getUint32(at + 4, true);
    yield { name: String.fromCharCode(...bytes.subarray(at, at + 4)), at, start: at + 8, end: at + 8 + size };
    at += 8 + size + (size & 1);
  }
}

/** Three planes, transparent pixels over black; orientation and colour profile are not applied. */
export async function readColours(bytes) {
  // Without the chunks that would have the browser turn the picture or convert its colours.
  const kept = [...chunks(bytes)].filter(({ name }) => !["EXIF", "ICCP", "XMP "].includes(name));
  const parts = kept.map(({ at, end }) => bytes.subarray(at, end + ((end - at) & 1)));
  const size = parts.reduce((sum, part) => sum + part.length, 0);
  const head = new Uint8Array(12);
  head.set(bytes.subarray(0, 12));
  new DataView(head.buffer).setUint32(4, size + 4, true);
  const extended = parts[0].slice();
  if (kept[0].name === "VP8X") extended[8] &= ~0x2c; // flags of those chunks
  const blob = new Blob([head, extended, ...parts.slice(1)], { type: "image/webp" });
  const image = await createImageBitmap(blob, { colorSpaceConversion: "none" });
  const { width, height } = image;
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true, alpha: false });
  context.drawImage(image, 0, 0);
  image.close();
  const { data } = context.getImageData(0, 0, width, height);
  const [red, green, blue] = [0, 1, 2].map(() => new Uint8Array(width * height));
  for (let at = 0; at < red.length; at += 1) {
    [red[at], green[at], blue[at]] = [data[4 * at], data[4 * at + 1], data[4 * at + 2]];
  }
  return { width, height, red, green, blue };
}
