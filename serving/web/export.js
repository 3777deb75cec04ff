// Saving a result: the picture as shown with a strip that says what it is, and the answer as JSON.

import { percent, SUSPICION } from "./messages.js";
import { isNeutral, toneTable } from "./tone.js";

const LEAST_WIDTH = 1000; // so that the words of the strip can be read beside a small image
const FONT = "system-ui, sans-serif";
const PAPER = "#0d1317";
const INK = "#eef3f6";
const SOFT_INK = "#b4c1ca";
const BOX = "#7fe0f2";

// A PNG of the whole image with tone, heatmap and boxes as the viewer shows them, and the strip below.
export async function pictureOf(item, { tone, heatmap, boxes }) {
  const image = await load(item.picture.url);
  const scale = Math.max(1, LEAST_WIDTH / image.naturalWidth);
  const width = Math.round(image.naturalWidth * scale);
  const height = Math.round(image.naturalHeight * scale);
  const lines = stripLines(item.answer, width);
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height + lines.height;
  const context = canvas.getContext("2d", { willReadFrequently: !isNeutral(tone) });
  context.imageSmoothingQuality = "high";
  context.drawImage(image, 0, 0, width, height);
  if (!isNeutral(tone)) applyTone(context, width, height, toneTable(tone));
  if (heatmap > 0 && item.heatmap) {
    context.globalAlpha = heatmap;
    context.drawImage(await load(item.heatmap.url), 0, 0, width, height);
    context.globalAlpha = 1;
  }
  if (boxes) drawBoxes(context, item.boxes, width, height);
  drawStrip(context, lines, width, height);
  return new Promise((resolve, reject) => {
    const done = (blob) => (blob ? resolve(blob) : reject(new Error("the picture is too large for this browser")));
    canvas.toBlob(done, "image/png");
  });
}

export function answerOf(item) {
  return new Blob([`${JSON.stringify(item.answer, null, 2)}\n`], { type: "application/json" });
}

export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  // The browser reads the blob after the click has returned.
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

// `hand.v2.dcm` to `hand.v2`.
export function stem(name) {
  return name.replace(/\.[^.]{1,5}$/, "") || "image";
}

async function load(url) {
  const image = new Image();
  image.src = url;
  await image.decode();
  return image;
}

function applyTone(context, width, height, table) {
  const pixels = context.getImageData(0, 0, width, height);
  const { data } = pixels;
  for (let at = 0; at < data.length; at += 4) {
    data[at] = table[data[at]];
    data[at + 1] = table[data[at + 1]];
    data[at + 2] = table[data[at + 2]];
  }
  context.putImageData(pixels, 0, 0);
}

function drawBoxes(context, boxes, width, height) {
  const line = Math.max(2, width / 400);
  for (const [colour, thickness] of [["#00000099", 2 * line], [BOX, line]]) {
    context.strokeStyle = colour;
    context.lineWidth = thickness;
    for (const { x0, y0, x1, y1 } of boxes) {
      context.strokeRect(x0 * width, y0 * height, (x1 - x0) * width, (y1 - y0) * height);
    }
  }
}

// The strip's words, broken into lines for a picture of this width.
function stripLines(answer, width) {
  const size = Math.round(width / 48);
  const measuring = document.createElement("canvas").getContext("2d");
  const { name, version } = answer.model;
  const now = new Date().toLocaleString(undefined, { dateStyle: "long", timeStyle: "short" });
  const plain = `400 ${size}px ${FONT}`;
  const texts = [
    [`700 ${Math.round(size * 1.2)}px ${FONT}`, INK, answer.label],
    [plain, INK, answer.statement],
    [plain, INK, `${percent(answer.probability)} probability of a fracture. ${SUSPICION[answer.suspicion].words}.`],
    [plain, SOFT_INK, `Model ${name}, version ${version}. ${now}`],
    ...answer.warnings.map(({ message }) => [plain, SOFT_INK, message]),
    [`700 ${size}px ${FONT}`, INK, "Decision support, not a diagnosis; not for clinical use."],
  ];
  const rows = texts.flatMap(([font, colour, text]) => {
    measuring.font = font;
    return wrap(measuring, text, width - 3 * size).map((words) => ({ font, colour, words }));
  });
  return { rows, size, height: Math.round(rows.length * size * 1.6 + 2.2 * size) };
}

function wrap(context, text, room) {
  const lines = [""];
  for (const word of text.split(" ")) {
    const longer = lines.at(-1) ? `${lines.at(-1)} ${word}` : word;
    if (lines.at(-1) && context.measureText(longer).width > room) lines.push(word);
    else lines[lines.length - 1] = longer;
  }
  return lines;
}

function drawStrip(context, { rows, size, height }, width, top) {
  context.fillStyle = PAPER;
  context.fillRect(0, top, width, height);
  rows.forEach(({ font, colour, words }, number) => {
    context.font = font;
    context.fillStyle = colour;
    context.fillText(words, 1.5 * size, top + size * (2.2 + number * 1.6));
  });
}
