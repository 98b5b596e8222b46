/** The page: loads the network, takes pictures, shows their maps. */
import { Cloud, points } from "app/cloud.js";
import { PageError } from "app/errors.js";
import { address } from "app/files.js";
import { LIVE } from "app/geometry.js";
import { load, predict } from "app/network.js";
import { keepOffline } from "app/offline.js";
import { Panels, element, titled } from "app/panels.js";
import { fromFile, openWebcam, picture } from "app/sources.js";

const $ = (id) => document.getElementById(id);
const facts = JSON.parse($("facts").textContent);
const wanted = new URLSearchParams(location.search).get("backend");
const KEPT = 15; // runs of which the middle one's time is told
const CALM = 0.9; // of the webcam's colour range that stays from frame to frame

let network, panels, cloud, webcam, shown, loaded;
const times = [];

function fail(error) {
  $("error").textContent = error instanceof PageError ? error.message : `Something went wrong: ${error?.message ?? error}`;
  $("error").hidden = false;
}

/** Run what a person asked for; what goes wrong is said on the page. */
const safely = (work) => async (...given) => {
  $("error").hidden = true;
  try {
    await work(...given);
  } catch (error) {
    fail(error);
  }
};

const state = (word) => document.documentElement.setAttribute("data-state", word);

function progress(words, share) {
  $("doing").textContent = share === null || share === 1 ? titled(words) : `Loading the ${words}: ${Math.round(100 * share)} %`;
  if (share === null) $("progress").removeAttribute("value");
  else $("progress").value = share;
}

async function begin() {
  network = await load({ wanted, single: facts.single, progress });
  const { outputs } = network.manifest;
  panels = new Panels($("maps"), outputs, (words) => ($("told").textContent = words));
  $("about").textContent = `Of every pixel: ${sentence(outputs)}.`;
  describe();
  makeCloud(outputs);
  makeSamples();
  listen();
  $("loading").hidden = true;
  for (const id of ["choose", "status", "maps"]) $(id).hidden = false;
  const first = document.querySelector("#samples img"), kept = keepOffline(facts.single);
  if (first) await safely(showSample)(first);
  $("offline").textContent = await kept;
  loaded = true;
  state("ready");
}

const WORDS = { scalar_map: "how far it is", unit_vector_map: "which way it faces", label_map: "what it is" };

function sentence(outputs) {
  const said = outputs.map(({ kind, name }) => WORDS[kind] ?? `its ${name}`);
  return said.length < 2 ? said.join() : `${said.slice(0, -1).join(", ")} and ${said.at(-1)}`;
}

/** What the file says about itself. */
function describe() {
  const { manifest: m, bytes, about, reason } = network, metrics = m.metrics ?? {};
  const figure = ([name, value]) => `${name} ${Number(value).toPrecision(3)}`;
  const rows = {
    Computes: about + (reason ? ` (${reason})` : ""),
    Outputs: m.outputs.map(({ name, unit }) => (unit ? `${name} (${unit})` : name)).join(", "),
    Classes: m.outputs.filter(({ classes }) => classes?.length).map(({ classes }) => classes.join(", ")).join("; "),
    Takes: m.dynamic_size ? `any shape, about ${m.width} x ${m.height}` : `${m.width} x ${m.height}, others are fitted into it`,
    File: `${(bytes / 1e6).toFixed(1)} MB, ${m.precision || "float32"}`,
    Measured: Object.entries(metrics).filter(([name, value]) => MEASURED.test(name) && Number.isFinite(value)).map(figure).join(", "),
    Made: Object.entries(m.versions ?? {}).map(([name, version]) => `${name} ${version}`).join(", "),
  };
  for (const [name, text] of Object.entries(rows)) {
    if (text) $("facts-shown").append(element("dt", {}, name), element("dd", {}, text));
  }
}

const MEASURED = /^(depth\.(rmse|abs_rel)|normals\.mean|segmentation\.miou)$/;

function makeCloud(outputs) {
  if (!outputs.some(isLength)) return;
  try {
    cloud = new Cloud($("cloud"));
  } catch (error) {
    $("note").textContent = `No point cloud: ${error.message}.`;
  }
  $("space").hidden = false;
  for (const name of ["photo", ...outputs.map((output) => output.name)]) {
    element("option", { value: name, parent: $("colours") }, titled(name));
  }
}

const isLength = ({ kind, unit }) => kind === "scalar_map" && unit === "m";

function makeSamples() {
  for (const [name, words] of facts.samples) {
    const image = element("img", { src: address(name), alt: words, width: 96, height: 72 });
    const button = element("button", { type: "button", className: "sample", parent: $("samples") }, image);
    button.addEventListener("click", safely(() => showSample(image)));
  }
}

async function showSample(image) {
  stopWebcam();
  await image.decode();
  await show(picture(image, image.alt, network.manifest.fill));
}

async function showFile(file) {
  stopWebcam();
  await show(await fromFile(file, network.manifest.fill));
}

async function show(image, { live = false, limits } = {}) {
  state("busy");
  try {
    const result = await predict(network, image, live ? LIVE : undefined);
    panels.show(image, result, limits?.(result));
    shown = { image, result };
    tell(result.ms, live);
    showCloud(result);
    globalThis.mtl = { network, ...shown }; // to look at from the console
  } finally {
    if (loaded) state("ready");
  }
}

function tell(ms, live) {
  times.push(ms);
  if (times.length > KEPT) times.shift();
  const middle = [...times].sort((a, b) => a - b)[times.length >> 1];
  const rest = network.reason ? ` (${network.reason})` : "";
  $("status").replaceChildren(
    element("b", {}, `${middle < 10 ? middle.toFixed(1) : Math.round(middle)} ms`),
    ` a picture${live ? ", live" : ""} · ${network.about}${rest}`,
  );
}

function showCloud({ maps, size, box, camera }) {
  const depth = Object.values(maps).find(({ output }) => isLength(output));
  if (!cloud || !depth) return;
  cloud.show(points(depth.values, size, camera), camera, size);
  cloud.colour(panels.pixels($("colours").value));
  $("note").textContent = camera.known ? "" : "The model does not say its camera: 60 degrees across are assumed.";
}

async function toggleWebcam() {
  if (webcam) return stopWebcam();
  const opened = (webcam = await openWebcam());
  $("webcam").setAttribute("aria-pressed", "true");
  $("webcam").textContent = "Stop the webcam";
  times.length = 0;
  const spans = {};
  try {
    while (webcam === opened) {
      const image = picture(opened.video, "webcam", network.manifest.fill);
      await show(image, { live: true, limits: ({ maps }) => steadied(spans, maps) });
      await new Promise(requestAnimationFrame);
    }
  } finally {
    if (webcam === opened) stopWebcam();
  }
}

/** The colours' ranges of a sequence of frames, which change slowly. */
function steadied(spans, maps) {
  for (const [name, { kind, raw }] of Object.entries(maps)) {
    const span = kind.limits(raw);
    spans[name] = spans[name] && span ? span.map((end, i) => CALM * spans[name][i] + (1 - CALM) * end) : span;
  }
  return spans;
}

function stopWebcam() {
  webcam?.stop();
  webcam = null;
  times.length = 0;
  $("webcam").setAttribute("aria-pressed", "false");
  $("webcam").textContent = "Use the webcam";
}

function listen() {
  const take = safely(async (files) => {
    const [file] = files;
    if (!file) throw new PageError("There is no file in what was dropped: drop a picture from a disk.");
    await showFile(file);
  });
  $("file").addEventListener("change", ({ target }) => {
    if (target.files.length) take([...target.files]);
    target.value = "";
  });
  $("webcam").addEventListener("click", safely(toggleWebcam));
  $("reset").addEventListener("click", () => cloud?.reset());
  $("colours").addEventListener("change", () => shown && showCloud(shown.result));
  addEventListener("dragover", (event) => {
    event.preventDefault();
    $("drop").hidden = false;
  });
  addEventListener("dragleave", ({ relatedTarget }) => ($("drop").hidden = !relatedTarget));
  addEventListener("drop", (event) => {
    event.preventDefault();
    $("drop").hidden = true;
    take(event.dataTransfer.files);
  });
  addEventListener("paste", ({ clipboardData }) => clipboardData.files.length && take(clipboardData.files));
}

state("loading");
if (location.protocol !== "file:" || facts.single) {
  begin().catch((error) => {
    $("loading").hidden = true;
    state("failed");
    fail(error);
  });
}
