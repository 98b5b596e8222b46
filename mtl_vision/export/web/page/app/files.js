/** The page's own files: beside it, or, where it is a single file, inside it. Each is read once. */
import { PageError } from "app/errors.js";
import { keep } from "app/offline.js";

const GZIP = [0x1f, 0x8b];
const inside = (name) => document.getElementById(`file:${name}`);

/** The address of a small file, for images and modules. */
export const address = (name) => (inside(name) ? `data:${inside(name).type};base64,${inside(name).text}` : name);

/** The bytes of a file, unpacked; progress(share) is told how far it is. share: null where it is not known. */
export async function read(name, progress) {
  const packed = inside(name) ? await decoded(name) : await fetched(name, progress);
  progress(1);
  if (!GZIP.every((byte, i) => packed[i] === byte)) return packed;
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  try {
    return new Uint8Array(await new Response(stream).arrayBuffer());
  } catch {
    throw new PageError(`The file '${name}' is damaged: it cannot be unpacked. Load the page again.`);
  }
}

async function decoded(name) {
  const element = inside(name), answer = await fetch(address(name));
  element.remove(); // its text takes more memory than its bytes
  return new Uint8Array(await answer.arrayBuffer());
}

async function fetched(name, progress) {
  let answer;
  try {
    answer = await fetch(name);
  } catch {
    throw new PageError(`The file '${name}' could not be loaded: the server does not answer. Load the page again.`);
  }
  if (!answer.ok) {
    throw new PageError(`The file '${name}' could not be loaded: the server says ${answer.status}. Is the folder whole?`);
  }
  const total = Number(answer.headers.get("Content-Length")), chunks = [];
  let size = 0;
  for (const reader = answer.body.getReader(); ; ) {
    const { done, value } = await reader.read().catch(() => {
      throw new PageError(`The file '${name}' stopped coming after ${size} bytes. Load the page again.`);
    });
    if (done) break;
    chunks.push(value);
    size += value.length;
    progress(total ? Math.min(size / total, 1) : null, size);
  }
  const bytes = new Uint8Array(size);
  for (let at = 0; chunks.length; at += chunks.shift().length) bytes.set(chunks[0], at);
  await keep(name, bytes);
  return bytes;
}
