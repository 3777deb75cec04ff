// Arithmetic as Python and numpy do it, so that both sides round and divide alike.

// To the nearest whole number, halves to the even one: Python's round, numpy's rint and OpenCV's cvRound.
export function roundEven(value) {
  const whole = Math.floor(value);
  const rest = value - whole;
  if (rest !== 0.5) return rest < 0.5 ? whole : whole + 1;
  return whole % 2 === 0 ? whole : whole + 1;
}

// A number with so many decimals, as Python's round(value, digits) gives it but for ties in binary.
export function roundTo(value, digits) {
  return Number(value.toFixed(digits));
}

export function clamp(value, low, high) {
  return value < low ? low : value > high ? high : value;
}

// numpy.interp: piecewise linear, flat beyond the ends; `xs` rise.
export function interpolate(x, xs, ys) {
  if (x <= xs[0]) return ys[0];
  const last = xs.length - 1;
  if (x >= xs[last]) return ys[last];
  let low = 0;
  let high = last;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    // As numpy searches: the last place that is not above x.
    if (xs[middle] <= x) low = middle;
    else high = middle;
  }
  return ys[low] + ((ys[high] - ys[low]) / (xs[high] - xs[low])) * (x - xs[low]);
}

// Three significant digits as Python's format "%.3g" writes them.
export function threeDigits(value) {
  if (value === 0) return "0";
  const exponent = Math.floor(Math.log10(Math.abs(Number(value.toPrecision(3)))));
  if (exponent < -4 || exponent >= 3) {
    const [digits, power] = value.toExponential(2).split("e");
    const size = Math.abs(Number(power));
    return `${trimmed(digits)}e${Number(power) < 0 ? "-" : "+"}${String(size).padStart(2, "0")}`;
  }
  return trimmed(value.toFixed(2 - exponent));
}

function trimmed(digits) {
  return digits.includes(".") ? digits.replace(/0+$/, "").replace(/\.$/, "") : digits;
}
