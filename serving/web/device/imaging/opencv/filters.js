// OpenCV's filters of float and grey pictures; beyond the edge lies the picture's mirror image (BORDER_REFLECT_101).

/** Mean of 5 x 5 values: cv2.blur of float32. */
export function blur5(picture) {
  return separable(picture, [1, 1, 1, 1, 1].map((one) => one / 5));
}

/** cv2.GaussianBlur with 5 x 5 values. */
export function gaussian5(picture, sigma) {
  const weights = [-2, -1, 0, 1, 2].map((place) => Math.exp((-place * place) / (2 * sigma * sigma)));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return separable(picture, weights.map((weight) => weight / total));
}

/** A filter of the same weights along rows and columns. */
export function separable({ width, height, data }, weights) {
  const reach = (weights.length - 1) / 2;
  const places = (length) => Array.from({ length: length + 2 * reach }, (_, at) => mirrored(at - reach, length));
  const [columns, lines] = [places(width), places(height)];
  const rows = new Float64Array(width * height);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      let sum = 0;
      for (let tap = 0; tap < weights.length; tap += 1) sum += weights[tap] * data[y * width + columns[x + tap]];
      rows[y * width + x] = sum;
    }
  }
  const found = new Float32Array(width * height);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      let sum = 0;
      for (let tap = 0; tap < weights.length; tap += 1) sum += weights[tap] * rows[lines[y + tap] * width + x];
      found[y * width + x] = sum;
    }
  }
  return { width, height, data: found };
}

export function mirrored(place, length) {
  if (length === 1) return 0;
  let at = place;
  while (at < 0 || at >= length) at = at < 0 ? -at : 2 * (length - 1) - at;
  return at;
}

/** Mean absolute value of cv2.Laplacian of a grey picture. */
export function meanLaplacian({ width, height, data }) {
  let sum = 0;
  for (let y = 0; y < height; y += 1) {
    const [above, below, row] = [mirrored(y - 1, height) * width, mirrored(y + 1, height) * width, y * width];
    for (let x = 0; x < width; x += 1) {
      const left = x > 0 ? x - 1 : mirrored(-1, width);
      const right = x < width - 1 ? x + 1 : mirrored(width, width);
      sum += Math.abs(data[above + x] + data[below + x] + data[row + left] + data[row + right] - 4 * data[row + x]);
    }
  }
  return sum / (width * height);
}
