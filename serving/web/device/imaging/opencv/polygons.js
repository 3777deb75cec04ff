// OpenCV's polygons: convex hulls, simplified outlines and filled masks. Points are [x, y].

const SHIFT = 2 ** 16;

/** Corners of the convex hull of points, in the order of cv2.convexHull. */
export function convexHull(points) {
  const ordered = points.map(([x, y], place) => [x, y, place]).sort((a, b) => a[0] - b[0] || a[1] - b[1] || a[2] - b[2])
    .filter(([x, y], index, all) => index === 0 || x !== all[index - 1][0] || y !== all[index - 1][1]);
  const corners = ordered.length < 3 ? [...ordered].reverse() : hullOf(ordered);
  return monotone(corners).map(([x, y]) => [x, y]);
}

// Andrew's monotone chain over points in order, from the rightmost corner on, the lowest one of several.
function hullOf(ordered) {
  const half = (several) => {
    const kept = [];
    for (const point of several) {
      while (kept.length > 1 && turn(kept.at(-2), kept.at(-1), point) <= 0) kept.pop();
      kept.push(point);
    }
    return kept.slice(0, -1);
  };
  const around = [...half(ordered), ...half([...ordered].reverse())];
  return rotated(around, around.indexOf(ordered.at(-1)));
}

// Begun where the points' own order begins, if the hull follows that order: so does OpenCV.
function monotone(corners) {
  if (corners.length < 3) return corners;
  for (const direction of [1, -1]) {
    const places = corners.map(([, , place]) => direction * place);
    const begun = rotated(corners, places.indexOf(Math.min(...places)));
    if (begun.every(([, , place], index) => index === 0 || direction * place > direction * begun[index - 1][2])) return begun;
  }
  return corners;
}

function rotated(several, start) {
  return [...several.slice(start), ...several.slice(0, start)];
}

function turn(a, b, c) {
  return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]);
}

/** A closed outline with fewer corners, none further than `epsilon` from the one given: cv2.approxPolyDP. */
export function approximated(points, epsilon) {
  const total = points.length;
  if (total === 0) return [];
  const limit = epsilon * epsilon;
  const found = [];
  const stack = [];
  let position = 0;
  let start = points[0];
  let farthest = 0;
  let near = false;
  const read = () => {
    const point = points[position];
    position = (position + 1) % total;
    return point;
  };
  // Approximately the two points that are farthest from each other.
  for (let turnNumber = 0; turnNumber < 3; turnNumber += 1) {
    let most = 0;
    position = (position + farthest) % total;
    start = read();
    for (let index = 1; index < total; index += 1) {
      const [x, y] = read();
      const distance = (x - start[0]) ** 2 + (y - start[1]) ** 2;
      if (distance > most) [most, farthest] = [distance, index];
    }
    near = most <= limit;
  }
  if (near) {
    found.push(start);
  } else {
    const one = position % total;
    const other = (farthest + one) % total;
    stack.push([other, one], [one, other]);
  }
  while (stack.length) {
    const [from, to] = stack.pop();
    const end = points[to];
    position = from;
    start = read();
    let close = true;
    let split = 0;
    if (position !== to) {
      const [dx, dy] = [end[0] - start[0], end[1] - start[1]];
      let most = 0;
      while (position !== to) {
        const [x, y] = read();
        const distance = Math.abs((y - start[1]) * dx - (x - start[0]) * dy);
        if (distance > most) [most, split] = [distance, (position + total - 1) % total];
      }
      close = most * most <= limit * (dx * dx + dy * dy);
    } else {
      start = points[from];
    }
    if (close) found.push(start);
    else stack.push([split, to], [from, split]);
  }
  return straightened(found, limit);
}

// Without points on almost straight lines: the last stage of cv2.approxPolyDP.
function straightened(points, limit) {
  const total = points.length;
  const found = points.map((point) => [...point]);
  let left = total;
  let position = total - 1;
  const read = () => {
    const point = [...found[position]];
    position = (position + 1) % total;
    return point;
  };
  let start = read();
  let writing = position;
  let point = read();
  for (let index = 0; index < total && left > 2; index += 1) {
    const end = read();
    const [dx, dy] = [end[0] - start[0], end[1] - start[1]];
    const distance = Math.abs((point[0] - start[0]) * dy - (point[1] - start[1]) * dx);
    const ahead = (point[0] - start[0]) * (end[0] - point[0]) + (point[1] - start[1]) * (end[1] - point[1]);
    if (distance * distance <= 0.5 * limit * (dx * dx + dy * dy) && dx !== 0 && dy !== 0 && ahead >= 0) {
      left -= 1;
      found[writing] = start = end;
      writing = (writing + 1) % total;
      point = read();
      index += 1;
      continue;
    }
    found[writing] = start = point;
    writing = (writing + 1) % total;
    point = end;
  }
  return found.slice(0, left);
}

/** Fill a convex polygon of whole 1/2**shift pixels with ones, in place: cv2.fillConvexPoly. */
export function fillConvex(mask, points, shift = 0) {
  const { width, height, data } = mask;
  const total = points.length;
  const scale = SHIFT / 2 ** shift;
  const delta = shift > 0 ? 2 ** (shift - 1) : 0;
  const whole = (value) => Math.floor((value + delta) / 2 ** shift);
  const put = (x, y) => {
    if (x >= 0 && x < width && y >= 0 && y < height) data[y * width + x] = 1;
  };
  points.forEach((point, index) => {
    const before = points[(index + total - 1) % total];
    if (shift === 0) line(before, point, put);
    else fineLine(before.map((c) => c * scale), point.map((c) => c * scale), width, height, put);
  });
  const ys = points.map(([, y]) => y);
  const lowest = ys.indexOf(Math.min(...ys));
  const last = Math.min(whole(Math.max(...ys)), height - 1);
  let y = whole(ys[lowest]);
  if (total < 3 || last < 0 || y >= height) return mask;
  const edges = [1, total - 1].map((step) => ({ index: lowest, step, ends: y, x: -SHIFT, dx: 0 }));
  let waiting = total;
  do {
    for (const edge of edges) {
      if (y < edge.ends) continue;
      let from = edge.index;
      let to = (from + edge.step) % total;
      for (; waiting > 0; waiting -= 1) {
        const ends = whole(points[to][1]);
        if (ends > y) {
          const [start, end] = [points[from][0] * scale, points[to][0] * scale];
          edge.ends = ends;
          edge.dx = Math.trunc(((end - start) * 2 + (ends - y)) / (2 * (ends - y)));
          edge.x = start;
          edge.index = to;
          waiting -= 1;
          break;
        }
        from = to;
        to = (to + edge.step) % total;
      }
    }
    if (y >= 0) {
      const [left, right] = edges[0].x > edges[1].x ? [edges[1], edges[0]] : edges;
      const first = Math.max(0, Math.floor((left.x + SHIFT / 2) / SHIFT));
      const final = Math.min(width - 1, Math.floor((right.x + SHIFT / 2) / SHIFT));
      for (let x = first; x <= final; x += 1) data[y * width + x] = 1;
    }
    for (const edge of edges) edge.x += edge.dx;
    y += 1;
  } while (y <= last);
  return mask;
}

// Bresenham's line over eight neighbours, from left to right as OpenCV draws it.
function line([x0, y0], [x1, y1], put) {
  if (x1 < x0) [x0, y0, x1, y1] = [x1, y1, x0, y0];
  const [dx, dy] = [x1 - x0, Math.abs(y1 - y0)];
  const down = y1 < y0 ? -1 : 1;
  const steep = dy > dx;
  const [long, short] = steep ? [dy, dx] : [dx, dy];
  let error = long - 2 * short;
  let [x, y] = [x0, y0];
  for (let step = 0; step <= long; step += 1) {
    put(x, y);
    const aside = error < 0;
    error += -2 * short + (aside ? 2 * long : 0);
    if (steep) {
      y += down;
      if (aside) x += 1;
    } else {
      x += 1;
      if (aside) y += down;
    }
  }
}

// A line between points in 65536ths of a pixel.
function fineLine(from, to, width, height, put) {
  const clipped = clipLine(from, to, width * SHIFT - 1, height * SHIFT - 1);
  if (!clipped) return;
  let [[x0, y0], [x1, y1]] = clipped;
  const flat = Math.abs(x1 - x0) > Math.abs(y1 - y0);
  if (flat ? x1 < x0 : y1 < y0) [x0, y0, x1, y1] = [x1, y1, x0, y0];
  const half = SHIFT / 2;
  const pixel = (value) => Math.floor(value / SHIFT);
  put(pixel(x1 + half), pixel(y1 + half));
  if (flat) {
    const step = Math.trunc(((y1 - y0) * SHIFT) / (Math.abs(x1 - x0) | 1));
    for (let left = pixel(x1 - x0), x = pixel(x0 + half), y = y0 + half; left >= 0; left -= 1, x += 1, y += step) {
      put(x, pixel(y));
    }
  } else {
    const step = Math.trunc(((x1 - x0) * SHIFT) / (Math.abs(y1 - y0) | 1));
    for (let left = pixel(y1 - y0), y = pixel(y0 + half), x = x0 + half; left >= 0; left -= 1, y += 1, x += step) {
      put(pixel(x), y);
    }
  }
}

// The part of a line inside of [0, right] x [0, bottom], as cv2.clipLine rounds it; null where there is none.
function clipLine([x0, y0], [x1, y1], right, bottom) {
  const sides = (x, y) => (x < 0) + (x > right) * 2 + (y < 0) * 4 + (y > bottom) * 8;
  let [one, other] = [sides(x0, y0), sides(x1, y1)];
  if (one & other) return null;
  if (!(one | other)) return [[x0, y0], [x1, y1]];
  if (one & 12) {
    const edge = one < 8 ? 0 : bottom;
    x0 += Math.trunc(((edge - y0) * (x1 - x0)) / (y1 - y0));
    y0 = edge;
    one = (x0 < 0) + (x0 > right) * 2;
  }
  if (other & 12) {
    const edge = other < 8 ? 0 : bottom;
    x1 += Math.trunc(((edge - y1) * (x1 - x0)) / (y1 - y0));
    y1 = edge;
    other = (x1 < 0) + (x1 > right) * 2;
  }
  if (one & other) return null;
  if (one) {
    const edge = one === 1 ? 0 : right;
    y0 += Math.trunc(((edge - x0) * (y1 - y0)) / (x1 - x0));
    x0 = edge;
  }
  if (other) {
    const edge = other === 1 ? 0 : right;
    y1 += Math.trunc(((edge - x1) * (y1 - y0)) / (x1 - x0));
    x1 = edge;
  }
  return [[x0, y0], [x1, y1]];
}

/** What two convex polygons have in common, as a polygon; empty where that is nothing. */
export function intersection(one, other) {
  const sign = Math.sign(signedArea(other)) || 1;
  let kept = one;
  other.forEach((from, index) => {
    const to = other[(index + 1) % other.length];
    const inside = (point) => sign * turn(from, to, point);
    const next = [];
    kept.forEach((point, place) => {
      const following = kept[(place + 1) % kept.length];
      const [here, there] = [inside(point), inside(following)];
      if (here >= 0) next.push(point);
      if ((here > 0 && there < 0) || (here < 0 && there > 0)) {
        const share = here / (here - there);
        next.push([point[0] + (following[0] - point[0]) * share, point[1] + (following[1] - point[1]) * share]);
      }
    });
    kept = next;
  });
  return kept.length >= 3 && Math.abs(signedArea(kept)) > 0 ? kept : [];
}

export function signedArea(polygon) {
  return polygon.reduce((sum, [x, y], index) => {
    const [nextX, nextY] = polygon[(index + 1) % polygon.length];
    return sum + (x * nextY - y * nextX) / 2;
  }, 0);
}
