// The bundle's network in LiteRT.js: serving/network.py. Runs in a worker, whose page stays quick meanwhile.

const INPUT = "pixels";
const THREADED = "litert_wasm_threaded_internal";
const MOST_THREADS = 4;

/**
 * Loads LiteRT.js of the folder `runtime`; gives a promise of a function that compiles a network's file. `run` is one of
 * RUNS; without it there are threads where the browser allows them and their runtime is on this device.
 */
export async function loadRuntime(runtime, run) {
  const { loadLiteRt, loadAndCompile, Tensor } = await import(`${runtime}/index.js`);
  const { path, threads, accelerator } = RUNS[run || (await canHaveThreads(runtime) ? "threads" : "single")];
  // Else it would look beside the worker.
  self.Module = { locateFile: (name) => `${runtime}/${name}`, mainScriptUrlOrBlob: `${runtime}/${THREADED}.js` };
  await loadLiteRt(`${runtime}/${path}`, { threads });
  const numThreads = threads ? Math.min(MOST_THREADS, navigator.hardwareConcurrency) : 1;
  return async (content) => {
    const model = await loadAndCompile(content, { accelerator, cpuOptions: { numThreads } });
    return (pixels) => runNetwork(model, Tensor, pixels);
  };
}

// What the network makes of prepared pixels: { scores, map, embedding }.
async function runNetwork(model, Tensor, { width, height, data }) {
  const input = new Tensor(data, [1, height, width, 1]);
  const found = await model.run({ [INPUT]: input });
  const outputs = {};
  for (const [name, tensor] of Object.entries(found)) {
    const onHost = await tensor.moveTo("wasm");
    outputs[name] = { shape: onHost.type.layout.dimensions, data: Float32Array.from(onHost.toTypedArray()) };
    onHost.delete();
  }
  input.delete();
  const [, rows, columns] = outputs.map.shape;
  return {
    scores: outputs.scores.data,
    embedding: outputs.embedding?.data,
    map: { width: columns, height: rows, data: outputs.map.data },
  };
}

const RUNS = {
  single: { path: "", threads: false, accelerator: "wasm" },
  threads: { path: "", threads: true, accelerator: "wasm" },
  compat: { path: "litert_wasm_compat_internal.js", threads: false, accelerator: "wasm" },
  webgpu: { path: "", threads: false, accelerator: "webgpu" },
};

// Whether their runtime is here, too: the first answers do not wait for it.
async function canHaveThreads(runtime) {
  if (!self.crossOriginIsolated || navigator.hardwareConcurrency < 2) return false;
  const kept = await fetch(`${runtime}/${THREADED}.wasm`, { cache: "only-if-cached", mode: "same-origin" }).catch(() => null);
  await kept?.body?.cancel();
  return kept?.ok === true;
}
