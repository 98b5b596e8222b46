/** Sizes, boxes and cameras, as mtl_vision/runtime/predictor.py and lens.py have them. Sizes are [height, width]. */
import { resizePixels, round } from "app/resize.js";

const LONGEST = 640; // pixels of the longer side of what is shown, at most; more only where the network gives more
export const LIVE = 320; // the same for a webcam's frames, for the sake of speed

const clamp = (x, low, high) => Math.min(Math.max(x, low), high);

/** The size at which the network takes an image. */
export function inputSize(manifest, [h, w]) {
  const { height, width, stride } = manifest;
  if (!manifest.dynamic_size) return [height, width];
  const scale = Math.sqrt((height * width) / (h * w));
  const most = Math.max(1, Math.floor((height * width) / stride ** 2));
  return [h, w].map((side) => stride * Math.min(Math.max(1, round((side * scale) / stride)), most));
}

/** The image's box in a canvas: [top, left, height, width]. */
export function boxOf([h, w], [height, width]) {
  const scale = Math.min(height / h, width / w);
  if (height - h * scale <= 1 && width - w * scale <= 1) return [0, 0, height, width];
  const [bh, bw] = [h, w].map((side) => Math.max(1, round(side * scale)));
  return [(height - bh) >> 1, (width - bw) >> 1, bh, bw];
}

/** What the network takes of an image {size, pixels: RGB of 3 bytes}: {size, box, pixels}. */
export function prepare(image, manifest) {
  const size = inputSize(manifest, image.size), box = boxOf(image.size, size);
  const [top, left, h, w] = box, inner = resizePixels(image.pixels, image.size, [h, w]);
  if (h === size[0] && w === size[1]) return { size, box, pixels: inner };
  const pixels = new Uint8Array(size[0] * size[1] * 3).map((_, i) => manifest.fill[i % 3]);
  for (let y = 0; y < h; y++) {
    pixels.set(inner.subarray(y * w * 3, (y + 1) * w * 3), ((top + y) * size[1] + left) * 3);
  }
  return { size, box, pixels };
}

/** The size at which maps are shown: the image's shape, no smaller than the network's box. */
export function shownSize(size, [, , bh, bw], longest = LONGEST) {
  const longer = Math.max(...size), least = Math.max(bh, bw);
  const scale = clamp(longer, least, Math.max(longest, least)) / longer;
  return size.map((side, i) => Math.max(round(side * scale), [bh, bw][i]));
}

/** The training camera at the shown size: {fx, fy, cx, cy}, `known` where the manifest has it. */
export function cameraOf(manifest, canvas, [top, left, bh, bw], shown) {
  const [height, width] = [manifest.height, manifest.width], focal = width / 2 / Math.tan((30 * Math.PI) / 180);
  const [fx, fy, cx, cy] = manifest.intrinsics ?? [focal, focal, (width - 1) / 2, (height - 1) / 2];
  const perX = shown[1] / bw, perY = shown[0] / bh;
  const x = cx + (canvas[1] - width) / 2 - left, y = cy + (canvas[0] - height) / 2 - top;
  const at = { fx: fx * perX, fy: fy * perY, cx: (x + 0.5) * perX - 0.5, cy: (y + 0.5) * perY - 0.5 };
  return { ...at, known: Boolean(manifest.intrinsics) };
}
