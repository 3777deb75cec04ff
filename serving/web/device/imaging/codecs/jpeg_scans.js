// The coded data of a JPEG's scans (ITU-T T.81): Huffman codes, bits, and the coefficients of a block.

import { EOI } from "./jpeg_header.js";

/** Where the coefficients of a block lie, in the order in which they are stored. */
export const ZIGZAG = Uint8Array.from([
  0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21, 28,
  35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
]);
const SHORT = 9; // bits of a code that one look tells

/**
 * Huffman codes: those of up to SHORT bits in a table, longer ones by their smallest and largest code (T.81,
 * F.2.2.3). Throws Error for lengths that leave no room for their codes, none of which is all ones (T.81, C.2).
 */
export function codesOf(counts, symbols) {
  const short = new Int16Array(1 << SHORT).fill(-1); // length << 8 | symbol
  const largest = new Int32Array(18).fill(-1);
  const offset = new Int32Array(18);
  let [code, place] = [0, 0];
  for (let length = 1; length <= 16; length += 1) {
    offset[length] = place - code;
    for (let index = 0; index < counts[length - 1]; index += 1, code += 1, place += 1) {
      if (length > SHORT) continue;
      const from = code << (SHORT - length);
      short.fill((length << 8) | symbols[place], from, from + (1 << (SHORT - length)));
    }
    if ((counts[length - 1] && code >= 1 << length) || place > symbols.length) throw new Error("a table of more codes than there can be");
    largest[length] = counts[length - 1] ? code - 1 : -1;
    code <<= 1;
  }
  return { short, largest, offset, symbols };
}

/** The bits of a scan from `at` on; zeros stand for those that a marker or the end of the file cut off. */
export class BitReader {
  constructor(bytes, at) {
    Object.assign(this, { bytes, at, held: 0, count: 0, missing: 0, padded: 0, marker: false });
  }

  // Whether bits were asked for behind a marker.
  get starved() {
    return this.padded > this.count;
  }

  // Whether bits were asked for behind the end of the file.
  get exhausted() {
    return this.missing > this.count && !this.marker;
  }

  #fill() {
    while (this.count <= 24) {
      let value = 0;
      if (this.at >= this.bytes.length) {
        this.missing += 8;
      } else if (this.bytes[this.at] !== 0xff) {
        value = this.bytes[this.at++];
      } else if (this.bytes[this.at + 1] === 0) {
        value = 0xff;
        this.at += 2;
      } else if (this.at + 1 >= this.bytes.length) {
        this.at = this.bytes.length;
        this.missing += 8;
      } else {
        this.marker = true; // what is missing before a marker is zero
        this.padded += 8;
      }
      this.held = (this.held << 8) | value;
      this.count += 8;
    }
  }

  bits(length) {
    if (length === 0) return 0;
    if (this.count < length) this.#fill();
    this.count -= length;
    return (this.held >>> this.count) & ((1 << length) - 1);
  }

  symbol(codes) {
    if (this.count < 16) this.#fill();
    const found = codes.short[(this.held >>> (this.count - SHORT)) & ((1 << SHORT) - 1)];
    if (found >= 0) {
      this.count -= found >> 8;
      return found & 255;
    }
    for (let length = SHORT + 1; length <= 16; length += 1) {
      const code = (this.held >>> (this.count - length)) & ((1 << length) - 1);
      if (code <= codes.largest[length]) {
        this.count -= length;
        return codes.symbols[code + codes.offset[length]];
      }
    }
    this.count -= 16;
    return 0;
  }

  // A number of `length` bits with its sign (T.81, F.2.2.1).
  signed(length) {
    if (length === 0) return 0;
    const value = this.bits(length);
    return value < 1 << (length - 1) ? value - (1 << length) + 1 : value;
  }

  restart() {
    [this.held, this.count, this.padded, this.marker] = [0, 0, 0, false];
    const { bytes } = this;
    while (this.at + 1 < bytes.length) {
      if (bytes[this.at] === 0xff && bytes[this.at + 1] >= 0xd0 && bytes[this.at + 1] <= 0xd7) {
        this.at += 2;
        return;
      }
      if (bytes[this.at] === 0xff && bytes[this.at + 1] === EOI) {
        this.padded = 1; // nothing follows
        return;
      }
      this.at += 1;
    }
    this.at = bytes.length;
  }

  // Where the next marker stands.
  end() {
    const { bytes } = this;
    let at = Math.max(0, Math.min(this.at, bytes.length) - 4);
    for (; at + 1 < bytes.length; at += 1) {
      const next = bytes[at + 1];
      if (bytes[at] === 0xff && next !== 0 && next !== 0xff && !(next >= 0xd0 && next <= 0xd7)) return at;
    }
    return bytes.length;
  }
}

/** Reads one block of a sequential JPEG into `coefficients` from `at` on (T.81, F.2). */
export function sequential(reader, part, coefficients, at) {
  part.last += reader.signed(reader.symbol(part.dc));
  coefficients[at] = part.last;
  for (let place = 1; place < 64; place += 1) {
    const symbol = reader.symbol(part.ac);
    const length = symbol & 15;
    if (length === 0) {
      if (symbol < 0xf0) return;
      place += 15;
      continue;
    }
    place += symbol >> 4;
    coefficients[at + ZIGZAG[place & 63]] = reader.signed(length);
  }
}

/** How a block is read in this scan of a progressive JPEG (T.81, G.1). */
export function progressive(scan) {
  const { first, final, high, low } = scan;
  if (first === 0) {
    return high === 0
      ? (reader, part, coefficients, at) => {
        part.last += reader.signed(reader.symbol(part.dc));
        coefficients[at] = part.last << low;
      }
      : (reader, _, coefficients, at) => { if (reader.bits(1)) coefficients[at] |= 1 << low; };
  }
  return high === 0 ? firstBits : moreBits;

  function firstBits(reader, part, coefficients, at) {
    if (scan.run > 0) {
      scan.run -= 1;
      return;
    }
    for (let place = first; place <= final; place += 1) {
      const symbol = reader.symbol(part.ac);
      const [skip, length] = [symbol >> 4, symbol & 15];
      if (length === 0) {
        if (skip < 15) {
          scan.run = (1 << skip) - 1 + reader.bits(skip);
          return;
        }
        place += 15;
        continue;
      }
      place += skip;
      coefficients[at + ZIGZAG[place & 63]] = reader.signed(length) * (1 << low);
    }
  }

  function moreBits(reader, part, coefficients, at) {
    const one = 1 << low;
    const refine = (place) => {
      if (reader.bits(1) && !(coefficients[place] & one)) coefficients[place] += coefficients[place] > 0 ? one : -one;
    };
    let place = first;
    if (scan.run === 0) {
      for (; place <= final; place += 1) {
        const symbol = reader.symbol(part.ac);
        let skip = symbol >> 4;
        let value = 0;
        if (symbol & 15) {
          value = reader.bits(1) ? one : -one;
        } else if (skip < 15) {
          scan.run = (1 << skip) + reader.bits(skip);
          break;
        }
        while (place <= final) {
          const spot = at + ZIGZAG[place];
          if (coefficients[spot] !== 0) {
            refine(spot);
          } else {
            if (skip === 0) break;
            skip -= 1;
          }
          place += 1;
        }
        if (value && place <= final) coefficients[at + ZIGZAG[place]] = value;
      }
    }
    if (scan.run > 0) {
      for (; place <= final; place += 1) {
        const spot = at + ZIGZAG[place];
        if (coefficients[spot] !== 0) refine(spot);
      }
      scan.run -= 1;
    }
  }
}
