// A part of a photograph with four corners, seen from straight ahead. Pictures are { width, height, data }, RGBA; corners
// are { x, y } in pixels, clockwise from the one at the upper left.

const LONGEST = 2048; // pixels; the model sees 448

/** Width and height of what lies between the corners: the longer of opposite sides, at most LONGEST. */
export function sizeOf(corners) {
  const side = (from, to) => Math.hypot(corners[to].x - corners[from].x, corners[to].y - corners[from].y);
  const [width, height] = [Math.max(side(0, 1), side(3, 2)), Math.max(side(0, 3), side(1, 2))];
  const scale = Math.min(1, LONGEST / Math.max(width, height));
  return { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) };
}

/** Whether the corners are those of a figure without dents, in their order. */
export function isConvex(corners) {
  return corners.every((corner, index) => {
    const [next, after] = [corners[(index + 1) % 4], corners[(index + 2) % 4]];
    return (next.x - corner.x) * (after.y - next.y) - (next.y - corner.y) * (after.x - next.x) > 0;
  });
}

/**
 * Where a point of the unit square lies in the figure: P. Heckbert, Fundamentals of Texture Mapping and Image Warping,
 * 1989, section 2.2.3.
 */
export function projection([a, b, c, d]) {
  const [dx1, dx2, sx] = [b.x - c.x, d.x - c.x, a.x - b.x + c.x - d.x];
  const [dy1, dy2, sy] = [b.y - c.y, d.y - c.y, a.y - b.y + c.y - d.y];
  const whole = dx1 * dy2 - dx2 * dy1;
  const [g, h] = [(sx * dy2 - dx2 * sy) / whole, (dx1 * sy - sx * dy1) / whole];
  return (u, v) => {
    const depth = g * u + h * v + 1;
    return {
      x: ((b.x - a.x + g * b.x) * u + (d.x - a.x + h * d.x) * v + a.x) / depth,
      y: ((b.y - a.y + g * b.y) * u + (d.y - a.y + h * d.y) * v + a.y) / depth,
    };
  };
}

/** What lies between the corners, as a rectangle: { width, height, data }. */
export function straightened(picture, corners) {
  const { width, height } = sizeOf(corners);
  const at = projection(corners);
  const data = new Uint8ClampedArray(4 * width * height);
  for (let row = 0; row < height; row += 1) {
    for (let column = 0; column < width; column += 1) {
      copyPoint(picture, at((column + 0.5) / width, (row + 0.5) / height), data, 4 * (row * width + column));
    }
  }
  return { width, height, data };
}

// The colour between the four pixels round a point.
function copyPoint({ width, height, data }, { x, y }, target, to) {
  const left = Math.min(Math.max(Math.floor(x - 0.5), 0), width - 1);
  const top = Math.min(Math.max(Math.floor(y - 0.5), 0), height - 1);
  const [right, bottom] = [Math.min(left + 1, width - 1), Math.min(top + 1, height - 1)];
  const [across, down] = [Math.min(Math.max(x - 0.5 - left, 0), 1), Math.min(Math.max(y - 0.5 - top, 0), 1)];
  for (let part = 0; part < 3; part += 1) {
    const value = (column, row) => data[4 * (row * width + column) + part];
    const upper = value(left, top) * (1 - across) + value(right, top) * across;
    const lower = value(left, bottom) * (1 - across) + value(right, bottom) * across;
    target[to + part] = upper * (1 - down) + lower * down;
  }
  target[to + 3] = 255;
}
