// JPEG with eight bits a sample, sequential or progressive (ITU-T T.81), decoded at full scale or a half, a quarter or
// an eighth of it. A browser's own decoder gives no reduced scale, and turns and converts colours as it likes.

import { TRANSFORMS } from "./idct.js";
import { APP14, DHT, DQT, DRI, SOS, isFrame, readFrame, segments } from "./jpeg_header.js";
import { BitReader, ZIGZAG, codesOf, progressive, sequential } from "./jpeg_scans.js";

/** A JPEG's coefficients, from which pictures of several scales are made. Throws Error for what cannot be decoded. */
export class Jpeg {
  constructor(bytes) {
    this.bytes = bytes;
    this.tables = { quantisation: [], dc: [], ac: [] };
    this.restart = 0;
    this.frame = null;
    this.adobe = null;
    this.jfif = false;
    this.cutShort = false; // what is missing is grey, as coefficients of zero are
    this.#read();
    if (!this.frame?.begun) throw new Error("no scan");
  }

  get width() {
    return this.frame.width;
  }

  get height() {
    return this.frame.height;
  }

  /** Whether the three components are red, green and blue instead of brightness and colours. */
  get isRgb() {
    if (this.frame.components.length !== 3) return false;
    if (this.jfif) return false;
    if (this.adobe !== null) return this.adobe === 0;
    return this.frame.components.map(({ id }) => String.fromCharCode(id)).join("") === "RGB";
  }

  /** Samples of one component, `size` a side of each block: { width, height, data }, as large as its own grid. */
  plane(index, size) {
    const component = this.frame.components[index];
    const transform = TRANSFORMS[size];
    const table = this.tables.quantisation[component.table];
    const width = component.across * size;
    const height = component.down * size;
    const data = new Uint8Array(width * height);
    for (let row = 0, block = 0; row < component.down; row += 1) {
      for (let column = 0; column < component.across; column += 1, block += 1) {
        transform(component.coefficients, block * 64, table, data, row * size * width + column * size, width);
      }
    }
    return { width, height, data };
  }

  /** Grey pixels at 1 / `factor`, 1, 2, 4 or 8, of the scale. */
  grey(factor) {
    if (this.isRgb || this.frame.components.length === 4) {
      const { width, height, red, green, blue } = this.colours(factor);
      const data = red.map((value, at) => (value * 19595 + green[at] * 38470 + blue[at] * 7471 + 32768) >> 16);
      return { width, height, data };
    }
    const [width, height] = this.#size(factor);
    const component = this.frame.components[0];
    return scaledTo(this.plane(0, 8 / factor), width, height, this.frame.h / component.h, this.frame.v / component.v);
  }

  /** Three planes of colours at 1 / `factor` of the scale. */
  colours(factor) {
    const { width, height, planes } = this.planes(factor);
    return { width, height, ...this.#colours(planes) };
  }

  /** The planes of all components as they are stored, at 1 / `factor` of the scale. */
  planes(factor) {
    const [width, height] = this.#size(factor);
    const { components, h, v } = this.frame;
    const base = 8 / factor;
    const planes = components.map((component, index) => {
      let size = base;
      // Coarser components are taken from more of their frequencies, as long as they are not larger than needed.
      while (size < 8 && h * base % (component.h * size * 2) === 0 && v * base % (component.v * size * 2) === 0) size *= 2;
      return scaledTo(this.plane(index, size), width, height, (h * base) / (component.h * size), (v * base) / (component.v * size)).data;
    });
    return { width, height, planes };
  }

  #size(factor) {
    return [Math.ceil(this.width / factor), Math.ceil(this.height / factor)];
  }

  #colours(planes) {
    if (planes.length === 1) return { red: planes[0], green: planes[0], blue: planes[0] };
    if (this.isRgb) return { red: planes[0], green: planes[1], blue: planes[2] };
    const [red, green, blue] = [0, 1, 2].map(() => new Uint8ClampedArray(planes[0].length));
    const isCmyk = planes.length === 4 && this.adobe !== 2;
    const [first, second, third, fourth] = planes;
    for (let at = 0; at < first.length; at += 1) {
      const y = first[at];
      if (isCmyk) {
        red[at] = y;
        green[at] = second[at];
        blue[at] = third[at];
      } else {
        const cb = second[at] - 128;
        const cr = third[at] - 128;
        red[at] = y + ((91881 * cr + 32768) >> 16);
        green[at] = y + ((-22554 * cb - 46802 * cr + 32768) >> 16);
        blue[at] = y + ((116130 * cb + 32768) >> 16);
      }
      if (!fourth) continue;
      // Adobe stores inks inverted; what is left of the light after black.
      const black = fourth[at] / 255;
      red[at] *= black;
      green[at] *= black;
      blue[at] *= black;
    }
    return { red: bytesOf(red), green: bytesOf(green), blue: bytesOf(blue) };
  }

  #read() {
    const { bytes, tables } = this;
    let at = 0;
    for (;;) {
      let done = true;
      for (const { marker, start: from, end: to } of segments(bytes, at)) {
        if (marker === DQT) this.#readQuantisation(from, to);
        else if (marker === DHT) this.#readCodes(from, to);
        else if (marker === DRI) this.restart = (bytes[from] << 8) | bytes[from + 1];
        else if (marker === 0xe0 && bytes[from] === 0x4a && bytes[from + 1] === 0x46) this.jfif = true;
        else if (marker === APP14 && bytes[from] === 0x41 && bytes[from + 1] === 0x64) this.adobe = bytes[from + 11];
        else if (isFrame(marker) && !this.frame) this.#beginFrame(readFrame(bytes, marker, from));
        else if (marker === SOS) {
          at = this.#readScan(from, to);
          done = false;
          break;
        }
      }
      if (done || at >= bytes.length || this.cutShort) break;
    }
    if (!tables.quantisation.length) throw new Error("no quantisation table");
  }

  #beginFrame(frame) {
    if (frame.kind > 2) throw new Error(`a JPEG of kind ${frame.kind} is not read`);
    if (frame.precision !== 8) throw new Error(`${frame.precision} bits a sample are not read`);
    if (![1, 3, 4].includes(frame.components.length)) throw new Error("an unusual number of components");
    frame.h = Math.max(...frame.components.map(({ h }) => h));
    frame.v = Math.max(...frame.components.map(({ v }) => v));
    frame.mcusAcross = Math.ceil(frame.width / (8 * frame.h));
    frame.mcusDown = Math.ceil(frame.height / (8 * frame.v));
    for (const component of frame.components) {
      if (![component.h, component.v].every((factor) => factor >= 1 && factor <= 4)) throw new Error("an unusual sampling factor");
      component.blocksAcross = Math.ceil(Math.ceil((frame.width * component.h) / frame.h) / 8);
      component.blocksDown = Math.ceil(Math.ceil((frame.height * component.v) / frame.v) / 8);
      component.across = frame.mcusAcross * component.h;
      component.down = frame.mcusDown * component.v;
      component.coefficients = new Int16Array(64 * component.across * component.down);
    }
    this.frame = frame;
  }

  #readQuantisation(start, end) {
    for (let at = start; at < end;) {
      const [wide, number] = [this.bytes[at] >> 4, this.bytes[at] & 15];
      at += 1;
      const table = new Int32Array(64);
      for (let place = 0; place < 64; place += 1) {
        table[ZIGZAG[place]] = wide ? (this.bytes[at] << 8) | this.bytes[at + 1] : this.bytes[at];
        at += wide ? 2 : 1;
      }
      this.tables.quantisation[number] = table;
    }
  }

  #readCodes(start, end) {
    for (let at = start; at + 17 <= end;) {
      const kind = this.bytes[at] >> 4 ? "ac" : "dc";
      const number = this.bytes[at] & 15;
      const counts = this.bytes.subarray(at + 1, at + 17);
      const total = counts.reduce((sum, count) => sum + count, 0);
      const symbols = this.bytes.subarray(at + 17, Math.min(at + 17 + total, end));
      if (kind === "dc" && symbols.some((length) => length > 15)) throw new Error("a difference of more than 15 bits");
      this.tables[kind][number] = codesOf(counts, symbols);
      at += 17 + total;
    }
  }

  // Reads one scan from its header at `start`; gives where its data end.
  #readScan(start, dataStart) {
    const { bytes, frame, tables } = this;
    if (!frame) throw new Error("a scan without a frame");
    const count = bytes[start];
    const several = Array.from({ length: count }, (_, index) => {
      const [id, codes] = [bytes[start + 1 + 2 * index], bytes[start + 2 + 2 * index]];
      const component = frame.components.find((one) => one.id === id);
      if (!component) throw new Error("a scan of an unknown component");
      return { component, dc: tables.dc[codes >> 4], ac: tables.ac[codes & 15], last: 0 };
    });
    const at = start + 1 + 2 * count;
    const scan = { first: bytes[at], final: bytes[at + 1], high: bytes[at + 2] >> 4, low: bytes[at + 2] & 15, run: 0 };
    const reader = new BitReader(bytes, dataStart);
    const decode = frame.kind === 2 ? progressive(scan) : sequential;
    frame.begun = true;
    const alone = several.length === 1;
    const [across, down] = alone
      ? [several[0].component.blocksAcross, several[0].component.blocksDown]
      : [frame.mcusAcross, frame.mcusDown];
    let left = this.restart;
    for (let row = 0; row < down; row += 1) {
      for (let column = 0; column < across; column += 1) {
        if (this.restart && left === 0) {
          reader.restart();
          for (const part of several) part.last = 0;
          scan.run = 0;
          left = this.restart;
        }
        left -= 1;
        // As libjpeg does: once zeros stood for bits that a marker cut off, blocks stay grey up to the next restart.
        if (reader.starved) continue;
        for (const part of several) {
          const { component } = part;
          const [h, v] = alone ? [1, 1] : [component.h, component.v];
          for (let y = 0; y < v; y += 1) {
            for (let x = 0; x < h; x += 1) {
              decode(reader, part, component.coefficients, 64 * ((row * v + y) * component.across + column * h + x));
            }
          }
        }
        if (reader.exhausted) {
          this.cutShort = true;
          return bytes.length;
        }
      }
    }
    return reader.end();
  }
}

function bytesOf(clamped) {
  return new Uint8Array(clamped.buffer);
}

// A component's samples as large as the picture: repeated where they are coarser.
function scaledTo({ width: wide, data }, width, height, across, down) {
  const found = new Uint8Array(width * height);
  for (let y = 0; y < height; y += 1) {
    const row = Math.floor(y / down) * wide;
    if (across === 1) {
      found.set(data.subarray(row, row + width), y * width);
      continue;
    }
    for (let x = 0; x < width; x += 1) found[y * width + x] = data[row + Math.floor(x / across)];
  }
  return { width, height, data: found };
}
