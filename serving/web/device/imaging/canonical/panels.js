// Panels of a program around a radiograph, in a picture of a screen: serving/imaging/canonical/panels.py.

import { PANELS } from "../../constants.js";

/** What of a grey picture lies within its panels, { bounds: [left, top, right, bottom], levels }. */
export function withinPanels({ width, height, data }) {
  let [left, top, right, bottom] = [0, 0, width, height];
  const levels = [];
  for (let round = 0; round < PANELS.ROUNDS; round += 1) {
    const before = levels.length;
    const rows = () => ({ count: bottom - top, length: right - left });
    const columns = () => ({ count: right - left, length: bottom - top });
    const [x, y] = [() => left, () => top];
    top += panelOf(rows(), height, (line, at) => data[(y() + line) * width + x() + at], levels);
    bottom -= panelOf(rows(), height, (line, at) => data[(bottom - 1 - line) * width + x() + at], levels);
    left += panelOf(columns(), width, (line, at) => data[(y() + at) * width + x() + line], levels);
    right -= panelOf(columns(), width, (line, at) => data[(y() + at) * width + right - 1 - line], levels);
    if (levels.length === before) break;
  }
  return { bounds: [left, top, right, bottom], levels };
}

// How many lines at the beginning are those of a panel, whose level is added; `valueAt(line, at)` gives a pixel.
function panelOf({ count, length }, side, valueAt, levels) {
  let [low, high] = [255, 0];
  for (let at = 0; at < length; at += 1) {
    const value = valueAt(0, at);
    [low, high] = [Math.min(low, value), Math.max(high, value)];
    if (high - low > PANELS.FLAT) return 0;
  }
  if (low < PANELS.DARKEST || high > PANELS.BRIGHTEST) return 0;
  const level = (low + high) / 2;
  const near = Math.min(Math.trunc(PANELS.WIDEST * side), count - 1);
  const lines = Array.from({ length: near }, (_, line) => {
    let [bare, edges] = [0, 0];
    for (let at = 0; at < length; at += 1) {
      if (Math.abs(valueAt(line, at) - level) <= PANELS.FLAT) bare += 1;
      if (at > 0 && Math.abs(valueAt(line, at) - valueAt(line, at - 1)) > PANELS.SHARP) edges += 1;
    }
    return { bare, edges };
  });
  const last = lines.findLastIndex(({ bare }) => bare === length);
  const shows = lines.slice(0, Math.max(last, 0)).filter(({ bare }) => bare < length);
  if (shows.length < PANELS.FEWEST_LINES) return 0;
  const bare = shows.reduce((sum, one) => sum + one.bare, 0) / (shows.length * length);
  if (bare < PANELS.LEAST_BARE || Math.max(...shows.map(({ edges }) => edges)) < PANELS.FEWEST_EDGES) return 0;
  levels.push(level);
  return last + 1;
}
