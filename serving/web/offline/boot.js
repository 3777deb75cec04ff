// The first visit: puts the release on this device and then shows the page from there.

const state = document.getElementById("state");
const progress = document.getElementById("progress");
const again = document.getElementById("again");
again.addEventListener("click", () => location.reload());
begin();

async function begin() {
  if (!("serviceWorker" in navigator) || !("DecompressionStream" in window)) {
    fail(isSecureContext
      ? "This browser is too old for it. A current Chrome, Edge, Firefox or Safari is needed."
      : "The address has to begin with https:// for a page to be kept on this device.");
    return;
  }
  navigator.serviceWorker.addEventListener("message", ({ data }) => {
    if (data.kind === "progress") show(data);
    if (data.kind === "failed") fail(`It was not put on this device: ${data.message}.`);
  });
  navigator.serviceWorker.addEventListener("controllerchange", () => location.reload());
  try {
    const registration = await navigator.serviceWorker.register("sw.js", { updateViaCache: "none" });
    // Reloaded past the service worker (with the shift key): it is there already.
    if (registration.active && !navigator.serviceWorker.controller) location.reload();
  } catch (error) {
    fail(`It cannot be put on this device: ${error.message}`);
  }
}

function show({ done, total }) {
  if (!again.hidden) return; // it has failed, and what was under way still comes in
  progress.max = total;
  progress.value = done;
  state.textContent = `${(done / 1e6).toFixed(1)} of ${(total / 1e6).toFixed(1)} MB`;
}

function fail(message) {
  state.textContent = message;
  again.hidden = false;
}
