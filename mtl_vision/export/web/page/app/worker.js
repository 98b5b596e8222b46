/** Runs the network beside the page, which stays quick meanwhile. It imports nothing but onnxruntime, by its address. */

let session, ort;

async function start({ runtime, wasm, model, webgpu, threads, blank }) {
  ort = await import(runtime);
  ort.env.wasm.wasmBinary = wasm;
  ort.env.wasm.numThreads = threads;
  ort.env.logLevel = "error";
  const fault = webgpu && (await open(model, "webgpu", blank).then(() => "", (error) => String(error?.message ?? error)));
  const provider = webgpu && !fault ? "webgpu" : "wasm";
  if (provider === "wasm") await open(model, "wasm", blank);
  return { provider, fault: fault || "" };
}

/** A session that has run once: the first run is the slow one, and shows what does not work. */
async function open(model, provider, blank) {
  session = await ort.InferenceSession.create(model, { executionProviders: [provider], logSeverityLevel: 3 });
  await run(blank);
}

async function run({ pixels, size }) {
  const image = new ort.Tensor("uint8", pixels, [1, ...size, 3]);
  const begin = performance.now();
  const found = await session.run({ image });
  const maps = {};
  for (const [name, tensor] of Object.entries(found)) {
    maps[name] = { data: (await tensor.getData()).slice(), dims: [...tensor.dims] };
    tensor.dispose();
  }
  return { maps, ms: performance.now() - begin };
}

const verbs = { start, run };

self.onmessage = async ({ data: { id, verb, value } }) => {
  try {
    const found = await verbs[verb](value);
    self.postMessage({ id, found }, Object.values(found.maps ?? {}).map((map) => map.data.buffer));
  } catch (error) {
    self.postMessage({ id, fault: String(error?.message ?? error) });
  }
};
