// Inverse cosine transforms of 8 x 8 coefficients to 8, 4, 2 or 1 samples a side, in whole numbers.
//
// The integer transforms of Loeffler, Ligtenberg and Moschytz (1989) with 13 bits after the point, as the Independent
// JPEG Group's library rounds them, so that samples are those of every decoder that is built on it. The smaller ones
// leave the upper frequencies out: the mean of blocks at a fraction of the cost.

const BITS = 13;
const PASS = 2;
const fixed = (value) => Math.round(value * 2 ** BITS);
const [F0211, F0298, F0390, F0509, F0541, F0601, F0720, F0765, F0850, F0899, F1061, F1175, F1272, F1451, F1501, F1847, F1961, F2053, F2172, F2562, F3072, F3624] = [
  0.211164243, 0.298631336, 0.390180644, 0.509795579, 0.5411961, 0.601344887, 0.720959822, 0.765366865, 0.850430095,
  0.899976223, 1.061594337, 1.175875602, 1.27275858, 1.451774981, 1.50132111, 1.847759065, 1.96157056, 2.053119869,
  2.172734803, 2.562915447, 3.072711026, 3.624509785,
].map(fixed);
const work = new Int32Array(64);

function level(value) {
  const shifted = value + 128;
  return shifted < 0 ? 0 : shifted > 255 ? 255 : shifted;
}

/** Samples of one block. `coefficients[at + 0..63]` in rows, `table` their steps; written to `out` from `to`, `stride` a row. */
export const TRANSFORMS = { 8: transform8, 4: transform4, 2: transform2, 1: transform1 };

function transform8(coefficients, at, table, out, to, stride) {
  for (let x = 0; x < 8; x += 1) {
    const c = at + x;
    const first = coefficients[c] * table[x];
    if (!(coefficients[c + 8] | coefficients[c + 16] | coefficients[c + 24] | coefficients[c + 32] | coefficients[c + 40]
      | coefficients[c + 48] | coefficients[c + 56])) {
      for (let row = 0; row < 64; row += 8) work[x + row] = first << PASS;
      continue;
    }
    butterfly(first, coefficients[c + 8] * table[x + 8], coefficients[c + 16] * table[x + 16],
      coefficients[c + 24] * table[x + 24], coefficients[c + 32] * table[x + 32], coefficients[c + 40] * table[x + 40],
      coefficients[c + 48] * table[x + 48], coefficients[c + 56] * table[x + 56], BITS - PASS);
    for (let row = 0; row < 8; row += 1) work[x + 8 * row] = eight[row];
  }
  for (let y = 0; y < 8; y += 1) {
    const w = 8 * y;
    butterfly(work[w], work[w + 1], work[w + 2], work[w + 3], work[w + 4], work[w + 5], work[w + 6], work[w + 7], BITS + PASS + 3);
    const o = to + y * stride;
    for (let x = 0; x < 8; x += 1) out[o + x] = level(eight[x]);
  }
}

const eight = new Int32Array(8);

function butterfly(i0, i1, i2, i3, i4, i5, i6, i7, shift) {
  const half = 1 << (shift - 1);
  const shared = (i2 + i6) * F0541;
  const low2 = shared - i6 * F1847;
  const low3 = shared + i2 * F0765;
  const low0 = (i0 + i4) * 2 ** BITS;
  const low1 = (i0 - i4) * 2 ** BITS;
  const e0 = low0 + low3;
  const e3 = low0 - low3;
  const e1 = low1 + low2;
  const e2 = low1 - low2;
  const z5 = (i7 + i3 + i5 + i1) * F1175;
  const z1 = -(i7 + i1) * F0899;
  const z2 = -(i5 + i3) * F2562;
  const z3 = -(i7 + i3) * F1961 + z5;
  const z4 = -(i5 + i1) * F0390 + z5;
  const o0 = i7 * F0298 + z1 + z3;
  const o1 = i5 * F2053 + z2 + z4;
  const o2 = i3 * F3072 + z2 + z3;
  const o3 = i1 * F1501 + z1 + z4;
  eight[0] = (e0 + o3 + half) >> shift;
  eight[7] = (e0 - o3 + half) >> shift;
  eight[1] = (e1 + o2 + half) >> shift;
  eight[6] = (e1 - o2 + half) >> shift;
  eight[2] = (e2 + o1 + half) >> shift;
  eight[5] = (e2 - o1 + half) >> shift;
  eight[3] = (e3 + o0 + half) >> shift;
  eight[4] = (e3 - o0 + half) >> shift;
}

function transform4(coefficients, at, table, out, to, stride) {
  for (let x = 0; x < 8; x += 1) {
    if (x === 4) continue;
    const c = at + x;
    const first = coefficients[c] * table[x];
    if (!(coefficients[c + 8] | coefficients[c + 16] | coefficients[c + 24] | coefficients[c + 40] | coefficients[c + 48]
      | coefficients[c + 56])) {
      for (let row = 0; row < 32; row += 8) work[x + row] = first << PASS;
      continue;
    }
    quarter(first, coefficients[c + 16] * table[x + 16], coefficients[c + 48] * table[x + 48],
      coefficients[c + 56] * table[x + 56], coefficients[c + 40] * table[x + 40], coefficients[c + 24] * table[x + 24],
      coefficients[c + 8] * table[x + 8], BITS - PASS + 1);
    for (let row = 0; row < 4; row += 1) work[x + 8 * row] = eight[row];
  }
  for (let y = 0; y < 4; y += 1) {
    const w = 8 * y;
    quarter(work[w], work[w + 2], work[w + 6], work[w + 7], work[w + 5], work[w + 3], work[w + 1], BITS + PASS + 4);
    for (let x = 0; x < 4; x += 1) out[to + y * stride + x] = level(eight[x]);
  }
}

function quarter(i0, i2, i6, i7, i5, i3, i1, shift) {
  const half = 1 << (shift - 1);
  const base = i0 * 2 ** (BITS + 1);
  const even = i2 * F1847 - i6 * F0765;
  const near = -i7 * F0211 + i5 * F1451 - i3 * F2172 + i1 * F1061;
  const far = -i7 * F0509 - i5 * F0601 + i3 * F0899 + i1 * F2562;
  eight[0] = (base + even + far + half) >> shift;
  eight[3] = (base + even - far + half) >> shift;
  eight[1] = (base - even + near + half) >> shift;
  eight[2] = (base - even - near + half) >> shift;
}

function transform2(coefficients, at, table, out, to, stride) {
  const value = (place) => coefficients[at + place] * table[place];
  for (const x of [0, 1, 3, 5, 7]) {
    const base = value(x) * 2 ** (BITS + 2);
    const odd = -value(x + 56) * F0720 + value(x + 40) * F0850 - value(x + 24) * F1272 + value(x + 8) * F3624;
    const shift = BITS - PASS + 2;
    work[x] = (base + odd + (1 << (shift - 1))) >> shift;
    work[x + 8] = (base - odd + (1 << (shift - 1))) >> shift;
  }
  for (const y of [0, 1]) {
    const w = 8 * y;
    const base = work[w] * 2 ** (BITS + 2);
    const odd = -work[w + 7] * F0720 + work[w + 5] * F0850 - work[w + 3] * F1272 + work[w + 1] * F3624;
    const shift = BITS + PASS + 5;
    out[to + y * stride] = level((base + odd + (1 << (shift - 1))) >> shift);
    out[to + y * stride + 1] = level((base - odd + (1 << (shift - 1))) >> shift);
  }
}

function transform1(coefficients, at, table, out, to) {
  out[to] = level((coefficients[at] * table[0] + 4) >> 3);
}
