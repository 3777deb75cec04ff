// Building elements. Text only ever becomes a text node, so nothing a file name or an answer holds is read as HTML.

const SVG = "http://www.w3.org/2000/svg";

// An element with attributes and children; children are nodes or text, and what is null or false is left out.
export function element(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

// One of the symbols at the end of index.html.
export function icon(name) {
  return svg("svg", { class: "icon", "aria-hidden": "true" }, svg("use", { href: `#icon-${name}` }));
}

// Three bars of rising height, filled up to `rank` (0 to 2). Words beside it have to say the same.
export function bars(rank) {
  return svg("svg", { class: "glyph", viewBox: "0 0 16 14", "aria-hidden": "true" },
    ...[0, 1, 2].map((bar) => svg("rect", {
      x: bar * 6, y: 9 - bar * 4.5, width: 4, height: 5 + bar * 4.5, rx: 1, class: bar <= rank ? "full" : "hollow",
    })));
}

export function button(label, onClick, attributes = {}, symbol = null) {
  const made = element("button", { type: "button", ...attributes }, symbol && icon(symbol), label);
  made.addEventListener("click", onClick);
  return made;
}

// Gives an element these children instead of its own.
export function refill(parent, ...children) {
  parent.replaceChildren();
  return fill(parent, {}, children);
}

// Rows of a description list; a row without a value is left out.
export function facts(rows) {
  const shown = rows.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return element("dl", { class: "facts" }, ...shown.map(([name, value]) =>
    element("div", {}, element("dt", {}, name), element("dd", {}, value))));
}

export function byId(id) {
  return document.getElementById(id);
}

function fill(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}
