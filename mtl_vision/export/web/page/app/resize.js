/** Resizing as OpenCV does it, which the runtime uses: by area when an image shrinks, linearly when it grows. */

/** To the nearest whole number, halves to the even one, as Python rounds. */
export function round(x) {
  const low = Math.floor(x), rest = x - low;
  return rest === 0.5 ? low + (low % 2) : Math.round(x);
}

/** Pixels (h, w, 3) of 8 bits at another size [height, width]. */
export function resizePixels(pixels, [h, w], [height, width]) {
  if (h === height && w === width) return pixels;
  if (height * width >= h * w) return linear(pixels, [h, w], [height, width], centred);
  if (h < height || w < width) return linear(pixels, [h, w], [height, width], byCells);
  return byArea(pixels, [h, w], [height, width]);
}

/** The share of the old pixels in each new one along a side: lists of [old, share]. */
function shares(length, wanted) {
  const scale = 1 / (wanted / length), found = [];
  for (let i = 0; i < wanted; i++) {
    const from = i * scale, to = from + scale, cell = Math.min(scale, length - from);
    const last = Math.min(Math.floor(to), length - 1), first = Math.min(Math.ceil(from), last), list = [];
    if (first - from > 1e-3) list.push([first - 1, Math.fround((first - from) / cell)]);
    for (let k = first; k < last; k++) list.push([k, Math.fround(1 / cell)]);
    if (to - last > 1e-3) list.push([last, Math.fround(Math.min(to - last, 1, cell) / cell)]);
    found.push(list);
  }
  return found;
}

function byArea(pixels, [h, w], [height, width]) {
  const rows = shares(h, height), columns = shares(w, width), out = new Uint8ClampedArray(height * width * 3);
  const halves = h === 2 * height && w === 2 * width; // the one case in which OpenCV rounds halves up
  const row = new Float32Array(width * 3), sum = new Float32Array(width * 3);
  for (let y = 0; y < height; y++) {
    sum.fill(0);
    for (const [from, share] of rows[y]) {
      row.fill(0);
      for (let x = 0, at = 0; x < width; x++, at += 3) {
        for (const [column, part] of columns[x]) {
          const source = (from * w + column) * 3;
          row[at] += pixels[source] * part;
          row[at + 1] += pixels[source + 1] * part;
          row[at + 2] += pixels[source + 2] * part;
        }
      }
      for (let i = 0; i < sum.length; i++) sum[i] += share * row[i];
    }
    const start = y * width * 3;
    for (let i = 0; i < sum.length; i++) out[start + i] = halves ? Math.floor(sum[i] + 0.5) : sum[i]; // clamped: rounds
  }
  return new Uint8Array(out.buffer);
}

const centred = (i, inverse) => {
  const at = Math.fround((i + 0.5) * (1 / inverse) - 0.5), first = Math.floor(at);
  return [first, at - first];
};

/** Where one side of an image grows and the other shrinks more. */
const byCells = (i, inverse) => {
  const first = Math.floor(i * (1 / inverse)), rest = Math.fround(i + 1 - (first + 1) * inverse);
  return [first, rest <= 0 ? 0 : rest - Math.floor(rest)];
};

/** For each new pixel along a side: the old one before it, the one after, and the share of the latter. */
export function neighbours(length, wanted, place = centred) {
  const before = new Int32Array(wanted), after = new Int32Array(wanted), share = new Float32Array(wanted);
  for (let i = 0; i < wanted; i++) {
    const [first, rest] = place(i, wanted / length), inside = first >= 0 && first < length - 1;
    before[i] = Math.min(Math.max(first, 0), length - 1);
    after[i] = inside ? first + 1 : before[i];
    share[i] = inside ? rest : 0;
  }
  return { before, after, share };
}

const BITS = 2048; // OpenCV's shares of 8-bit pixels are whole numbers of 1 / BITS

function linear(pixels, [h, w], [height, width], place) {
  const rows = neighbours(h, height, place), columns = neighbours(w, width, place);
  const whole = ({ share }) => share.map((part) => round(part * BITS));
  const rest = ({ share }) => share.map((part) => round(Math.fround(1 - part) * BITS));
  const out = new Uint8Array(height * width * 3), [left, right] = [rest(columns), whole(columns)];
  const [upper, lower] = [rest(rows), whole(rows)];
  const across = (line, x, c) => {
    const a = (line * w + columns.before[x]) * 3 + c, b = (line * w + columns.after[x]) * 3 + c;
    return pixels[a] * left[x] + pixels[b] * right[x];
  };
  for (let y = 0, at = 0; y < height; y++) {
    const [above, below] = [upper[y], lower[y]];
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < 3; c++, at++) {
        const high = (above * (across(rows.before[y], x, c) >> 4)) >> 16;
        const low = (below * (across(rows.after[y], x, c) >> 4)) >> 16;
        out[at] = (high + low + 2) >> 2;
      }
    }
  }
  return out;
}

/** A map (h, w, channels) of numbers at a larger size, linearly. */
export function grow(values, channels, [h, w], [height, width]) {
  if (h === height && w === width) return values;
  const rows = neighbours(h, height), columns = neighbours(w, width);
  const out = new Float32Array(height * width * channels);
  for (let y = 0, at = 0; y < height; y++) {
    const top = rows.before[y] * w, bottom = rows.after[y] * w, v = rows.share[y];
    for (let x = 0; x < width; x++) {
      const left = columns.before[x], right = columns.after[x], u = columns.share[x];
      for (let c = 0; c < channels; c++, at++) {
        const a = values[(top + left) * channels + c], b = values[(top + right) * channels + c];
        const p = values[(bottom + left) * channels + c], q = values[(bottom + right) * channels + c];
        const high = a + u * (b - a), low = p + u * (q - p);
        out[at] = high + v * (low - high);
      }
    }
  }
  return out;
}

/** A map of ids at a larger size: the four neighbours of a new pixel vote by their shares. */
export function growIds(ids, [h, w], [height, width]) {
  if (h === height && w === width) return ids;
  const rows = neighbours(h, height), columns = neighbours(w, width), out = new Uint8Array(height * width);
  for (let y = 0, at = 0; y < height; y++) {
    const top = rows.before[y] * w, bottom = rows.after[y] * w, v = rows.share[y];
    for (let x = 0; x < width; x++, at++) {
      const left = columns.before[x], right = columns.after[x], u = columns.share[x];
      out[at] = elected(
        [ids[top + left], ids[top + right], ids[bottom + left], ids[bottom + right]],
        [(1 - u) * (1 - v), u * (1 - v), (1 - u) * v, u * v],
      );
    }
  }
  return out;
}

/** Of four ids the one with the largest share in all; of equals the smallest. */
function elected([a, b, c, d], [p, q, r, s]) {
  if (a === b && a === c && a === d) return a;
  let winner = 255, most = -1;
  for (const id of [a, b, c, d]) {
    const votes = (a === id ? p : 0) + (b === id ? q : 0) + (c === id ? r : 0) + (d === id ? s : 0);
    if (votes > most || (votes === most && id < winner)) [winner, most] = [id, votes];
  }
  return winner;
}
