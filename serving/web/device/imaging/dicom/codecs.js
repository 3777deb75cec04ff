// Decoders that are fetched with the first frame that needs them: CharLS for JPEG-LS and OpenJPEG for JPEG 2000, the
// libraries that decode for the service as well.

const FOLDER = new URL("../../../../codecs/", import.meta.url);
const MOST_KEPT = 2 ** 25; // bytes; a decoder's memory grows with its frames and never shrinks
const compiled = new Map();
const started = new Map();

// A decoder that is ready; one that was let go starts anew from what was compiled.
function library(name) {
  return kept(started, name, async () => {
    const [start, module] = await kept(compiled, name, () => load(name));
    const silent = () => {};
    const instantiateWasm = (imports, done) => {
      WebAssembly.instantiate(module, imports).then((instance) => done(instance, module));
      return {};
    };
    return start({ instantiateWasm, print: silent, printErr: silent });
  });
}

async function load(name) {
  const address = (suffix) => new URL(`${name}wasm_decode.${suffix}`, FOLDER);
  const [{ default: start }, response] = await Promise.all([import(address("js")), fetch(address("wasm"))]);
  if (!response.ok) throw new Error(`the decoder ${name} cannot be loaded`);
  return [start, await WebAssembly.compile(await response.arrayBuffer())];
}

// What a map has under a name, or what `make` promises; after a failure it is made anew.
function kept(map, name, make) {
  if (!map.has(name)) {
    const begun = make();
    map.set(name, begun);
    begun.catch(() => map.delete(name));
  }
  return map.get(name);
}

/** A JPEG-LS frame: { values, precision, planar }, samples as the stream holds them. */
export async function jpegLs(stream) {
  const { JpegLSDecoder } = await library("charls");
  return decoded("charls", new JpegLSDecoder(), stream, (decoder) => ({ planar: decoder.getInterleaveMode() === 0 }));
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
  return decoded("openjpeg", new J2KDecoder(), plain, () => ({ signed: stream[firstSize] >= 0x80 }));
}

function decoded(name, decoder, stream, more) {
  let isKept = false;
  try {
    decoder.getEncodedBuffer(stream.length).set(stream);
    decoder.decode();
    const { bitsPerSample: precision, componentCount: samples, width, height } = decoder.getFrameInfo();
    const found = decoder.getDecodedBuffer();
    isKept = found.buffer.byteLength <= MOST_KEPT;
    const { buffer } = found.slice();
    return { values: new (precision <= 8 ? Uint8Array : Uint16Array)(buffer, 0, width * height * samples), precision, ...more(decoder) };
  } catch (error) {
    isKept = false;
    throw new Error(typeof error === "number" ? "the decoder gave up" : error.message);
  } finally {
    decoder.delete();
    if (!isKept) started.delete(name);
  }
}
