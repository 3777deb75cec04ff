// JPEG Lossless frames of one component (ITU-T T.81, annex H): serving/imaging/dicom/lossless.py.

import { checkFrame, segments } from "./codestreams.js";

const PREDICTORS = {
  1: (left) => left,
  2: (_, above) => above,
  3: (_, __, corner) => corner,
  4: (left, above, corner) => left + above - corner,
  5: (left, above, corner) => left + ((above - corner) >> 1),
  6: (left, above, corner) => above + ((left - corner) >> 1),
  7: (left, above) => (left + above) >> 1,
};

/**
 * The pixels of a stream, and how many rows of it are there: { values, rows }; `size` is the bytes of a stored value.
 * Throws Error for a broken stream or one of more bits than fit, ImageError for one of another size.
 */
export function decode(frame, rows, columns, size) {
  const scan = readScan(frame, rows, columns);
  const { codes, lines, precision, table, predictor, shift } = scan;
  if (!(shift < precision && precision <= 8 * size && predictor >= 1 && predictor <= 7 && codes.has(table))) {
    throw new Error(`precision ${precision}, predictor ${predictor}, table ${table}`);
  }
  const { parts, ended } = partsOf(frame, scan.start);
  const count = Math.ceil(rows / lines);
  if (parts.length > count || (ended && parts.length < count)) throw new Error(`${parts.length} restart intervals`);
  const values = new Uint16Array(rows * columns);
  let there = Math.min(rows, parts.length * lines);
  parts.forEach((part, number) => {
    const first = number * lines;
    const band = values.subarray(first * columns, Math.min(rows, first + lines) * columns);
    const done = readDifferences(part, codes.get(table), band);
    if (done < band.length) {
      if (ended || number < parts.length - 1) throw new Error("the stream ends before its last pixel");
      there = first + Math.floor(Math.max(0, done - 1) / columns); // the bits of the last one are not all there
    }
    undoPrediction(band, columns, 1 << (precision - shift - 1), PREDICTORS[predictor]);
  });
  if (shift) values.forEach((value, at) => { values[at] = value << shift; });
  return { values: values.fill(0, there * columns), rows: there };
}

function readScan(frame, rows, columns) {
  const scan = { codes: new Map(), lines: rows, precision: 0, table: 0, predictor: 0, shift: 0, start: 0 };
  for (const { marker, payload, end } of segments(frame)) {
    if (marker === 0xc4) {
      readCodes(payload).forEach((table, number) => scan.codes.set(number, table));
    } else if (marker === 0xc3) {
      scan.precision = checkFrame(payload, rows, columns);
    } else if (marker >= 0xc0 && marker <= 0xcf) {
      throw new Error("the stream is not JPEG Lossless with Huffman codes");
    } else if (marker === 0xdd) {
      if (payload.length !== 2) throw new Error("a broken restart interval");
      const interval = (payload[0] << 8) | payload[1];
      if (interval % columns) throw new Error("a restart interval ends within a line");
      scan.lines = interval / columns || rows;
    } else if (marker === 0xda) {
      if (payload.length !== 6 || payload[0] !== 1) throw new Error("not one component");
      Object.assign(scan, { table: payload[2] >> 4, predictor: payload[3], shift: payload[5] & 15, start: end });
    }
  }
  return scan;
}

// Tables by number, each with an entry for every 16-bit window: 256 x length of the code + length of the difference.
function readCodes(payload) {
  const tables = new Map();
  for (let at = 0; at < payload.length;) {
    const number = payload[at];
    const counts = payload.subarray(at + 1, at + 17);
    const symbols = payload.subarray(at + 17);
    const table = new Uint16Array(1 << 16);
    let [filled, used, longest] = [0, 0, 0];
    counts.forEach((many, index) => {
      const span = 1 << (15 - index);
      for (let left = many; left > 0; left -= 1, used += 1) {
        longest = Math.max(longest, symbols[used] ?? 0);
        if (used < symbols.length && filled < table.length) table.fill(((index + 1) << 8) | symbols[used], filled, filled + span);
        filled += span;
      }
    });
    if (number > 3 || tables.has(number) || filled > table.length || used > symbols.length || longest > 16) {
      throw new Error("a broken Huffman table");
    }
    tables.set(number, table);
    at += 17 + used;
  }
  return tables;
}

// The coded data between restart markers, without stuffed zeros, and whether a marker ends it.
function partsOf(frame, start) {
  const parts = [];
  const held = new Uint8Array(frame.length - start);
  let length = 0;
  const close = () => {
    parts.push(held.slice(0, length));
    length = 0;
  };
  for (let at = start; at < frame.length; at += 1) {
    if (frame[at] !== 0xff) {
      held[length] = frame[at];
      length += 1;
      continue;
    }
    let next = at + 1;
    while (frame[next] === 0xff) next += 1;
    const code = frame[next];
    if (code === undefined || code === 0) {
      // Stuffing follows the last of several; those before it are data.
      for (; at < Math.min(next, frame.length); at += 1) {
        held[length] = 0xff;
        length += 1;
      }
      if (code === undefined) at -= 1;
    } else {
      close();
      if (!(code >= 0xd0 && code <= 0xd7)) return { parts, ended: true };
      at = next;
    }
  }
  close();
  return { parts, ended: false };
}

// Fills `band` with differences modulo 2^16 as far as they go; how many there are.
function readDifferences(coded, table, band) {
  const bits = 8 * coded.length;
  const window = (position) => {
    const at = position >> 3;
    const word = ((coded[at] ?? 0) << 16) | ((coded[at + 1] ?? 0) << 8) | (coded[at + 2] ?? 0);
    return (word >> (8 - (position & 7))) & 0xffff;
  };
  let [done, position] = [0, 0];
  while (done < band.length && position < bits) {
    const entry = table[window(position)];
    if (entry === 0) throw new Error("bits that are no code");
    const length = entry & 255;
    position += entry >> 8;
    if (length === 16) {
      band[done] = 1 << 15; // only this one has the length, so no bits follow (H.1.2.2)
    } else if (length > 0) {
      const value = window(position) >> (16 - length);
      band[done] = value < 1 << (length - 1) ? value - (1 << length) + 1 : value;
      position += length;
    } else {
      band[done] = 0;
    }
    done += 1;
  }
  return done;
}

// Differences to pixels, in place and modulo 2^16 (H.1.2.1).
function undoPrediction(band, columns, start, predict) {
  if (band.length) band[0] += start;
  for (let at = 1; at < band.length; at += 1) {
    const column = at % columns;
    if (at < columns) band[at] += band[at - 1];
    else if (column === 0) band[at] += band[at - columns];
    else band[at] += predict(band[at - 1], band[at - columns], band[at - columns - 1]);
  }
}
