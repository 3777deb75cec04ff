// The reader's part of the result: agree, disagree or not sure, the final label, a reason, and the boxes.

import { button, element, icon, refill } from "./dom.js";
import { COMMENTS, explain, OPINIONS } from "./messages.js";

export class Reading {
  // `onMark()` lets the reader draw on the radiograph.
  constructor(item, onMark) {
    this.item = item;
    this.onMark = onMark;
    this.status = element("p", { class: "reading-status hint", role: "status" });
    this.opinions = Object.entries(OPINIONS).map(([opinion, { verb, symbol }]) => ({
      opinion, made: button(verb, () => this.#choose(opinion), { "aria-pressed": false, class: "opinion" }, symbol),
    }));
    this.more = element("div", { class: "reading-more" });
    this.undo = button("Undo", () => item.review.undo(), { class: "quiet" }, "undo");
    this.root = element("section", { class: "reading", "aria-labelledby": "reading-title" },
      element("h3", { id: "reading-title" }, "Your reading"),
      element("div", { class: "opinions", role: "group", "aria-label": "Do you agree with the answer?" },
        ...this.opinions.map(({ made }) => made)),
      this.more, element("div", { class: "reading-foot" }, this.status, this.undo));
    this.#build();
    this.draw();
  }

  // Brings what stands there up to date. Nothing is made anew, so that the focus stays where it is.
  draw() {
    const { review } = this.item;
    for (const { opinion, made } of this.opinions) made.setAttribute("aria-pressed", opinion === review.opinion);
    this.more.hidden = review.opinion === null;
    this.label.value = review.said.label ?? "";
    for (const [code, box] of this.comments) box.checked = review.said.comments.includes(code);
    this.undo.disabled = !review.canUndo;
    refill(this.boxes, ...review.boxes.map((box, number) => element("li", {},
      element("span", {}, `${number + 1}. ${placeWords(box)}`),
      button("", () => review.say({ boxes: review.boxes.filter((other) => other !== box) }), {
        class: "icon-button", "aria-label": `Remove box ${number + 1}`, title: "Remove",
      }, "close"))));
    refill(this.status, ...this.#statusWords(review));
  }

  #choose(opinion) {
    const { review } = this.item;
    if (opinion === review.opinion) return;
    // Whoever disagrees may mean another class; what was said of the other opinion no longer holds.
    review.say({ opinion, label: null });
  }

  #build() {
    const { item } = this;
    const classes = item.model?.classes ?? [];
    this.label = element("select", { id: "reading-label" },
      element("option", { value: "" }, "not stated"),
      ...classes.map((name) => element("option", { value: name }, name)));
    this.label.addEventListener("change", () => item.review.say({ label: this.label.value || null }));
    this.comments = Object.entries(COMMENTS).map(([code, words]) => {
      const box = element("input", { type: "checkbox" });
      box.addEventListener("change", () => item.review.say({
        comments: this.comments.filter(([, other]) => other.checked).map(([other]) => other),
      }));
      return [code, box, words];
    });
    this.boxes = element("ol", { class: "reading-boxes", "aria-label": "Boxes that you drew" });
    this.more.append(
      element("p", { class: "reading-row" }, element("label", { for: "reading-label" }, "Final label"), this.label),
      button("Mark a fracture", () => this.onMark(), { class: "reading-mark" }, "box"),
      this.boxes,
      element("details", {}, element("summary", {}, "Reason"),
        element("ul", { class: "reading-comments" }, ...this.comments.map(([, box, words]) =>
          element("li", {}, element("label", { class: "check" }, box, ` ${words}`))))));
  }

  #statusWords(review) {
    if (review.state === "sending") return ["Sending."];
    if (review.state === "failed") {
      const { title, advice } = explain(review.error);
      return [icon("alert"), ` ${title}. ${advice} `, button("Try again", () => review.retry())];
    }
    if (review.state === "none") return ["Not reviewed yet. What you say helps to watch and to improve the model."];
    const count = review.boxes.length;
    const drawn = count === 0 ? "" : `, ${count} ${count === 1 ? "box" : "boxes"}`;
    return [`Kept: ${OPINIONS[review.opinion].said}${drawn}.`];
  }
}

function placeWords({ x0, y0, x1, y1 }) {
  const share = (value) => `${Math.round(value * 100)}\u00a0%`;
  return `${share(x0)} from the left, ${share(y0)} from the top, ${share(x1 - x0)} wide, ${share(y1 - y0)} high`;
}
