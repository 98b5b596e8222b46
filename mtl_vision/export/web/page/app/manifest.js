/** What an exported file says about itself (mtl_vision/runtime/contract.py), read and checked. */
import { PageError } from "app/errors.js";
import { KINDS } from "app/kinds.js";
import { metadata } from "app/protobuf.js";

const KEY = "mtl_vision", READABLE = [1, 2, 3];
const AGAIN = "Load the page again; if that does not help, the model must be exported again.";
const START = new TextEncoder().encode('"checksum": "'), ZEROS = new Uint8Array(64).fill(48);

/** The manifest of a model's bytes. Throws PageError for files that this page does not run. */
export function readManifest(bytes) {
  let text;
  try {
    text = metadata(bytes)[KEY];
  } catch (error) {
    throw new PageError(`The model file is damaged or no ONNX file: ${error.message}. ${AGAIN}`);
  }
  if (text === undefined) {
    throw new PageError("The model file says nothing about itself: it was not made by mtl-export. Export it with that.");
  }
  let found;
  try {
    found = JSON.parse(text);
  } catch {
    throw new PageError(`What the model file says about itself cannot be read. ${AGAIN}`);
  }
  const wrong = fault(found);
  if (wrong) throw new PageError(`This page does not run this model: ${wrong}. ${AGAIN}`);
  return { stride: 32, dynamic_size: false, fill: [124, 116, 104], metrics: {}, versions: {}, ...found };
}

/** Why a manifest is none that this page runs; nothing where it is one. */
function fault({ format_version: version, height, width, resize = "letterbox", form = "full", outputs }) {
  if (!READABLE.includes(version)) return `its format version is ${version}, expected ${READABLE.join(", ")}`;
  if (!(height >= 1 && width >= 1)) return `its size is ${height} x ${width}`;
  if (resize !== "letterbox") return `its resize rule is '${resize}', expected letterbox`;
  if (form !== "full") return `its form is '${form}', expected full`;
  if (!Array.isArray(outputs) || !outputs.length) return "it names no outputs";
  const unknown = outputs.find((output) => !(output?.kind in KINDS));
  return unknown && `its output '${unknown?.name}' is of the unknown kind '${unknown?.kind}'`;
}

/** Throw PageError where the model's bytes are not those that its checksum was taken of; pages over http cannot tell. */
export async function checkIntact(bytes) {
  const start = lastIndexOf(bytes, START) + START.length;
  if (start < START.length || !globalThis.crypto?.subtle) return;
  const blank = bytes.slice();
  blank.set(ZEROS, start);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", blank));
  const hex = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (hex !== new TextDecoder().decode(bytes.subarray(start, start + ZEROS.length))) {
    throw new PageError(`The model file is damaged: its checksum is not that of its bytes. ${AGAIN}`);
  }
}

function lastIndexOf(bytes, part) {
  for (let at = bytes.length - part.length; at >= 0; at--) {
    if (bytes[at] === part[0] && part.every((byte, i) => bytes[at + i] === byte)) return at;
  }
  return -1;
}
