// The release that lies on this device: which one, since when, and whether a newer one is ready.

import { service } from "../app.js";
import { button, byId, element } from "../dom.js";

const HERE = new URL("../../", import.meta.url);

const release = await (await fetch(new URL("release.json", HERE))).json();
const box = byId("device");
box.textContent = `Answers on this device, without a network. Model of ${new Date(release.packaged_at).toLocaleDateString(undefined, { dateStyle: "medium" })}.`;
box.hidden = false;

if (navigator.serviceWorker) {
  const registration = await navigator.serviceWorker.getRegistration();
  navigator.serviceWorker.addEventListener("controllerchange", () => location.reload());
  if (registration?.waiting) offer(registration);
  registration?.active?.postMessage({ kind: "complete" });
  navigator.serviceWorker.addEventListener("message", ({ data }) => {
    // Not before: the runtime with threads comes last.
    if (data.kind === "completed") {
      service.warm();
      navigator.storage?.persist?.(); // or a browser that runs out of room throws away what answers without a network
    }
    if (data.kind === "failed") box.textContent = `A newer release was not taken (${data.message}). This one goes on.`;
  });
  registration?.addEventListener("updatefound", () => {
    const worker = registration.installing;
    worker.addEventListener("statechange", () => { if (worker.state === "installed") offer(registration); });
  });
}

function offer(registration) {
  const use = () => registration.waiting?.postMessage({ kind: "activate" });
  box.replaceChildren(
    element("span", {}, "A newer release is on this device. It closes the images that are open. "),
    button("Use it now", use),
  );
}
