// Answers images beside the page: gets { id, content }, gives { id, answer } or { id, error, broken }. `broken` tells that
// the next image needs a new worker: what could not be loaded here, or broke, is not tried again.
//
// Not a module, since LiteRT.js brings its runtime in with importScripts, which modules lack.

const INTERNAL = "internal";
const PAUSE = 1000; // milliseconds

const parameters = new URL(self.location).searchParams;
const ready = import("./answering.js").then(({ open }) => open(parameters));
let asked = parameters.get("early") !== "true";
// Not where an image comes with the page, as one that is shared: it would wait. Where it fails, each image that asks is told.
ready.then((answering) => setTimeout(() => asked || answering.warm().catch(() => {}), PAUSE)).catch(() => {});

self.addEventListener("message", async ({ data: { id, content } }) => {
  asked = true;
  let answering = null;
  try {
    answering = await ready;
    self.postMessage({ id, answer: await answering.answer(new Uint8Array(content)) });
  } catch (error) {
    const code = typeof error.code === "string" ? error.code : INTERNAL;
    self.postMessage({ id, error: { code, message: error.message }, broken: answering === null || code === INTERNAL });
  }
});
