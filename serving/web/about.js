// What the service says of its model, for a person.

import { element, facts, refill } from "./dom.js";
import { megabytes, megapixels, percent } from "./messages.js";

// `words` are those of the backend: which files it reads, and whether programs may ask it.
export function drawAbout(body, model, words) {
  const data = model.trained_on;
  refill(body,
    element("p", {}, model.intended.use),
    element("p", {}, element("strong", {}, model.intended.not_for)),
    facts([
      ["Name and version", `${model.name}, version ${model.version}`],
      ["Architecture", model.architecture],
      ["Classes", model.classes.join(", ")],
      ["Trained on body regions", model.intended.regions.join(", ")],
      ["Trained on views", model.intended.views.join(", ")],
      ["Trained on", `${data.name} (version ${data.version}, ${data.licence})${data.synthetic ? ", synthetic pictures" : ""}`],
      ["Source of the data", data.citation],
    ]),
    quality(model),
    element("h3", {}, "Accepted files"),
    facts([
      ["Files", words.formats],
      ["Size", `at most ${megabytes(model.limits.max_body_bytes)} and ${megapixels(model.limits.max_pixels)}`],
    ]),
    element("details", {}, element("summary", {}, "Origin"), facts([
      ["SHA-256 of the network", model.sha256],
      ["Weights on this device", model.weights],
      ["Signature, checked on this device, of the key", model.signed_by],
      ["Training run", model.run_id],
      ["Git commit", model.origin?.git_commit],
      ["Packaged", model.origin?.packaged_at],
      ["Quality gates", model.origin?.gates],
      ["Reason for promoting it all the same", model.origin?.forced?.reason],
    ])),
    words.hasApi && element("p", {}, element("a", { href: "docs" }, "Interface for programs")),
  );
}

function quality(model) {
  const test = model.quality?.test ?? {};
  const rows = [
    ["AUROC", test.auroc, (value) => value.toFixed(3)],
    ["Sensitivity at the threshold", test.at_threshold?.sensitivity, percent],
    ["Specificity at the threshold", test.at_threshold?.specificity, percent],
  ].filter(([, figure]) => Number.isFinite(figure?.value));
  if (!rows.length) return null;
  const count = model.quality.images?.test;
  return element("section", {},
    element("h3", {}, `Results on the test set${count ? ` (${count} images)` : ""}`),
    facts(rows.map(([name, { value, low, high }, words]) => [name,
      Number.isFinite(low) && Number.isFinite(high)
        ? `${words(value)} (95\u00a0% interval ${words(low)} to ${words(high)})`
        : words(value)])),
    model.recalibrated && element("p", { class: "hint" },
      `Thresholds were recalibrated on ${model.recalibrated.images} images from another site; these results are older.`),
  );
}
