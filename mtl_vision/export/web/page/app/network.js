/** The network: loaded once, run in a worker, by WebGPU where the browser has it and by WebAssembly otherwise. */
import { PageError, orSay } from "app/errors.js";
import { address, read } from "app/files.js";
import { cameraOf, prepare, shownSize } from "app/geometry.js";
import { KINDS } from "app/kinds.js";
import { checkIntact, readManifest } from "app/manifest.js";

const MODEL = "model.onnx", MOST_THREADS = 4;
const FILES = {
  wasm: ["ort/ort.wasm.bundle.min.js", "ort/ort-wasm-simd-threaded.wasm.gz"],
  webgpu: ["ort/ort.webgpu.bundle.min.js", "ort/ort-wasm-simd-threaded.asyncify.wasm.gz"],
};

/** Load model and runtime. progress(words, share). wanted: "wasm", "webgpu", or neither: the best there is. */
export async function load({ wanted, single, progress }) {
  if (typeof WebAssembly !== "object") {
    throw new PageError("This browser has no WebAssembly, or it is switched off, and the network needs it. Use another one.");
  }
  const model = await read(MODEL, (share) => progress("model", share));
  const manifest = readManifest(model);
  await checkIntact(model);
  const [webgpu, reason] = await hasWebgpu(manifest, wanted, single);
  const [runtime, binary] = FILES[webgpu ? "webgpu" : "wasm"];
  const wasm = await read(binary, (share) => progress("onnxruntime", share));
  progress("starting the network", null);
  const worker = begin(), size = [manifest.height, manifest.width];
  const threads = globalThis.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency || 1, MOST_THREADS) : 1;
  const blank = { pixels: new Uint8Array(size[0] * size[1] * 3), size };
  const value = { runtime: new URL(address(runtime), document.baseURI).href, wasm, model, webgpu, threads, blank };
  const { provider, fault } = await orSay("The network cannot be run in this browser.", () => worker("start", value));
  const about = provider === "webgpu" ? "WebGPU" : `WebAssembly, ${threads > 1 ? `${threads} threads` : "one thread"}`;
  return { manifest, worker, bytes: model.length, provider, about, reason: fault ? `WebGPU did not work: ${fault}` : reason };
}

/** Whether to use WebGPU, and if not, why. */
async function hasWebgpu(manifest, wanted, single) {
  if (wanted === "wasm") return [false, "WebGPU is switched off"];
  if (single) return [false, "the single file leaves WebGPU out, to stay small"];
  if (!navigator.gpu) return [false, "this browser has no WebGPU"];
  const adapter = await navigator.gpu.requestAdapter().catch(() => null);
  if (!adapter) return [false, "WebGPU finds no graphics processor"];
  if (wanted === "webgpu") return [true, ""];
  if (adapter.info?.isFallbackAdapter) return [false, "WebGPU has no graphics processor here, only software"];
  if (manifest.precision === "float16" && !adapter.features.has("shader-f16")) {
    return [false, "the graphics processor does not compute in 16 bits, which this model does"];
  }
  return [true, ""];
}

/** worker(verb, value) -> a promise of what it gives. */
function begin() {
  const worker = new Worker(import.meta.resolve("app/worker.js"), { type: "module" }), waiting = new Map();
  let count = 0;
  worker.onmessage = ({ data: { id, found, fault } }) => {
    const [resolve, reject] = waiting.get(id);
    waiting.delete(id);
    if (found) resolve(found);
    else reject(new Error(fault));
  };
  worker.onerror = (event) => {
    event.preventDefault();
    for (const [, reject] of waiting.values()) reject(new Error(event.message || "its worker does not start"));
    waiting.clear();
  };
  return (verb, value) =>
    new Promise((resolve, reject) => {
      waiting.set(++count, [resolve, reject]);
      worker.postMessage({ id: count, verb, value });
    });
}

/** The maps of an image {size, pixels}, at the size at which they are shown, and what goes with them. */
export async function predict({ manifest, worker }, image, longest) {
  const canvas = prepare(image, manifest), shown = shownSize(image.size, canvas.box, longest);
  const { maps: found, ms } = await orSay("The network failed on this picture.", () =>
    worker("run", { pixels: canvas.pixels, size: canvas.size }),
  );
  const [, , ...box] = canvas.box, maps = {};
  for (const output of manifest.outputs) {
    const kind = KINDS[output.kind];
    if (!found[output.name]) throw new PageError(`The network gives no '${output.name}', which its manifest names.`);
    const whole = kind.fromGraph(found[output.name], output, canvas.size);
    const raw = cropped(whole, canvas.size, canvas.box);
    maps[output.name] = { output, kind, raw, values: kind.grow(raw, box, shown) };
  }
  return { maps, ms, size: shown, box, camera: cameraOf(manifest, canvas.size, canvas.box, shown) };
}

/** The box's part of a map. */
function cropped(map, [height, width], [top, left, h, w]) {
  if (h === height && w === width) return map;
  const channels = map.length / (height * width), out = new map.constructor(h * w * channels);
  for (let y = 0; y < h; y++) {
    const start = ((top + y) * width + left) * channels;
    out.set(map.subarray(start, start + w * channels), y * w * channels);
  }
  return out;
}
