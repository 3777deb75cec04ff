// Puts the page together: images come in (intake.js), are answered (api.js) and are shown (worklist.js, viewer.js,
// result.js). A case (case.js) is one image of this session; nothing of it outlives the tab.

import { drawAbout } from "./about.js";
import { Lanes, ServiceError } from "./api.js";
import { Service } from "./backend.js";
import { bySuspicion, Case } from "./case.js";
import { Cropper, PHOTOGRAPHED } from "./crop.js";
import { button, byId, element } from "./dom.js";
import { answerOf, pictureOf, save, stem } from "./export.js";
import { listenForImages } from "./intake.js";
import { explain, megabytes, megapixels, percent } from "./messages.js";
import { isPhotograph } from "./photograph.js";
import { Reading } from "./reading.js";
import { drawResult, drawVerdict } from "./result.js";
import { Review } from "./review.js";
import { Viewer } from "./viewer.js";
import { Worklist } from "./worklist.js";

const AT_ONCE = 2; // requests

export const service = new Service(askForKey);
const lanes = new Lanes(AT_ONCE);
const viewer = new Viewer(byId("viewer"));
const cropper = new Cropper(byId("crop"));
const worklist = new Worklist(byId("cases"), { onSelect: lookAt, onRemove: remove });
let cases = [];
let selected = null;
let cropping = Promise.resolve(); // one photograph after the other
let model = null;

listenForImages({
  onFiles: receive,
  onPhotographs: crop,
  onFolders: () => showTrouble(explain(new ServiceError("folder"))),
});
byId("clear").addEventListener("click", clear);
byId("open-about").addEventListener("click", () => byId("about").showModal());
byId("open-help").addEventListener("click", () => byId("help").showModal());
for (const dialog of document.querySelectorAll("dialog")) {
  dialog.querySelector("[data-close]")?.addEventListener("click", () => dialog.close());
}
byId("privacy").textContent = service.words.privacy;
byId("open-docs").hidden = !service.words.hasApi;
byId("keeping").hidden = !service.kept;
byId("keep").addEventListener("change", keep);
loadModel().then(restore);
service.received().then(receive);

// ---- images

function open(files, { photographed = false } = {}) {
  if (!files.length) return;
  hideTrouble();
  if (!cases.length) scrollTo(0, 0); // the radiograph takes the place of a longer page
  const added = files.map(([file, name]) => new Case(file, name || "Image", photographed));
  cases = [...cases, ...added];
  select(added[0]);
  for (const item of added) answer(item);
}

// Chosen, dropped, or shared by another app: photographs may be among them.
async function receive(files) {
  const taken = await Promise.all(files.map(([file]) => isPhotograph(file)));
  open(files.filter((_, index) => !taken[index]));
  crop(files.filter((_, index) => taken[index]));
}

// Of a photograph only the radiograph in it is answered; `instead` is its case, where it has been answered as it is.
function crop(files, instead = null) {
  cropping = cropping.then(async () => {
    for (const [file, name] of files) {
      const cropped = await cropper.ask(file);
      if (!cropped) continue;
      if (instead) remove(instead);
      open([[cropped, name]], { photographed: true });
    }
  });
}

async function answer(item) {
  await lanes.run(async () => {
    if (item.cancel.signal.aborted) return; // removed while it waited
    try {
      item.state = "reading";
      draw(item);
      checkSize(item.file);
      const found = await service.predict(item.file, {
        signal: item.cancel.signal,
        onWait: () => { item.state = "busy"; draw(item); },
      });
      if (item.photographed) found.warnings.unshift(PHOTOGRAPHED);
      // Another model may have been put in service meanwhile; its marks belong to its answers only.
      if (found.model.sha256 !== model?.sha256) await loadModel();
      if (item.cancel.signal.aborted) return;
      if (service.kept?.on) item.keptAs = await service.kept.add(item.name, found).catch(cannotKeep);
      await item.adopt(found, model?.sha256 === found.model.sha256 ? model : null);
      if (found.feedback_token) openReview(item, found.feedback_token);
      if (found.warnings.some(({ code }) => code === "synthetic_model")) byId("synthetic").hidden = false;
      announce(`${item.name}: ${found.statement} Probability ${percent(found.probability)}.`);
    } catch (error) {
      if (item.cancel.signal.aborted) return;
      item.fail(error instanceof ServiceError ? error : new ServiceError("unreadable"));
      announce(`${item.name}: ${explain(item.error).title}.`);
    }
    draw(item);
  });
}

function openReview(item, token) {
  const changed = () => {
    item.reading?.draw();
    worklist.draw(cases, selected);
    if (item === selected) viewer.show(item);
  };
  item.review = new Review(item.answer, token, { send: (said) => service.feedback(said), onChange: changed });
  item.reading = new Reading(item, () => viewer.mark());
}

// Sooner than the service could say it, and without sending the file in vain.
function checkSize(file) {
  const most = model?.limits.max_body_bytes;
  if (file.size === 0) throw new ServiceError("empty");
  if (most && file.size > most) {
    throw new ServiceError("body_too_large", `the file has ${megabytes(file.size)}, at most ${megabytes(most)} are accepted`);
  }
}

function select(item) {
  selected = item;
  draw(item);
  // Opened only when looked at: a hundred large files at once would fill the memory.
  item?.openLocally().then(() => draw(item));
}

// Selected by hand: on a phone the list lies far below the radiograph.
function lookAt(item) {
  select(item);
  const { top, bottom } = byId("viewer").getBoundingClientRect();
  if (top < 0 || bottom > innerHeight) byId("viewer").scrollIntoView();
}

function remove(item) {
  if (item.keptAs) service.kept.remove(item.keptAs);
  const order = bySuspicion(cases);
  const next = order[order.indexOf(item) + 1] ?? order[order.indexOf(item) - 1] ?? null;
  cases = cases.filter((other) => other !== item);
  item.dispose();
  if (item === selected) select(next);
  else draw(item);
  if (next) worklist.focus(next);
  else byId("main").focus();
}

function clear() {
  service.kept?.erase();
  for (const item of cases) item.dispose();
  cases = [];
  select(null);
  byId("main").focus();
}

function retry(item) {
  item.retry();
  draw(item);
  answer(item);
}

// ---- answers that are kept on this device

function keep({ target }) {
  if (target.checked) service.kept.turnOn();
  else service.kept.turnOff();
}

// What was kept when the page was last open.
async function restore() {
  byId("keep").checked = service.kept?.on ?? false;
  for (const { id, name, answer: found } of await service.kept?.all() ?? []) {
    const item = new Case(new File([], name), name);
    item.keptAs = id;
    cases.push(item);
    await item.adopt(found, model?.sha256 === found.model.sha256 ? model : null);
    if (selected) draw(item);
    else select(item);
  }
}

function cannotKeep() {
  showTrouble({ title: "The answer is not kept", advice: "There may be no room left on this device." });
}

// ---- drawing

// After a change of `item`: the list always, viewer and result when it is the one looked at.
function draw(item) {
  byId("welcome").hidden = cases.length > 0;
  byId("workspace").hidden = byId("add").hidden = cases.length === 0;
  worklist.draw(cases, selected);
  byId("worklist-order").hidden = cases.length < 2;
  if (item !== selected) return;
  viewer.show(selected, selected && screenMessage(selected));
  drawVerdict(byId("verdict"), selected);
  drawResult(byId("result"), selected, {
    retry: () => retry(item),
    remove: () => remove(item),
    crop: () => crop([[item.file, item.name]], item),
    savePicture: () => savePicture(item),
    saveAnswer: () => save(answerOf(item), `${stem(item.name)}-result.json`),
  });
}

function screenMessage({ state }) {
  return state === "failed"
    ? "This file cannot be shown."
    : "This browser cannot show this file by itself. The picture comes with the answer.";
}

async function savePicture(item) {
  try {
    save(await pictureOf(item, viewer.settings), `${stem(item.name)}-result.png`);
  } catch {
    showTrouble({ title: "The picture cannot be saved", advice: "It may be too large for this browser." });
  }
}

// For screen readers; sighted people see the list change.
function announce(text) {
  const log = byId("announcer");
  log.append(element("p", {}, text));
  while (log.children.length > 20) log.firstChild.remove();
}

function showTrouble({ title, advice }, action = null) {
  const box = byId("trouble");
  box.replaceChildren(
    element("p", {}, element("strong", {}, `${title}.`), " ", advice),
    action ?? button("Close", hideTrouble),
  );
  box.hidden = false;
}

function hideTrouble() {
  byId("trouble").hidden = true;
}

// ---- the model

async function loadModel() {
  try {
    model = await service.model();
  } catch (error) {
    const label = error.code === "unauthorized" ? "Enter a key" : "Try again";
    showTrouble(explain(error), button(label, () => { hideTrouble(); loadModel(); }));
    return;
  }
  const name = byId("open-about");
  name.textContent = `Model ${model.name}, version ${model.version}`;
  name.hidden = false;
  byId("synthetic").hidden = !model.trained_on.synthetic;
  byId("accepted").textContent = `${service.words.formats}, up to ${megabytes(model.limits.max_body_bytes)} and `
    + `${megapixels(model.limits.max_pixels)}`;
  drawAbout(byId("about-body"), model, service.words);
  drawSamples(model.samples);
}

function drawSamples(paths) {
  byId("samples").hidden = paths.length === 0;
  byId("sample-list").replaceChildren(...paths.map((path) => {
    const { title, drawn } = sampleWords(path);
    const picture = element("img", { src: path.replace(/^\//, ""), alt: "", loading: "lazy" });
    const words = element("span", {}, element("strong", {}, title), " ", element("span", { class: "hint" }, drawn));
    const opener = button(picture, () => openSample(path, title), { class: "sample" });
    opener.append(words);
    return element("li", {}, opener);
  }));
}

// /samples/synthetic-4-upper-arm-spiral-fracture.png to "Upper arm", "drawn with a spiral fracture".
function sampleWords(path) {
  const words = stem(path.split("/").pop()).split("-")
    .filter((word) => !["synthetic", "fracture"].includes(word) && !/^\d+$/.test(word));
  const kind = words.length > 1 ? words.pop() : "";
  const title = words.join(" ");
  const article = /^[aeiou]/.test(kind) ? "an" : "a";
  const drawn = { "": "", normal: "drawn intact" }[kind] ?? `drawn with ${article} ${kind} fracture`;
  return { title: title.charAt(0).toUpperCase() + title.slice(1), drawn };
}

async function openSample(path, title) {
  try {
    open([[await service.sample(path), `${title} (synthetic)`]]);
  } catch (error) {
    showTrouble(explain(error));
  }
}

// ---- the API key

// A promise of the key that the person enters, or of null.
function askForKey(refused) {
  const dialog = byId("key");
  const value = byId("key-value");
  byId("key-refused").hidden = !refused;
  value.value = "";
  return new Promise((resolve) => {
    const finish = (given) => {
      if (dialog.open) dialog.close();
      listening.abort();
      resolve(given);
    };
    const listening = new AbortController();
    const { signal } = listening;
    // The page's policy allows no form to be sent anywhere; this one is only read.
    byId("key-form").addEventListener("submit", (event) => {
      event.preventDefault();
      finish(value.value.trim());
    }, { signal });
    byId("key-cancel").addEventListener("click", () => finish(null), { signal });
    dialog.addEventListener("close", () => finish(null), { signal });
    dialog.showModal();
  });
}
