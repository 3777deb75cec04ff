// numpy's archives: a ZIP of .npy files, read as { name: { shape, data } }.

const END = 0x06054b50;
const ENTRY = 0x02014b50;

/** The arrays of an .npz file, floats as Float64Array and texts as an array. Throws for any other kind. */
export async function readNpz(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let end = bytes.length - 22;
  while (end >= 0 && view.getUint32(end, true) !== END) end -= 1;
  if (end < 0) throw new Error("the file is no npz archive");
  const found = {};
  let at = view.getUint32(end + 16, true);
  for (let left = view.getUint16(end + 10, true); left > 0; left -= 1) {
    if (view.getUint32(at, true) !== ENTRY) throw new Error("the npz archive is damaged");
    const method = view.getUint16(at + 10, true);
    const size = view.getUint32(at + 20, true);
    const [nameLength, extra, comment] = [28, 30, 32].map((place) => view.getUint16(at + place, true));
    const local = view.getUint32(at + 42, true);
    const name = new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + nameLength));
    const start = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    const packed = bytes.subarray(start, start + size);
    found[name.replace(/\.npy$/, "")] = readNpy(method === 0 ? packed : await unpacked(packed, "deflate-raw"));
    at += 46 + nameLength + extra + comment;
  }
  return found;
}

/** What a packed file holds; `format` as DecompressionStream names it. */
export async function unpacked(bytes, format) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream(format));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function readNpy(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const long = bytes[6] > 1;
  const start = (long ? 12 : 10) + (long ? view.getUint32(8, true) : view.getUint16(8, true));
  const header = new TextDecoder("latin1").decode(bytes.subarray(10, start));
  const kind = /'descr': '([^']+)'/.exec(header)[1];
  const shape = /'shape': \(([^)]*)\)/.exec(header)[1].split(",").filter((part) => part.trim()).map(Number);
  const many = shape.reduce((product, side) => product * side, 1);
  const content = bytes.slice(start).buffer;
  if (kind === "<f8" || kind === "<f4") {
    const data = Float64Array.from(kind === "<f8" ? new Float64Array(content) : new Float32Array(content));
    return { shape, data: /'fortran_order': True/.test(header) ? byRows(data, shape) : data };
  }
  if (kind === "<i8") return { shape, data: Float64Array.from(new BigInt64Array(content), Number) };
  if (kind === "<u8") return { shape, data: new BigUint64Array(content) };
  if (kind.startsWith("<U")) {
    const length = Number(kind.slice(2));
    const letters = new Uint32Array(content);
    const text = (index) => String.fromCodePoint(...letters.subarray(index * length, (index + 1) * length).filter(Boolean));
    return { shape, data: Array.from({ length: many }, (_, index) => text(index)) };
  }
  throw new Error(`an array of ${kind} is not read`);
}

// What is stored by columns, by rows; of at most two dimensions.
function byRows(data, shape) {
  if (shape.length < 2) return data;
  if (shape.length > 2) throw new Error("an array of several dimensions is stored by columns");
  const [rows, columns] = shape;
  return data.map((_, at) => data[(at % columns) * rows + Math.floor(at / columns)]);
}
