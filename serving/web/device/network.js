// The bundle's network in LiteRT.js: serving/network.py. Runs in a worker, whose page stays quick meanwhile.

const INPUT = "pixels";

/**
 * A function from prepared pixels to { scores, map, embedding }. `runtime` is the folder of LiteRT.js, `content` the
 * network's file.
 */
export async function loadNetwork(runtime, content) {
  const { loadLiteRt, loadAndCompile, Tensor } = await import(`${runtime}/index.js`);
  self.Module = { locateFile: (name) => `${runtime}/${name}` }; // else it would look beside the worker
  await loadLiteRt(`${runtime}/`, { threads: false });
  const model = await loadAndCompile(content, { accelerator: "wasm" });
  return async ({ width, height, data }) => {
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
  };
}
