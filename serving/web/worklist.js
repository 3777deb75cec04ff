// The list of this session's images, most suspicious first.

import { bySuspicion } from "./case.js";
import { bars, button, element, icon, refill } from "./dom.js";
import { explain, OPINIONS, percent, SUSPICION } from "./messages.js";

const STATES = { waiting: "Waiting", reading: "Reading", busy: "Service busy, waiting" };

export class Worklist {
  constructor(list, { onSelect, onRemove }) {
    this.list = list;
    this.onSelect = onSelect;
    this.onRemove = onRemove;
    this.rows = new Map();
  }

  draw(cases, selected) {
    for (const [item, row] of this.rows) {
      if (!cases.includes(item)) {
        row.root.remove();
        this.rows.delete(item);
      }
    }
    // Moving the focused element would take the focus from it.
    const focused = document.activeElement;
    bySuspicion(cases).forEach((item, place) => {
      const row = this.#row(item);
      this.#fill(row, item, item === selected);
      if (this.list.children[place] !== row.root) this.list.insertBefore(row.root, this.list.children[place] ?? null);
    });
    if (focused !== document.activeElement && this.list.contains(focused)) focused.focus({ preventScroll: true });
  }

  // Moves the focus to an image's row; used when the one that had it is gone.
  focus(item) {
    this.rows.get(item)?.open.focus();
  }

  #row(item) {
    if (!this.rows.has(item)) {
      const open = button("", () => this.onSelect(item), { class: "case" });
      const remove = button("", () => this.onRemove(item), {
        class: "icon-button case-remove", "aria-label": `Remove ${item.name}`, title: "Remove",
      }, "close");
      this.rows.set(item, { open, root: element("li", {}, open, remove) });
    }
    return this.rows.get(item);
  }

  #fill({ open, root }, item, selected) {
    root.dataset.state = item.state;
    if (selected) open.setAttribute("aria-current", "true");
    else open.removeAttribute("aria-current");
    open.title = item.name;
    refill(open,
      element("span", { class: "thumb", "aria-hidden": "true" }, item.thumbnail ?? placeholder(item)),
      element("span", { class: "case-words" },
        element("span", { class: "case-name" }, item.name), " ",
        element("span", { class: "case-state" }, ...describe(item))),
    );
  }
}

function describe(item) {
  if (item.state === "answered") {
    const { rank, short } = SUSPICION[item.answer.suspicion];
    return [
      bars(rank), element("span", { class: "visually-hidden" }, "Suspicion: "), short, " ",
      element("span", { class: "case-probability" }, percent(item.answer.probability, true)),
      item.review?.state === "kept" && element("span", { class: "case-reviewed", title: `Reviewed: ${OPINIONS[item.review.opinion].said}` },
        icon(OPINIONS[item.review.opinion].symbol),
        element("span", { class: "visually-hidden" }, ` Reviewed: ${OPINIONS[item.review.opinion].said}`)),
    ];
  }
  return [item.state === "failed" ? explain(item.error).title : STATES[item.state]];
}

function placeholder(item) {
  return item.state === "failed" ? icon("alert") : element("span", { class: "pulse" });
}
