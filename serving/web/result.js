// The result in words, with the probability on a bar and what it means.

import { bars, button, element, facts, refill } from "./dom.js";
import { explain, firmness, inHundred, isCalibrated, percent, regionWords, seenWords, SUSPICION } from "./messages.js";

const POINTS = {
  high_sensitivity: { name: "High-sensitivity point", shape: "circle", figure: "sensitivity", found: "fractures scored at or above it" },
  high_specificity: { name: "High-specificity point", shape: "diamond", figure: "specificity", found: "normal images scored below it" },
};

// Fills the panel for one case; `actions` are the functions behind its buttons.
export function drawResult(panel, item, actions) {
  if (!item) refill(panel);
  else if (item.state === "answered") refill(panel, ...answered(item, actions));
  else if (item.state === "failed") refill(panel, ...failed(item, actions));
  else refill(panel, ...reading(item));
}

// The first line of an answer, for where the panel lies below the radiograph.
export function drawVerdict(strip, item) {
  const { answer = null } = item ?? {};
  strip.hidden = !answer;
  if (answer) {
    refill(strip, bars(SUSPICION[answer.suspicion].rank), element("span", {}, answer.label),
      element("strong", {}, percent(answer.probability)));
  }
}

function heading(item) {
  return element("h2", { class: "file-name" }, item.name);
}

function reading(item) {
  const words = {
    waiting: "Waiting for earlier images.",
    reading: "The model is reading the image.",
    busy: "The service is busy. The image will be sent again in a moment.",
  }[item.state];
  return [heading(item), element("p", { class: "patience" }, words), element("progress", { "aria-label": words })];
}

function failed(item, actions) {
  const { title, advice, detail, again } = explain(item.error);
  return [
    heading(item),
    element("p", { class: "statement" }, title),
    element("p", {}, advice),
    detail && element("p", { class: "hint" }, `Reason: ${detail}.`),
    element("div", { class: "result-actions" },
      again && button("Try again", actions.retry, { class: "primary" }),
      item.maybePhotograph && button("Mark the radiograph in a photograph", actions.crop, {}, "camera"),
      button("Remove", actions.remove)),
    element("details", {},
      element("summary", {}, "Technical details"),
      facts([["Code", item.error.code], ["HTTP status", item.error.status || null], ["Request", item.error.requestId]])),
  ];
}

function answered(item, actions) {
  const { answer, model } = item;
  const notes = answer.warnings.map(({ message }) => element("li", {}, message));
  return [
    heading(item),
    element("p", { class: "label" }, answer.label),
    element("p", { class: "statement" }, answer.statement),
    element("p", { class: "verdict" }, bars(SUSPICION[answer.suspicion].rank), SUSPICION[answer.suspicion].words),
    element("p", { class: "probability" },
      element("span", { class: "number" }, percent(answer.probability)), " probability of a fracture"),
    scale(answer, model),
    element("p", { class: "plain" }, ...(isCalibrated(answer)
      ? [inHundred(answer.probability), " ", element("span", { class: "hint" }, "This holds for images like those of the test set.")]
      : ["How often such an answer is right is not known for an image like this one: see the warnings."]),
      " ", firmness(answer.probability, answer.threshold)),
    answer.region && element("p", { class: "plain" }, `Body part: ${regionWords(answer)}`),
    item.reading?.root,
    !item.heatmap && element("p", { class: "hint" }, "The model found no suspicious region, so there is no heatmap."),
    notes.length > 0 && element("section", { class: "warnings", "aria-label": "Warnings" },
      element("ul", {}, ...notes)),
    item.maybePhotograph && button("A photograph of a film or a screen? Mark the radiograph in it", actions.crop,
      { class: "quiet result-crop" }, "camera"),
    Object.keys(answer.probabilities).length > 2 && classes(answer.probabilities),
    legend(answer, model),
    element("details", {},
      element("summary", {}, "Technical details"),
      facts([
        ["Model", `${answer.model.name}, version ${answer.model.version}`],
        ["Image", `${answer.input.width} × ${answer.input.height} pixels`],
        ["Seen by the model", seenWords(answer.input.seen)],
        ...answer.warnings.filter(({ detail }) => detail).map(({ detail }) => ["Behind a warning", detail]),
        ["SHA-256 of the file", answer.input.sha256],
        ["SOP instance UID", answer.input.sop_instance_uid],
        ["Request", answer.request_id],
      ])),
    element("div", { class: "result-actions result-save" },
      button("Save picture", actions.savePicture, { title: "PNG, with heatmap and boxes as shown" }, "download"),
      button("Save answer", actions.saveAnswer, { title: "JSON" }, "download")),
  ];
}

// The bar from 0 to 100 per cent; the marks stand where the operating points and the threshold are.
function scale(answer, model) {
  const said = `${percent(answer.probability)} probability of a fracture, ${SUSPICION[answer.suspicion].words}`;
  const bar = element("div", {
    class: "scale", role: "meter", "aria-label": "Probability of a fracture", "aria-valuemin": 0, "aria-valuemax": 100,
    "aria-valuenow": Math.round(answer.probability * 100), "aria-valuetext": said,
  });
  const fill = element("span", { class: "scale-fill" });
  fill.style.width = `${answer.probability * 100}%`;
  bar.append(element("span", { class: "scale-track" }, fill));
  for (const { shape, at } of marks(answer, model)) {
    const mark = element("span", { class: `mark mark-${shape}` });
    mark.style.left = `${at * 100}%`;
    bar.append(mark);
  }
  return element("div", { class: "scale-frame" }, bar,
    element("div", { class: "scale-ends", "aria-hidden": "true" }, element("span", {}, "0"), element("span", {}, "100\u00a0%")));
}

// What is drawn on the bar, from left to right.
function marks(answer, model) {
  const points = Object.entries(POINTS)
    .map(([key, point]) => ({ key, ...point, at: model?.operating_points?.[key] }))
    .filter(({ at }) => Number.isFinite(at) && at <= 1);
  const threshold = { key: "threshold", name: "Threshold of the label", shape: "line", at: answer.threshold };
  return [...points, threshold].sort((one, other) => one.at - other.at);
}

function legend(answer, model) {
  const drawn = marks(answer, model);
  const lowest = drawn.find(({ key }) => key !== "threshold")?.key;
  const meaning = (key) => {
    if (key === "threshold") return "From here on the label is “Fracture detected”.";
    return key === lowest ? "From here on a fracture is possible: look closely."
      : "From here on the suspicion is high; below the threshold the label says so: “Normal, but suspicious”.";
  };
  const missing = Object.entries(POINTS).filter(([key]) => model?.operating_points?.[key] > 1);
  return element("details", { class: "legend", open: true }, element("summary", {}, "What the marks mean"),
    element("ul", {},
      ...drawn.map((mark) => element("li", {},
        element("span", { class: `mark-sample mark-${mark.shape}`, "aria-hidden": "true" }),
        element("div", {}, element("strong", {}, `${percent(mark.at)} `), `${mark.name}. ${meaning(mark.key)} `, tested(mark, model)))),
      ...missing.map(([, { name }]) => element("li", {}, `${name}: not drawn, as no probability reached its target.`))));
}

function tested({ key, figure, found }, model) {
  // Figures of the points hold only as long as nobody has moved them to another site's images.
  const value = model?.recalibrated ? null : model?.quality?.test?.[`at_${key}`]?.[figure]?.value;
  return Number.isFinite(value) ? `On the test set: ${percent(value)} of the ${found}.` : "";
}

function classes(probabilities) {
  const rows = Object.entries(probabilities).sort(([, one], [, other]) => other - one).map(([name, share]) => {
    const fill = element("span", { class: "scale-fill" });
    fill.style.width = `${share * 100}%`;
    return element("li", {},
      element("span", { class: "class-name" }, name),
      element("span", { class: "scale-track", "aria-hidden": "true" }, fill),
      element("span", { class: "class-share" }, percent(share)));
  });
  return element("section", { class: "classes", "aria-label": "Probabilities of the classes" },
    element("h3", {}, "Classes"), element("ul", {}, ...rows));
}
