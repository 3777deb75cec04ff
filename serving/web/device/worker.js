// Answers images beside the page: gets { id, content }, gives { id, answer } or { id, error }.
//
// Not a module, since LiteRT.js brings its runtime in with importScripts, which modules lack.

const ready = import("./answering.js").then(({ open }) => open(new URL(self.location).searchParams));

self.addEventListener("message", async ({ data: { id, content } }) => {
  try {
    const answering = await ready;
    self.postMessage({ id, answer: await answering.answer(new Uint8Array(content)) });
  } catch (error) {
    const code = typeof error.code === "string" ? error.code : "internal";
    self.postMessage({ id, error: { code, message: error.message } });
  }
});
