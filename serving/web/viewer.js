// The radiograph on dark ground: zoom, move, brightness and contrast, inversion, heatmap and boxes.
//
// A view is { scale, x, y, tone }: how many screen pixels one image pixel takes, where the image's corner lies on the
// screen, and tone.js' settings. It belongs to one image. Heatmap and boxes belong to the session.

import { svg } from "./dom.js";
import { Marks } from "./marks.js";
import { percent } from "./messages.js";
import { cssFilter, NEUTRAL } from "./tone.js";

const STEP = 1.25; // of one press of a zoom key
const MOST_SCALE = 16;
const MOVE_PIXELS = 60; // of one press of an arrow
const TONE_STEP = 5;
const TONE_PER_PIXEL = 0.4; // of dragging

export class Viewer {
  constructor(root) {
    const find = (selector) => root.querySelector(selector);
    this.root = root;
    this.screen = find("#screen");
    this.stage = find("#stage");
    this.picture = find("#picture");
    this.heatmap = find("#heatmap");
    this.boxes = find("#boxes");
    this.fieldLegend = find("#field-legend");
    this.marks = new Marks(this.stage, find("#marks"), () => this.#setDragTool("move"));
    this.message = find("#screen-message");
    this.level = find("#zoom-level");
    this.controls = {
      showHeatmap: find("#show-heatmap"), opacity: find("#opacity"), showBoxes: find("#show-boxes"),
      brightness: find("#brightness"), contrast: find("#contrast"),
    };
    this.buttons = Object.fromEntries([...root.querySelectorAll("[data-tool]")].map((made) => [made.dataset.tool, made]));
    this.subject = null;
    this.view = null;
    this.fitted = true;
    this.dragTool = "move";
    this.pointers = new Map();
    // Until a person decides: evidence is shown where there is suspicion. A heatmap's highest peak is always at full
    // strength, so that over a normal image it would draw the eye to nothing.
    this.wanted = { heatmap: null, boxes: null };
    this.#listen();
  }

  // Shows one case (case.js), or with `message` why there is nothing to see.
  show(subject, message = "") {
    const before = this.size;
    this.subject = subject;
    const picture = subject?.picture ?? null;
    this.stage.hidden = !picture;
    this.message.hidden = Boolean(picture) || !message;
    this.message.textContent = message;
    this.size = picture && { width: picture.width, height: picture.height };
    if (picture) {
      this.picture.src = picture.url;
      this.picture.alt = `Radiograph ${subject.name}`;
      this.#adoptView(before);
    } else {
      this.view = null;
      this.picture.removeAttribute("src");
      this.picture.alt = "";
    }
    this.#drawEvidence();
    this.marks.show(subject?.review ?? null);
    if (!subject?.review?.opinion && this.dragTool === "box") this.#setDragTool("move");
    this.#enable();
  }

  // Lets the reader draw boxes.
  mark() {
    this.#setDragTool("box");
    this.screen.scrollIntoView({ block: "nearest" });
    this.screen.focus();
  }

  // What an export has to repeat.
  get settings() {
    return {
      tone: this.view?.tone ?? NEUTRAL,
      heatmap: this.#heatmapIsOn() ? this.#opacity() : 0,
      boxes: this.#boxesAreOn(),
    };
  }

  zoom(by, centre = null) {
    if (!this.view) return;
    const { width, height } = this.screen.getBoundingClientRect();
    const { x, y } = centre ?? { x: width / 2, y: height / 2 };
    const fit = this.#fitScale();
    const scale = Math.min(Math.max(this.view.scale * by, fit), Math.max(MOST_SCALE, fit));
    const grown = scale / this.view.scale;
    Object.assign(this.view, { scale, x: x - (x - this.view.x) * grown, y: y - (y - this.view.y) * grown });
    this.fitted = scale <= fit * 1.001;
    this.#place();
  }

  fit() {
    if (!this.view) return;
    this.view.scale = this.#fitScale();
    this.fitted = true;
    this.#place();
  }

  move(dx, dy) {
    if (!this.view) return;
    this.view.x += dx;
    this.view.y += dy;
    this.#place();
  }

  setTone(change) {
    if (!this.view) return;
    const tone = { ...this.view.tone, ...change };
    const bounded = (value) => Math.round(Math.min(Math.max(value, -100), 100));
    this.view.tone = { ...tone, brightness: bounded(tone.brightness), contrast: bounded(tone.contrast) };
    this.#drawTone();
  }

  reset() {
    this.setTone(NEUTRAL);
    this.fit();
  }

  toggleHeatmap(on = !this.#heatmapIsOn()) {
    this.wanted.heatmap = on;
    this.#drawEvidence();
  }

  toggleBoxes(on = !this.#boxesAreOn()) {
    this.wanted.boxes = on;
    this.#drawEvidence();
  }

  #adoptView(before) {
    const { subject } = this;
    if (!this.view || this.view !== subject.view) {
      subject.view ??= { scale: 0, x: 0, y: 0, tone: { ...NEUTRAL } };
      this.view = subject.view;
      this.fitted = this.view.scale === 0 || this.view.scale <= this.#fitScale() * 1.001;
    } else if (before && before.width !== this.size.width) {
      // The preview has come for the file that was shown; keep what the person looks at where it is.
      this.view.scale *= before.width / this.size.width;
    }
    if (this.fitted) this.view.scale = this.#fitScale();
    this.#place();
    this.#drawTone();
  }

  #fitScale() {
    const { width, height } = this.screen.getBoundingClientRect();
    return Math.max(Math.min(width / this.size.width, height / this.size.height), 1e-3);
  }

  // Writes position and size. Sizes instead of a CSS scale, so that lines of boxes keep their width.
  #place() {
    const { view, size } = this;
    const { width, height } = this.screen.getBoundingClientRect();
    const shown = { width: size.width * view.scale, height: size.height * view.scale };
    // Smaller than the screen: in its middle. Larger: no edge comes further in than the screen's.
    const within = (at, room, length) => length <= room ? (room - length) / 2 : Math.min(Math.max(at, room - length), 0);
    view.x = within(view.x, width, shown.width);
    view.y = within(view.y, height, shown.height);
    this.stage.style.width = `${shown.width}px`;
    this.stage.style.height = `${shown.height}px`;
    this.stage.style.transform = `translate(${view.x}px, ${view.y}px)`;
    this.level.textContent = percent(Math.max(view.scale, 0.01));
    this.screen.classList.toggle("at-rest", this.fitted && this.dragTool === "move");
  }

  #drawTone() {
    const { tone } = this.view;
    this.picture.style.filter = cssFilter(tone);
    this.controls.brightness.value = tone.brightness;
    this.controls.contrast.value = tone.contrast;
    this.buttons.invert.setAttribute("aria-pressed", tone.invert);
  }

  #drawEvidence() {
    const { heatmap = null, boxes = [] } = this.subject ?? {};
    if (heatmap) this.heatmap.src = heatmap.url;
    else this.heatmap.removeAttribute("src");
    this.heatmap.hidden = !this.#heatmapIsOn();
    this.heatmap.style.opacity = this.#opacity();
    this.controls.showHeatmap.checked = this.#heatmapIsOn();
    this.controls.showBoxes.checked = this.#boxesAreOn();
    // Each box twice, dark below light, to be seen on any ground.
    const rectangle = ({ x0, y0, x1, y1 }, look) =>
      svg("rect", { class: look, x: x0, y: y0, width: x1 - x0, height: y1 - y0 });
    const field = this.size && this.subject.field ? [this.subject.field] : [];
    this.fieldLegend.hidden = field.length === 0;
    this.boxes.replaceChildren(
      ...field.flatMap((box) => ["field-ground", "field-line"].map((look) => rectangle(box, look))),
      ...(this.#boxesAreOn() ? boxes : []).flatMap((box) => ["box-ground", "box-line"].map((look) => rectangle(box, look))));
  }

  #enable() {
    const { controls, buttons, subject } = this;
    const visible = Boolean(this.size);
    for (const made of Object.values(buttons)) made.disabled = !visible;
    buttons.box.hidden = !subject?.review;
    buttons.box.disabled = !visible || !subject?.review?.opinion;
    controls.brightness.disabled = controls.contrast.disabled = !visible;
    controls.showHeatmap.disabled = controls.opacity.disabled = !subject?.heatmap;
    controls.showBoxes.disabled = !subject?.boxes.length;
  }

  #suspicious() {
    return this.subject?.state === "answered" && this.subject.answer.suspicion !== "none";
  }

  #heatmapIsOn() {
    return Boolean(this.subject?.heatmap) && (this.wanted.heatmap ?? this.#suspicious());
  }

  #boxesAreOn() {
    return Boolean(this.subject?.boxes.length) && (this.wanted.boxes ?? false);
  }

  #opacity() {
    return this.controls.opacity.value / 100;
  }

  #setDragTool(tool) {
    this.dragTool = tool;
    this.buttons.move.setAttribute("aria-pressed", tool === "move");
    this.buttons.window.setAttribute("aria-pressed", tool === "window");
    this.buttons.box.setAttribute("aria-pressed", tool === "box");
    this.screen.classList.toggle("windowing", tool === "window");
    this.screen.classList.toggle("marking", tool === "box");
    this.screen.setAttribute("aria-describedby", tool === "box" ? "mark-keys" : "screen-keys");
    if (this.view) this.#place();
  }

  #listen() {
    const { screen, buttons, controls } = this;
    const actions = {
      in: () => this.zoom(STEP), out: () => this.zoom(1 / STEP), fit: () => this.fit(), reset: () => this.reset(),
      move: () => this.#setDragTool("move"), window: () => this.#setDragTool("window"),
      box: () => this.#setDragTool(this.dragTool === "box" ? "move" : "box"),
      invert: () => this.setTone({ invert: !this.view.tone.invert }),
    };
    for (const [name, act] of Object.entries(actions)) buttons[name].addEventListener("click", act);
    controls.showHeatmap.addEventListener("change", (event) => this.toggleHeatmap(event.target.checked));
    controls.showBoxes.addEventListener("change", (event) => this.toggleBoxes(event.target.checked));
    controls.opacity.addEventListener("input", () => this.toggleHeatmap(true));
    for (const name of ["brightness", "contrast"]) {
      controls[name].addEventListener("input", (event) => this.setTone({ [name]: Number(event.target.value) }));
    }
    screen.addEventListener("keydown", (event) => this.#onKey(event));
    screen.addEventListener("wheel", (event) => this.#onWheel(event), { passive: false });
    screen.addEventListener("dblclick", (event) => {
      if (this.dragTool === "box") return;
      if (this.fitted) this.zoom(STEP ** 4, this.#onScreen(event));
      else this.fit();
    });
    screen.addEventListener("contextmenu", (event) => event.preventDefault()); // the right button is for dragging
    screen.addEventListener("pointerdown", (event) => this.#onPointerDown(event));
    screen.addEventListener("pointermove", (event) => this.#onPointerMove(event));
    for (const end of ["pointerup", "pointercancel"]) {
      screen.addEventListener(end, (event) => {
        this.pointers.delete(event.pointerId);
        this.marks.end();
        screen.classList.toggle("dragging", this.pointers.size > 0);
      });
    }
    new ResizeObserver(() => {
      if (!this.view) return;
      if (this.fitted) this.fit();
      else this.#place();
    }).observe(screen);
  }

  #onKey(event) {
    if (this.view && this.dragTool === "box" && this.marks.key(event)) {
      event.preventDefault();
      return;
    }
    if (!this.view || event.ctrlKey || event.metaKey || event.altKey) return;
    const { tone } = this.view;
    const arrows = {
      ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1],
    }[event.key];
    const keys = {
      "+": () => this.zoom(STEP), "=": () => this.zoom(STEP), "-": () => this.zoom(1 / STEP),
      0: () => this.fit(), 1: () => this.zoom(1 / this.view.scale), r: () => this.reset(),
      i: () => this.setTone({ invert: !tone.invert }), h: () => this.toggleHeatmap(), b: () => this.toggleBoxes(),
    };
    const act = keys[event.key.toLowerCase()];
    if (arrows && event.shiftKey) {
      this.setTone({ contrast: tone.contrast - arrows[0] * TONE_STEP, brightness: tone.brightness + arrows[1] * TONE_STEP });
    } else if (arrows && !this.fitted) {
      this.move(arrows[0] * MOVE_PIXELS, arrows[1] * MOVE_PIXELS);
    } else if (act) {
      act();
    } else {
      return; // so that arrows scroll the page while there is nothing to move
    }
    event.preventDefault();
  }

  #onWheel(event) {
    const page = document.documentElement;
    const pageScrolls = page.scrollHeight > page.clientHeight + 1;
    if (!this.view || (pageScrolls && !event.ctrlKey)) return;
    event.preventDefault();
    // Lines and pages to pixels; a notch of a wheel and a stroke on a touchpad should both feel right.
    const pixels = event.deltaY * [1, 30, 300][event.deltaMode];
    this.zoom(Math.exp(-Math.max(Math.min(pixels, 120), -120) / (event.ctrlKey ? 120 : 500)), this.#onScreen(event));
  }

  #onPointerDown(event) {
    if (!this.view || event.button === 1) return;
    this.screen.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, this.#onScreen(event));
    if (this.dragTool === "box" && event.button === 0 && this.pointers.size === 1) this.marks.begin(event);
    this.windowing = event.button === 2 || this.dragTool === "window";
    this.screen.classList.add("dragging");
  }

  #onPointerMove(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before || !this.view) return;
    const now = this.#onScreen(event);
    if (this.marks.drag && this.pointers.size === 1) {
      this.marks.follow(event);
    } else if (this.pointers.size === 1) {
      const [dx, dy] = [now.x - before.x, now.y - before.y];
      if (this.windowing) this.#dragTone(dx, dy);
      else this.move(dx, dy);
    } else if (this.pointers.size === 2) {
      const other = [...this.pointers].find(([id]) => id !== event.pointerId)[1];
      this.#pinch(other, before, now);
    }
    this.pointers.set(event.pointerId, now);
  }

  #dragTone(dx, dy) {
    // Whole steps only reach the tone; the rest of slow dragging is kept for the next move.
    this.rest ??= { contrast: 0, brightness: 0 };
    const step = (name, amount) => {
      this.rest[name] += amount * TONE_PER_PIXEL;
      const whole = Math.trunc(this.rest[name]);
      this.rest[name] -= whole;
      return this.view.tone[name] + whole;
    };
    this.setTone({ contrast: step("contrast", dx), brightness: step("brightness", -dy) });
  }

  #pinch(other, before, now) {
    const distance = (point) => Math.max(Math.hypot(point.x - other.x, point.y - other.y), 1);
    const middle = (point) => ({ x: (point.x + other.x) / 2, y: (point.y + other.y) / 2 });
    const [from, to] = [middle(before), middle(now)];
    this.view.x += to.x - from.x;
    this.view.y += to.y - from.y;
    this.zoom(distance(now) / distance(before), to);
  }

  #onScreen(event) {
    const { left, top } = this.screen.getBoundingClientRect();
    return { x: event.clientX - left, y: event.clientY - top };
  }
}
