// Decoders that are fetched with the first frame that needs them: CharLS for JPEG-LS and OpenJPEG for JPEG 2000, the
// libraries that decode for the service as well.

const FOLDER = new URL("../../../../codecs/", import.meta.url);
const loaded = new Map();

function library(name) {
  if (!loaded.has(name)) {
    const begun = load(name);
    loaded.set(name, begun);
    begun.catch(() => loaded.delete(name)); // the next frame has it fetched again
  }
  return loaded.get(name);
}

async function load(name) {
  const address = (suffix) => new URL(`${name}wasm_decode.${suffix}`, FOLDER);
  const [{ default: start }, response] = await Promise.all([import(address("js")), fetch(address("wasm"))]);
  if (!response.ok) throw new Error(`the decoder ${name} cannot be loaded`);
  const silent = () => {};
  return start({ wasmBinary: new Uint8Array(await response.arrayBuffer()), print: silent, printErr: silent });
}

/** A JPEG-LS frame: { values, precision, planar }, samples as the stream holds them. */
export async function jpegLs(stream) {
  const { JpegLSDecoder } = await library("charls");
  return decoded(new JpegLSDecoder(), stream, (decoder) => ({ planar: decoder.getInterleaveMode() === 0 }));
}

/**
 * A JPEG 2000 frame: { values, precision, signed }, samples pixel by pixel. Values of a signed stream come raised by half
 * their range: the decoder would cut off negative ones of eight bits, so the stream is given to it as one without a sign.
 */
export async function jpeg2000(stream) {
  const { J2KDecoder } = await library("openjpeg");
  const plain = stream.slice();
  const [components, firstSize] = [(stream[40] << 8) | stream[41], 42]; // Csiz, Ssiz (ISO 15444-1, A.5.1)
  for (let index = 0; index < components; index += 1) plain[firstSize + 3 * index] &= 0x7f;
  return decoded(new J2KDecoder(), plain, () => ({ signed: stream[firstSize] >= 0x80 }));
}

function decoded(decoder, stream, more) {
  try {
    decoder.getEncodedBuffer(stream.length).set(stream);
    decoder.decode();
    const { bitsPerSample: precision, componentCount: samples, width, height } = decoder.getFrameInfo();
    const { buffer } = decoder.getDecodedBuffer().slice();
    return { values: new (precision <= 8 ? Uint8Array : Uint16Array)(buffer, 0, width * height * samples), precision, ...more(decoder) };
  } catch (error) {
    throw new Error(typeof error === "number" ? "the decoder gave up" : error.message);
  } finally {
    decoder.delete();
  }
}
