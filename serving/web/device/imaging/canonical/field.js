// Where the radiograph lies in a picture: serving/imaging/canonical/field.py, where the steps are explained.

import { FIELD } from "../../constants.js";
import { clamp, roundEven } from "../../numbers.js";
import { fromPicture } from "../canvas.js";
import { both, boundingRect, components, count, dilate, erode, inverse, open, reachedFromOutside, without } from "../opencv/masks.js";
import { approximated, convexHull, fillConvex, intersection, signedArea } from "../opencv/polygons.js";
import { sampleLinear } from "../opencv/resize.js";
import { crop, pixels, sorted } from "../pixels.js";
import { withinPanels } from "./panels.js";
import { thumbnail } from "./thumbnail.js";

/** The exposed part of a picture: its convex outline in fractions of the upright picture, and the frames' levels. */
export class Field {
  constructor(polygon = FIELD.WHOLE, certainty = 1, levels = []) {
    Object.assign(this, { polygon, certainty, levels });
  }

  /** x0, y0, x1, y1 of the upright rectangle around the field. */
  get box() {
    const [xs, ys] = [0, 1].map((axis) => this.polygon.map((point) => point[axis]));
    return [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
  }

  /** Whether the field is its box, so that nothing has to be masked. */
  get upright() {
    const [x0, y0, x1, y1] = this.box;
    return Math.abs(signedArea(this.polygon)) >= 0.995 * (x1 - x0) * (y1 - y0);
  }

  get view() {
    return { box: this.box, quarters: 0 };
  }

  /** The box in whole pixels: left, top, right, bottom, the last two exclusive. */
  bounds(width, height) {
    const [x0, y0, x1, y1] = this.box;
    const left = Math.min(roundEven(x0 * width), width - 1);
    const top = Math.min(roundEven(y0 * height), height - 1);
    return [left, top, Math.max(roundEven(x1 * width), left + 1), Math.max(roundEven(y1 * height), top + 1)];
  }

  crop(picture) {
    return crop(picture, ...this.bounds(picture.width, picture.height));
  }

  /** What `crop` gives of a picture of this size: 1 where a pixel lies in the field. */
  mask(width, height) {
    const [left, top, right, bottom] = this.bounds(width, height);
    const inside = pixels(right - left, bottom - top);
    return fillConvex(inside, this.polygon.map(([x, y]) =>
      [roundEven((x * width - left - 0.5) * 16), roundEven((y * height - top - 0.5) * 16)]), 4);
  }
}

/** Find the exposed part of a grey picture. */
export function findField(picture) {
  const { width, height } = picture;
  let field = withoutPanels(picture);
  for (let frame = 0; frame < FIELD.FRAMES; frame += 1) {
    const seen = field.crop(picture);
    const small = thumbnail(seen, FIELD.SIDE);
    const found = takeOff(small, insideOf(field, small));
    if (found === null) break;
    const [left, top] = field.bounds(width, height);
    const outline = outlineOf(found.inside, seen)
      .map(([x, y]) => [(x * seen.width + left) / width, (y * seen.height + top) / height]);
    const single = (points) => points.map((point) => point.map(Math.fround));
    const polygon = intersection(single(outline), single(field.polygon)).map((point) => point.map(Math.fround));
    if (polygon.length === 0) break;
    field = new Field(polygon, Math.min(field.certainty, found.certainty), [...field.levels, found.level]);
  }
  return field;
}

function withoutPanels(picture) {
  const { bounds: [left, top, right, bottom], levels } = withinPanels(picture);
  if (levels.length === 0) return new Field();
  const corners = [[left, top], [right, top], [right, bottom], [left, bottom]];
  return new Field(corners.map(([x, y]) => [x / picture.width, y / picture.height]), 1, levels);
}

// Which pixels of a thumbnail of a field's box lie wholly in the field.
function insideOf(field, small) {
  const inside = pixels(small.width, small.height);
  if (field.upright) {
    inside.data.fill(1);
    return inside;
  }
  const corners = field.polygon.map(([x, y]) => {
    const [across, down] = fromPicture(field.view, x, y);
    return [roundEven(across * small.width * 16 - 8), roundEven(down * small.height * 16 - 8)];
  });
  return erode(fillConvex(inside, corners, 4));
}

// What is left inside of one frame; null where there is no frame.
function takeOff(small, inside) {
  const rim = without(inside, erode(inside, 0));
  const area = count(inside);
  const most = (1 - FIELD.LEAST_REMOVED) * area;
  const grey = (level) => FIELD.BLACK < level && level < FIELD.WHITE;
  for (const level of levelsOf(small.data.filter((_, at) => rim.data[at]))) {
    const nearest = roundEven(level);
    const distance = small.data.map((value) => Math.abs(value - nearest));
    const contents = [];
    for (const [index, tolerance] of FIELD.TOLERANCES.entries()) {
      const likeFrame = pixels(small.width, small.height,
        distance.map((far, at) => (far <= tolerance && inside.data[at] ? 1 : 0)));
      if (count(likeFrame) < FIELD.LEAST_REMOVED * area) break;
      const { content, everything } = contentOf(likeFrame, inside);
      const size = count(content);
      if (size < FIELD.LEAST_KEPT * area || size > most) continue;
      if (index === FIELD.TOLERANCES.length - 1 && !grey(level)) contents.push(everything);
      if (count(everything) > (1 + FIELD.MOST_OUTSIDE) * size) continue;
      const square = squareOf(content, inside);
      if (square !== null && count(square.inside) <= most) return { ...square, level };
      contents.push(content);
    }
    for (const content of contents) {
      const box = boxOf(content, inside, grey(level) ? FIELD.LEAST_TOUCHED : 0);
      if (box !== null && count(box.inside) <= most) return { ...box, level };
    }
  }
  return null;
}

// The commonest grey levels of the rim, the commonest first.
function* levelsOf(rim) {
  const counts = new Float64Array(256);
  for (const value of rim) counts[value] += 1;
  for (let turn = 0; turn < FIELD.LEVELS; turn += 1) {
    let [level, most] = [0, -1];
    for (let middle = 0; middle < 256; middle += 1) {
      let near = 0;
      for (let at = Math.max(0, middle - 2); at <= Math.min(255, middle + 2); at += 1) near += counts[at];
      if (near > most) [level, most] = [middle, near];
    }
    if (most < FIELD.SHARE_OF_RIM * rim.length) return;
    let [sum, weight] = [0, 0];
    for (let at = Math.max(0, level - 2); at < Math.min(level + 3, 256); at += 1) {
      sum += at * counts[at];
      weight += counts[at];
    }
    yield sum / weight;
    counts.fill(0, Math.max(0, level - 6), Math.min(256, level + 7));
  }
}

// The largest piece of what is not frame, and all of its pieces; frame is what reaches the outside.
function contentOf(likeFrame, inside) {
  const { width, height } = inside;
  const reached = reachedFromOutside(inverse(without(inside, likeFrame)));
  const everything = open(inverse(reached));
  const { labels, areas } = components(everything);
  if (areas.length < 2) return { content: everything, everything };
  const largest = areas.indexOf(Math.max(...areas)) + 1;
  const content = pixels(width, height, everything.data.map((_, at) => (labels[at] === largest ? 1 : 0)));
  return { content, everything };
}

// The convex hull of the content where its free sides are straight and square to one another, and it fills them.
function squareOf(content, inside) {
  const hull = hullOf(content);
  const filled = both(fillConvex(pixels(content.width, content.height), hull), inside);
  const beyond = dilate(without(inside, filled));
  const outline = both(beyond, filled);
  const free = count(outline);
  if (free === 0) return null;
  const gap = (count(filled) - count(content)) / free;
  const reached = count(both(outline, dilate(content))) / free;
  if ((gap > FIELD.MEAN_GAP && reached < FIELD.LEAST_REACHED) || !isSquare(hull, outline)) return null;
  return { inside: filled, certainty: reached };
}

// The convex hull of a mask's pixels, from the first and the last of each row.
function hullOf({ width, height, data }) {
  const [first, last] = [[], []];
  for (let y = 0; y < height; y += 1) {
    const row = data.subarray(y * width, (y + 1) * width);
    const left = row.indexOf(1);
    if (left < 0) continue;
    first.push([left, y]);
    last.push([row.lastIndexOf(1), y]);
  }
  return convexHull([...first, ...last]);
}

// Whether the free edges of a convex hull run along two directions at right angles, however slanted.
function isSquare(hull, outline) {
  const corners = approximated(hull, 1.5);
  const near = dilate(outline);
  const edges = corners.map(([x, y], index) => {
    const [nextX, nextY] = corners[(index + 1) % corners.length];
    const middle = near.data[Math.floor((y + nextY) / 2) * near.width + Math.floor((x + nextX) / 2)];
    return { dx: nextX - x, dy: nextY - y, free: middle > 0 };
  }).filter(({ free }) => free);
  if (edges.length === 0) return false;
  const degrees = 180 / Math.PI;
  const lengths = edges.map(({ dx, dy }) => Math.hypot(dx, dy));
  const angles = edges.map(({ dx, dy }) => modulo(Math.atan2(dy, dx) * degrees + 45, 90) - 45);
  const common = angles[lengths.indexOf(Math.max(...lengths))];
  const total = lengths.reduce((sum, length) => sum + length, 0);
  // A short edge is as straight as its pixels allow.
  const along = lengths.reduce((sum, length, index) => {
    const apart = Math.abs(modulo(angles[index] - common + 45, 90) - 45);
    return apart <= FIELD.SQUARE + degrees / length ? sum + length : sum;
  }, 0);
  return along >= FIELD.LEAST_ALONG * total;
}

function modulo(value, by) {
  return value - by * Math.floor(value / by);
}

// The upright rectangle around the content, where it touches enough of each free side; nothing of it is lost.
function boxOf(content, inside, leastTouched) {
  const found = boundingRect(content);
  const around = boundingRect(inside);
  const { left, top, width, height } = found;
  const deep = FIELD.NEAR;
  const set = (x, y) => content.data[(top + y) * content.width + left + x];
  const wide = Math.min(deep, width);
  const tall = Math.min(deep, height);
  // The share of a side of `length` places where one of the `depth` pixels next to it is set.
  const share = (length, depth, at) => {
    let touching = 0;
    for (let along = 0; along < length; along += 1) {
      for (let inwards = 0; inwards < depth; inwards += 1) {
        if (!at(along, inwards)) continue;
        touching += 1;
        break;
      }
    }
    return touching / length;
  };
  const sides = [
    [left > around.left, () => share(height, wide, (y, x) => set(x, y))],
    [top > around.top, () => share(width, tall, (x, y) => set(x, y))],
    [left + width < around.left + around.width, () => share(height, wide, (y, x) => set(width - 1 - x, y))],
    [top + height < around.top + around.height, () => share(width, tall, (x, y) => set(x, height - 1 - y))],
  ];
  const touches = sides.filter(([free]) => free).map(([, touched]) => touched());
  const touched = touches.length ? Math.min(...touches) : 0;
  if (touched < leastTouched) return null;
  const kept = pixels(inside.width, inside.height, inside.data.map((value, at) => {
    const [x, y] = [at % inside.width, Math.floor(at / inside.width)];
    return x >= left && x < left + width && y >= top && y < top + height ? value : 0;
  }));
  return { inside: kept, certainty: touched / 2 };
}

// The convex outline, in fractions, of a mask of a thumbnail; its sides are found again in the picture.
function outlineOf(inside, picture) {
  const { width, height } = inside;
  const [across, down] = [picture.width / width, picture.height / height];
  const corners = approximated(hullOf(inside), 1.0);
  const middleX = corners.reduce((sum, [x]) => sum + x, 0) / corners.length;
  const middleY = corners.reduce((sum, [, y]) => sum + y, 0) / corners.length;
  let outline = FIELD.WHOLE.map(([x, y]) => [x * picture.width, y * picture.height]);
  corners.forEach(([x0, y0], index) => {
    const [x1, y1] = corners[(index + 1) % corners.length];
    // Along the picture's edge, or a corner cut off by a pixel or two.
    if ((x0 === x1 && (x0 === 0 || x0 === width - 1)) || (y0 === y1 && (y0 === 0 || y0 === height - 1))) return;
    if (Math.hypot(x1 - x0, y1 - y0) < FIELD.LONG * Math.max(width, height)) return;
    // A pixel's slant is that of the raster.
    const [left, right] = Math.abs(x1 - x0) <= 1 ? [(x0 + x1) / 2, (x0 + x1) / 2] : [x0, x1];
    const [top, bottom] = Math.abs(y1 - y0) <= 1 ? [(y0 + y1) / 2, (y0 + y1) / 2] : [y0, y1];
    const side = [[(left + 0.5) * across, (top + 0.5) * down], [(right + 0.5) * across, (bottom + 0.5) * down]];
    const [wide, tall] = [side[1][0] - side[0][0], side[1][1] - side[0][1]];
    const length = Math.hypot(wide, tall);
    let inwards = [-tall / length, wide / length];
    if ((middleX - left) * across * inwards[0] + (middleY - top) * down * inwards[1] < 0) {
      inwards = [-inwards[0], -inwards[1]];
    }
    const begins = beginsAt(picture, side, inwards, Math.max(across, down));
    outline = clip(outline, [side[0][0] + begins * inwards[0], side[0][1] + begins * inwards[1]], inwards);
  });
  return outline.map(([x, y]) => [x / picture.width, y / picture.height]);
}

// How many pixels inwards of a side the field begins.
function beginsAt(picture, side, inwards, factor) {
  const [xs, ys] = [[], []];
  const depths = FIELD.DEPTHS.map((depth) => depth * factor);
  const places = FIELD.ALONG.flat();
  for (const depth of depths) {
    for (const place of places) {
      xs.push(side[0][0] + place * (side[1][0] - side[0][0]) - 0.5 + depth * inwards[0]);
      ys.push(side[0][1] + place * (side[1][1] - side[0][1]) - 0.5 + depth * inwards[1]);
    }
  }
  const values = sampleLinear(picture, xs, ys);
  const first = sorted(values.subarray(0, 3 * places.length));
  const level = first[Math.floor(first.length / 2)];
  const profile = depths.map((_, row) => {
    let sum = 0;
    for (const value of values.subarray(row * places.length, (row + 1) * places.length)) {
      sum += Math.min(Math.abs(value - level), FIELD.CLEARLY);
    }
    return clamp(roundEven(sum / places.length), 0, 255);
  });
  const last = profile.slice(-4).reduce((sum, value) => sum + value, 0) / 4;
  if (last < 1) return 0.5 * factor;
  const reached = Math.max(0, profile.findIndex((value) => value >= FIELD.NEARLY * last));
  // A line through slanted pixels crosses those of the frame.
  return depths[reached] + (Math.max(Math.abs(inwards[0]), Math.abs(inwards[1])) === 1 ? 0.5 : 1);
}

// What of a convex polygon lies on the inner side of the line through `point`.
function clip(polygon, point, inwards) {
  const depths = polygon.map(([x, y]) => (x - point[0]) * inwards[0] + (y - point[1]) * inwards[1]);
  const kept = [];
  polygon.forEach(([x, y], index) => {
    const following = (index + 1) % polygon.length;
    if (depths[index] >= 0) kept.push([x, y]);
    if (depths[index] >= 0 !== depths[following] >= 0) {
      const share = depths[index] / (depths[index] - depths[following]);
      kept.push([x + (polygon[following][0] - x) * share, y + (polygon[following][1] - y) * share]);
    }
  });
  return kept.length >= 3 ? kept : polygon;
}
