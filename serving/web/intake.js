// The ways an image comes in: dropped, pasted, chosen, photographed.

import { byId } from "./dom.js";

// `onFiles(files)` gets [file, name] pairs, `onPhotographs(files)` those that the camera took just now; `onFolders()` is
// told when folders were dropped, which are not opened.
export function listenForImages({ onFiles, onPhotographs, onFolders }) {
  const chooser = byId("choose-files");
  const camera = byId("photograph");
  // Phones offer camera and gallery only when images are asked for. Elsewhere no kind is named: DICOM files often
  // have no ending, and a file dialogue would hide them.
  if (matchMedia("(hover: none) and (pointer: coarse)").matches) chooser.accept = "image/*,.dcm,application/dicom";

  for (const opener of document.querySelectorAll("[data-intake]")) {
    opener.addEventListener("click", () => (opener.dataset.intake === "choose" ? chooser : camera).click());
  }
  chooser.addEventListener("change", () => {
    onFiles([...chooser.files].map((file) => [file, file.name]));
    chooser.value = ""; // so that the same file can be chosen again
  });
  camera.addEventListener("change", () => {
    onPhotographs([...camera.files].map((file) => [file, `Photograph ${clock()}`]));
    camera.value = "";
  });
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length) return; // text pasted into a field
    event.preventDefault();
    // The clipboard calls every picture image.png.
    onFiles(files.map((file) => [file, file.name === "image.png" ? `Pasted image ${clock()}` : file.name]));
  });
  listenForDrops(onFiles, onFolders);
}

function listenForDrops(onFiles, onFolders) {
  const veil = byId("drop-veil");
  const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");
  // dragover comes all the time while something hovers; when it stops, the thing has left the window.
  let hiding = 0;
  document.addEventListener("dragover", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
    veil.hidden = false;
    clearTimeout(hiding);
    hiding = setTimeout(() => { veil.hidden = true; }, 300);
  });
  document.addEventListener("drop", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    veil.hidden = true;
    const items = [...event.dataTransfer.items].filter(({ kind }) => kind === "file");
    const isFolder = (item) => item.webkitGetAsEntry?.()?.isDirectory ?? false;
    if (items.some(isFolder)) onFolders();
    const files = items.filter((item) => !isFolder(item)).map((item) => item.getAsFile()).filter(Boolean);
    onFiles(files.map((file) => [file, file.name]));
  });
}

function clock() {
  return new Date().toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
}
