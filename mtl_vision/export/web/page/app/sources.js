/** Where pictures come from: files, the clipboard, samples, the webcam. Each becomes {size, pixels, bitmap, name}. */
import { PageError } from "app/errors.js";

const MOST = 16e6, LONGEST = 16384; // pixels that a canvas has everywhere, and those of a side
const UNTOUCHED = { colorSpaceConversion: "none", premultiplyAlpha: "none", imageOrientation: "from-image" };

/** A file or a blob as a picture; transparency is laid over `fill`. */
export async function fromFile(file, fill) {
  const bitmap = await createImageBitmap(file, UNTOUCHED).catch(() => {
    const name = file.name ? `'${file.name}'` : "This";
    throw new PageError(`${name} is not a picture that this browser can read: expected a JPEG, PNG, WebP or the like.`);
  });
  return picture(bitmap, file.name || "picture", fill);
}

/** What can be drawn (an image that has loaded, a frame) as a picture. */
export function picture(source, name, fill) {
  const height = source.naturalHeight || source.videoHeight || source.height;
  const width = source.naturalWidth || source.videoWidth || source.width, full = [height, width];
  const scale = Math.min(1, Math.sqrt(MOST / (height * width)), LONGEST / Math.max(height, width));
  const size = full.map((side) => Math.max(1, Math.round(side * scale)));
  const canvas = document.createElement("canvas");
  [canvas.height, canvas.width] = size;
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.fillStyle = `rgb(${fill})`;
  pen.fillRect(0, 0, size[1], size[0]);
  pen.imageSmoothingQuality = "high";
  pen.drawImage(source, 0, 0, size[1], size[0]);
  const rgba = pen.getImageData(0, 0, size[1], size[0]).data, pixels = new Uint8Array(size[0] * size[1] * 3);
  for (let from = 0, to = 0; from < rgba.length; from += 4) {
    pixels[to++] = rgba[from];
    pixels[to++] = rgba[from + 1];
    pixels[to++] = rgba[from + 2];
  }
  source.close?.();
  return { size, full, pixels, bitmap: canvas, name };
}

const REFUSED = {
  NotAllowedError: "The browser was not allowed to use the webcam. Allow it (beside the page's address) and try again.",
  NotFoundError: "No webcam was found.",
  NotReadableError: "The webcam is in use by another program, or does not answer.",
};

/** The webcam as a playing video element. */
export async function openWebcam() {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new PageError("The browser gives the webcam only to pages from https, from this computer (localhost) or from a file.");
  }
  const wish = { video: { facingMode: "environment", width: { ideal: 640 }, height: { ideal: 480 } }, audio: false };
  const stream = await navigator.mediaDevices.getUserMedia(wish).catch((error) => {
    throw new PageError(REFUSED[error.name] ?? `The webcam does not start (${error.message || error.name}).`);
  });
  const video = document.createElement("video");
  Object.assign(video, { srcObject: stream, muted: true, playsInline: true });
  await video.play();
  return { video, stop: () => stream.getTracks().forEach((track) => track.stop()) };
}
