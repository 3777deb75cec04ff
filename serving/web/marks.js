// Boxes that the reader draws on the radiograph, by mouse, finger or keyboard. A box is { x0, y0, x1, y1 } in fractions
// of the upright image.

import { svg } from "./dom.js";

const SMALLEST = 0.01; // of a side; less is a click
const FIRST = 0.2; // side of a box made by the keyboard
const STEP = 0.01; // of one press of an arrow
const GRIP_PIXELS = 14; // round a corner

export class Marks {
  constructor(stage, layer, onLeave) {
    this.stage = stage;
    this.layer = layer;
    this.onLeave = onLeave;
    this.review = null;
    this.chosen = 0;
    this.drag = null;
  }

  show(review) {
    if (review !== this.review) this.chosen = 0;
    this.review = review;
    this.draw();
  }

  draw(boxes = this.drag?.boxes ?? this.review?.boxes ?? []) {
    this.layer.replaceChildren(...boxes.flatMap(({ x0, y0, x1, y1 }, number) => ["mark-ground", "mark-line"].map((look) =>
      svg("rect", {
        class: `${look}${number === this.chosen ? " chosen" : ""}`, x: x0, y: y0, width: x1 - x0, height: y1 - y0,
      }))));
  }

  // ---- pointer

  begin(event) {
    const { boxes } = this.review;
    const at = this.#at(event);
    const corner = this.#corner(event, boxes);
    const inside = boxes.findLastIndex(({ x0, y0, x1, y1 }) => at.x >= x0 && at.x <= x1 && at.y >= y0 && at.y <= y1);
    if (corner) this.drag = { kind: "corner", number: corner.number, from: corner.opposite, boxes };
    else if (inside >= 0) this.drag = { kind: "move", number: inside, from: at, before: boxes[inside], boxes };
    else this.drag = { kind: "corner", number: boxes.length, from: at, boxes: [...boxes, { x0: at.x, y0: at.y, x1: at.x, y1: at.y }] };
    this.chosen = this.drag.number;
    this.draw();
  }

  follow(event) {
    const { drag } = this;
    if (!drag) return;
    const at = this.#at(event);
    const box = drag.kind === "move"
      ? moved(drag.before, at.x - drag.from.x, at.y - drag.from.y)
      : spanned(drag.from, at);
    drag.boxes = drag.boxes.map((other, number) => (number === drag.number ? box : other));
    this.draw();
  }

  end() {
    const { drag } = this;
    this.drag = null;
    if (!drag) return;
    const { x0, y0, x1, y1 } = drag.boxes[drag.number];
    const large = x1 - x0 >= SMALLEST && y1 - y0 >= SMALLEST;
    const changed = drag.boxes.some((box, number) => box !== this.review.boxes[number]);
    if (large && changed) this.review.say({ boxes: drag.boxes });
    this.draw();
  }

  // ---- keyboard; whether the key meant something here

  key(event) {
    const { boxes } = this.review;
    const arrow = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const box = boxes[this.chosen];
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z") this.review.undo();
    else if (event.ctrlKey || event.metaKey || event.altKey) return false;
    else if (event.key === "Enter") this.#add();
    else if (event.key === "Escape") this.onLeave();
    else if (event.key.toLowerCase() === "n" && boxes.length) this.chosen = (this.chosen + 1) % boxes.length;
    else if ((event.key === "Delete" || event.key === "Backspace") && box) this.#remove(box);
    else if (arrow && box) this.#change(event.shiftKey ? resized(box, ...arrow) : moved(box, arrow[0] * STEP, arrow[1] * STEP));
    else return false;
    this.draw();
    return true;
  }

  #add() {
    const [low, high] = [(1 - FIRST) / 2, (1 + FIRST) / 2];
    this.chosen = this.review.boxes.length;
    this.review.say({ boxes: [...this.review.boxes, { x0: low, y0: low, x1: high, y1: high }] });
  }

  #remove(box) {
    this.chosen = 0;
    this.review.say({ boxes: this.review.boxes.filter((other) => other !== box) });
  }

  #change(box) {
    this.review.say({ boxes: this.review.boxes.map((other, number) => (number === this.chosen ? box : other)) }, { later: true });
  }

  // ---- places

  #at(event) {
    const { left, top, width, height } = this.stage.getBoundingClientRect();
    return { x: within((event.clientX - left) / width), y: within((event.clientY - top) / height) };
  }

  #corner(event, boxes) {
    const { left, top, width, height } = this.stage.getBoundingClientRect();
    for (const [number, { x0, y0, x1, y1 }] of boxes.entries()) {
      for (const [x, y, opposite] of [[x0, y0, { x: x1, y: y1 }], [x1, y0, { x: x0, y: y1 }], [x0, y1, { x: x1, y: y0 }], [x1, y1, { x: x0, y: y0 }]]) {
        if (Math.hypot(left + x * width - event.clientX, top + y * height - event.clientY) < GRIP_PIXELS) return { number, opposite };
      }
    }
    return null;
  }
}

function within(value) {
  return Math.min(Math.max(value, 0), 1);
}

function rounded({ x0, y0, x1, y1 }) {
  const digits = (value) => Math.round(value * 1e4) / 1e4;
  return { x0: digits(x0), y0: digits(y0), x1: digits(x1), y1: digits(y1) };
}

function spanned(one, other) {
  return rounded({
    x0: Math.min(one.x, other.x), y0: Math.min(one.y, other.y), x1: Math.max(one.x, other.x), y1: Math.max(one.y, other.y),
  });
}

// Moved, but not out of the image.
function moved({ x0, y0, x1, y1 }, dx, dy) {
  const x = Math.min(Math.max(dx, -x0), 1 - x1);
  const y = Math.min(Math.max(dy, -y0), 1 - y1);
  return rounded({ x0: x0 + x, y0: y0 + y, x1: x1 + x, y1: y1 + y });
}

function resized({ x0, y0, x1, y1 }, dx, dy) {
  return rounded({
    x0, y0, x1: within(Math.max(x1 + dx * STEP, x0 + SMALLEST)), y1: within(Math.max(y1 + dy * STEP, y0 + SMALLEST)),
  });
}
