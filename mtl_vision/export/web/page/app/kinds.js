/** The kinds of map, as mtl_vision/runtime/kinds has them: how each comes, grows, is coloured, and put in words. */
import { PageError } from "app/errors.js";
import { INFERNO } from "app/inferno.js";
import { grow, growIds } from "app/resize.js";

const NONE = [150, 150, 150]; // the colour of no value
const IGNORE = 255, GOLDEN = 0.618034;
const SPECKS = 0.002; // the share of a map up to which a class is not in its key
// As one sees them in the camera frame: x right, y down, z forward
const DIRECTIONS = { "faces us": [0, 0, -1], left: [-1, 0, 0], right: [1, 0, 0], up: [0, -1, 0], down: [0, 1, 0] };

function numbers({ data, dims }, output, [height, width], tail = []) {
  const found = dims.slice(1), expected = [height, width, ...tail];
  if (!(data instanceof Float32Array) || found.join() !== expected.join()) throw wrong(output, `of the form ${dims}`);
  if (!data.every(Number.isFinite)) throw wrong(output, "not a number at some pixels");
  return data;
}

const wrong = (output, what) => new PageError(`The network's output '${output.name}' is ${what}: this page cannot show it.`);

/** A map of numbers at the shown size; pixels that carry none never mix with others. */
function growNumbers(values, channels, from, to, valid, invalid = 0) {
  const pixels = values.length / channels, mask = Float32Array.from({ length: pixels }, (_, i) => +valid(values, i));
  if (mask.every(Boolean)) return grow(values, channels, from, to);
  const share = grow(mask, 1, from, to);
  const whole = grow(values.map((value, i) => (mask[Math.floor(i / channels)] ? value : 0)), channels, from, to);
  return whole.map((value, i) => {
    const part = share[Math.floor(i / channels)];
    return part >= 0.5 ? value / part : invalid;
  });
}

/** The value below which a share of the sorted numbers lies, as numpy's percentile. */
function percentile(sorted, share) {
  const at = share * (sorted.length - 1), low = Math.floor(at), high = Math.min(low + 1, sorted.length - 1);
  return sorted[low] + (at - low) * (sorted[high] - sorted[low]);
}

function coloured(count, colour) {
  const rgba = new Uint8ClampedArray(count * 4);
  for (let i = 0, at = 0; i < count; i++) {
    const [r, g, b] = colour(i);
    rgba[at++] = r;
    rgba[at++] = g;
    rgba[at++] = b;
    rgba[at++] = 255;
  }
  return rgba;
}

const brightness = Array.from({ length: 256 }, (_, i) => INFERNO.subarray(i * 3, i * 3 + 3));

const scalar = {
  fromGraph: (tensor, output, size) => numbers(tensor, output, size),
  grow: (map, from, to) => growNumbers(map, 1, from, to, (values, i) => values[i] > 0),
  limits(map) {
    const valid = map.filter((value) => value > 0).sort();
    return valid.length ? [percentile(valid, 0.01), percentile(valid, 0.99)] : [0, 1];
  },
  colour(map, output, [low, high]) {
    const scale = 1 / Math.max(high - low, 1e-6);
    return coloured(map.length, (i) => {
      if (!(map[i] > 0)) return NONE;
      return brightness[Math.floor(255 * (1 - Math.min(Math.max((map[i] - low) * scale, 0), 1)))];
    });
  },
  key: (map, output, limits) => ({ ramp: [...brightness].reverse(), ends: limits.map((value) => amount(value, output)) }),
  say: (map, i, output) => (map[i] > 0 ? amount(map[i], output) : "none"),
};

const amount = (value, { unit = "" }) => `${value.toFixed(2)} ${unit}`.trim();

const probability = {
  ...scalar,
  grow: (map, from, to) => growNumbers(map, 1, from, to, (values, i) => values[i] >= 0, -1),
  limits: () => [0, 1],
  colour: (map) => coloured(map.length, (i) => (map[i] >= 0 ? certainty(map[i]) : NONE)),
  key: () => ({ ramp: Array.from({ length: 64 }, (_, i) => certainty(i / 63)), ends: ["0 %", "100 %"] }),
  say: (map, i) => (map[i] >= 0 ? `${Math.round(100 * Math.min(map[i], 1))} %` : "none"),
};

/** White for never to blue for certain. */
function certainty(share) {
  const part = Math.min(Math.max(share, 0), 1);
  return [255 - 255 * part, 255 - 185 * part, 255 - 65 * part].map(Math.round);
}

const vectors = {
  fromGraph: (tensor, output, size) => numbers(tensor, output, size, [3]),
  grow(map, from, to) {
    const grown = growNumbers(map, 3, from, to, (v, i) => v[3 * i] || v[3 * i + 1] || v[3 * i + 2]);
    if (grown === map) return map;
    for (let i = 0; i < grown.length; i += 3) {
      const scale = 1 / (Math.hypot(grown[i], grown[i + 1], grown[i + 2]) || 1);
      for (let c = i; c < i + 3; c++) grown[c] *= scale;
    }
    return grown;
  },
  limits: () => null,
  colour: (map) => coloured(map.length / 3, (i) => direction(map.subarray(3 * i, 3 * i + 3))),
  key: () => ({ entries: Object.entries(DIRECTIONS).map(([name, vector]) => [name, direction(vector)]) }),
  say(map, i) {
    const [x, y, z] = map.subarray(3 * i, 3 * i + 3);
    if (!(x || y || z)) return "none";
    const alike = Object.entries(DIRECTIONS).map(([name, v]) => [x * v[0] + y * v[1] + z * v[2], name]);
    const [cosine, name] = alike.reduce((best, one) => (one[0] > best[0] ? one : best));
    const off = Math.round((180 / Math.PI) * Math.acos(Math.min(cosine, 1)));
    return off ? `${name}, ${off}° off` : name;
  },
};

function direction([x, y, z]) {
  return x || y || z ? [x, y, z].map((value) => 127.5 * value + 127.5) : NONE;
}

const labels = {
  fromGraph({ data, dims }, output, [height, width]) {
    const pixels = height * width;
    if (data instanceof Uint8Array && data.length === pixels) return data;
    if (dims.length !== 4 || data.length !== dims[1] * pixels) throw wrong(output, `of the form ${dims}`);
    return Uint8Array.from({ length: pixels }, (_, i) => largest(data, i, pixels, dims[1])); // logits
  },
  grow: growIds,
  limits: () => null,
  colour(map, output) {
    const table = Array.from({ length: 256 }, (_, id) => classColour(id, output));
    return coloured(map.length, (i) => table[map[i]]);
  },
  key(map, output) {
    const counts = new Uint32Array(256);
    for (const id of map) counts[id]++;
    const ids = [...counts.keys()].filter((id) => counts[id] > SPECKS * map.length); // by id: from frame to frame it stays
    return { entries: ids.map((id) => [className(id, output), classColour(id, output)]) };
  },
  say: (map, i, output) => className(map[i], output),
};

/** The id of the largest logit; of a single channel, whether it is above 0. */
function largest(data, i, pixels, channels) {
  if (channels === 1) return +(data[i] > 0);
  let best = 0;
  for (let c = 1; c < channels; c++) if (data[c * pixels + i] > data[best * pixels + i]) best = c;
  return best;
}

const className = (id, { classes = [] }) => (id === IGNORE ? "none" : classes[id] ?? `class ${id}`);

/** The palette's colour, or else a hue of its own. */
function classColour(id, { palette = [] }) {
  if (id === IGNORE) return NONE;
  if (palette[id]) return palette[id];
  const hue = Math.floor(((id * GOLDEN) % 1) * 180) / 30, s = (150 + 40 * (id % 3)) / 255;
  const v = 230 - 50 * (Math.floor(id / 3) % 2);
  return [5, 3, 1].map((n) => {
    const k = (n + hue) % 6;
    return Math.round(v - v * s * Math.max(0, Math.min(k, 4 - k, 1)));
  });
}

export const KINDS = {
  scalar_map: scalar,
  unit_vector_map: vectors,
  label_map: labels,
  probability_map: probability,
};
