// A photograph of a film or a screen: four corners mark the radiograph in it, before anything is answered.

import { isConvex, straightened } from "./perspective.js";

const MOST_SIDE = 2400; // pixels of the photograph that is worked on; averaging down to it also takes moiré away
const INSET = 0.08; // of a side: where the corners lie at first
const STEP = 0.005; // of one press of an arrow
const QUALITY = 0.95;

/** Said with every answer for a photograph, beside the warnings of the model. */
export const PHOTOGRAPHED = {
  code: "photographed",
  message: "This is a photograph of a film or a screen. Glare, moiré and a slanted view can hide a fracture or feign one, "
    + "and the model was tested on the images themselves. Open the original file where there is one.",
};

export class Cropper {
  constructor(dialog) {
    const find = (selector) => dialog.querySelector(selector);
    this.dialog = dialog;
    this.canvas = find("canvas");
    this.outline = find("polygon");
    this.handles = [...dialog.querySelectorAll("[data-corner]")];
    this.fault = find("#crop-fault");
    this.use = find("#crop-use");
    this.corners = [];
    this.#listen();
    this.use.addEventListener("click", () => this.#close("crop"));
    find("#crop-whole").addEventListener("click", () => this.#close("whole"));
    dialog.addEventListener("close", () => this.#close(dialog.returnValue));
  }

  /** The radiograph of a photograph as a file; the file itself for one that this browser cannot show; null: not wanted. */
  async ask(file) {
    const image = await createImageBitmap(file).catch(() => null);
    if (!image) return file;
    const scale = Math.min(1, MOST_SIDE / Math.max(image.width, image.height));
    this.canvas.width = Math.round(image.width * scale);
    this.canvas.height = Math.round(image.height * scale);
    this.canvas.parentElement.style.setProperty("--ratio", this.canvas.width / this.canvas.height);
    const context = this.canvas.getContext("2d", { willReadFrequently: true });
    context.imageSmoothingQuality = "high";
    context.drawImage(image, 0, 0, this.canvas.width, this.canvas.height);
    image.close();
    this.corners = [[INSET, INSET], [1 - INSET, INSET], [1 - INSET, 1 - INSET], [INSET, 1 - INSET]].map(([x, y]) => ({ x, y }));
    this.#draw();
    const chosen = await this.#show();
    if (chosen === "whole") return file;
    return chosen === "crop" ? this.#cropped(file.name) : null;
  }

  #show() {
    this.dialog.returnValue = "";
    this.dialog.showModal();
    return new Promise((resolve) => { this.resolve = resolve; });
  }

  #close(chosen) {
    this.resolve?.(chosen);
    this.resolve = null;
    if (this.dialog.open) this.dialog.close();
  }

  async #cropped(name) {
    const { width, height } = this.canvas;
    const picture = this.canvas.getContext("2d").getImageData(0, 0, width, height);
    const found = straightened(picture, this.corners.map(({ x, y }) => ({ x: x * width, y: y * height })));
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [found.width, found.height];
    canvas.getContext("2d").putImageData(new ImageData(found.data, found.width, found.height), 0, 0);
    const blob = await new Promise((resolve) => { canvas.toBlob(resolve, "image/jpeg", QUALITY); });
    return new File([blob], name, { type: "image/jpeg" });
  }

  #listen() {
    this.handles.forEach((handle, index) => {
      handle.addEventListener("pointerdown", (event) => {
        handle.setPointerCapture(event.pointerId);
        event.preventDefault();
        handle.focus();
      });
      handle.addEventListener("pointermove", (event) => {
        if (!handle.hasPointerCapture(event.pointerId)) return;
        const { left, top, width, height } = this.canvas.getBoundingClientRect();
        this.#move(index, (event.clientX - left) / width, (event.clientY - top) / height);
      });
      handle.addEventListener("keydown", (event) => {
        const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
        if (!dx && !dy) return;
        event.preventDefault();
        const step = STEP * (event.shiftKey ? 10 : 1);
        this.#move(index, this.corners[index].x + dx * step, this.corners[index].y + dy * step);
      });
    });
  }

  #move(index, x, y) {
    const within = (value) => Math.min(Math.max(value, 0), 1);
    this.corners[index] = { x: within(x), y: within(y) };
    this.#draw();
  }

  #draw() {
    this.handles.forEach((handle, index) => {
      handle.style.left = `${100 * this.corners[index].x}%`;
      handle.style.top = `${100 * this.corners[index].y}%`;
    });
    this.outline.setAttribute("points", this.corners.map(({ x, y }) => `${x},${y}`).join(" "));
    const convex = isConvex(this.corners);
    this.use.disabled = !convex;
    this.fault.hidden = convex;
  }
}
