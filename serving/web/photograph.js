// Whether a file is a photograph: phones offer camera and gallery where images are chosen, and other apps share from there.

const HEAD = 2 ** 17; // bytes: Exif lies in the first segments of a JPEG, of at most 64 KB each
const EXIF_FOLDER = 0x8769; // tags of Exif 2.32
const APERTURE = 0x829d;
const ENTRY = 12; // bytes of one tag

/** A promise of whether a JPEG was taken with a lens, as its Exif says; of a radiograph none has an aperture. */
export async function isPhotograph(file) {
  const head = await file.slice(0, HEAD).arrayBuffer().catch(() => new ArrayBuffer(0));
  try {
    const exif = exifOf(new DataView(head));
    return exif !== null && hasAperture(exif);
  } catch (error) {
    if (error instanceof RangeError) return false; // it ends within its header
    throw error;
  }
}

// The TIFF header of a JPEG's Exif and what follows it, null where there is none.
function exifOf(view) {
  if (view.byteLength < 4 || view.getUint16(0) !== 0xffd8) return null;
  for (let at = 2; at + 4 <= view.byteLength; at += 2 + view.getUint16(at + 2)) {
    const marker = view.getUint16(at);
    if (marker < 0xffc0 || marker === 0xffda) return null; // no marker, or the picture begins
    if (marker === 0xffe1 && view.getUint32(at + 4) === 0x45786966) return new DataView(view.buffer, at + 10);
  }
  return null;
}

function hasAperture(view) {
  const little = view.getUint16(0) === 0x4949;
  const folder = entry(view, view.getUint32(4, little), EXIF_FOLDER, little);
  return folder !== null && entry(view, view.getUint32(folder + 8, little), APERTURE, little) !== null;
}

// Where a tag lies in a folder of them, null where it does not.
function entry(view, folder, wanted, little) {
  const count = view.getUint16(folder, little);
  for (let at = folder + 2; at < folder + 2 + count * ENTRY; at += ENTRY) {
    if (view.getUint16(at, little) === wanted) return at;
  }
  return null;
}
