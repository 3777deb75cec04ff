// Answers images beside the page: gets { id, content }, gives { id, answer } or { id, error, broken }. `broken` tells that
// the next image needs a new worker: what could not be loaded here, or broke, is not tried again.
//
// Not a module, since LiteRT.js brings its runtime in with importScripts, which modules lack.

const INTERNAL = "internal";

const ready = import("./answering.js").then(({ open }) => open(new URL(self.location).searchParams));
ready.catch(() => {}); // each image that asks is told

self.addEventListener("message", async ({ data: { id, content } }) => {
  let answering = null;
  try {
    answering = await ready;
    self.postMessage({ id, answer: await answering.answer(new Uint8Array(content)) });
  } catch (error) {
    const code = typeof error.code === "string" ? error.code : INTERNAL;
    self.postMessage({ id, error: { code, message: error.message }, broken: answering === null || code === INTERNAL });
  }
});
