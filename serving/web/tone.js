// Brightness, contrast and inversion: as a CSS filter for the screen, as a table of grey levels for the export.
// Both do the same steps in the same order. Export needs the table because not every browser filters on a canvas.

export const NEUTRAL = Object.freeze({ brightness: 0, contrast: 0, invert: false });

// -100..100 to a factor of 1/4..4, the same step everywhere.
function factor(value) {
  return 2 ** (value / 50);
}

export function cssFilter({ brightness, contrast, invert }) {
  return `invert(${invert ? 1 : 0}) brightness(${factor(brightness)}) contrast(${factor(contrast)})`;
}

export function toneTable({ brightness, contrast, invert }) {
  const inUnit = (value) => Math.min(Math.max(value, 0), 1);
  return Uint8ClampedArray.from({ length: 256 }, (_, level) => {
    const start = (invert ? 255 - level : level) / 255;
    const bright = inUnit(start * factor(brightness));
    return inUnit((bright - 0.5) * factor(contrast) + 0.5) * 255;
  });
}

export function isNeutral({ brightness, contrast, invert }) {
  return brightness === 0 && contrast === 0 && !invert;
}
