/** The photo and its maps side by side, and what lies under the pointer in all of them at once. */

const STEP = 0.01, FAR = 0.05; // of a side, for the arrow keys, without and with Shift
const MOST = 5; // panels in a row
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export function element(tag, { parent, ...properties } = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  parent?.append(made);
  return made;
}

export class Panels {
  /** parent: the element that gets a figure for the photo and for each output. told: gets what the keyboard points at. */
  constructor(parent, outputs, told) {
    this.told = told;
    this.panels = new Map();
    for (const [name, title] of [["photo", "Photo"], ...outputs.map((o) => [o.name, titled(o.name)])]) {
      this.panels.set(name, this.make(parent, name, title));
    }
    const count = this.panels.size; // in a row of a wide screen
    parent.style.setProperty("--count", count > MOST ? Math.ceil(count / 2) : count);
    this.at = null;
  }

  make(parent, name, title) {
    const value = element("output", { className: "value", hidden: true });
    const canvas = element("canvas", { tabIndex: 0, width: 4, height: 3 });
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${title}. The arrow keys point at a place.`);
    const cross = element("div", { className: "cross", hidden: true }), key = element("div", { className: "key" });
    const frame = element("div", { className: "frame" }, canvas, cross, value);
    element("figure", { className: `panel ${name}`, parent }, element("figcaption", {}, title), frame, key);
    canvas.addEventListener("pointermove", (event) => this.point(...place(event, canvas)));
    canvas.addEventListener("pointerdown", (event) => this.point(...place(event, canvas)));
    canvas.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && this.leave());
    canvas.addEventListener("keydown", (event) => this.onKey(event));
    canvas.addEventListener("blur", () => this.leave());
    return { canvas, cross, value, key, title };
  }

  onKey(event) {
    if (event.key === "Escape") return this.leave();
    if (!(event.key in ARROWS) || !this.result) return;
    event.preventDefault();
    const step = event.shiftKey ? FAR : STEP, [x, y] = this.at ?? [0.5, 0.5];
    const inside = (share) => Math.min(Math.max(share, 0), 0.999);
    const [right, down] = this.at ? ARROWS[event.key] : [0, 0]; // the first one shows where it is
    this.point(inside(x + right * step), inside(y + down * step));
    this.told(this.words());
  }

  /** Show what is at these shares of width and height. */
  point(x, y) {
    if (!this.result) return;
    this.at = [x, y];
    for (const [name, { cross, value }] of this.panels) {
      cross.hidden = false;
      cross.style.setProperty("--x", `${100 * x}%`);
      cross.style.setProperty("--y", `${100 * y}%`);
      const said = this.say(name);
      value.hidden = !said;
      value.textContent = said;
      value.classList.toggle("low", y < 0.25 && x < 0.6); // out of the pointer's way
    }
  }

  leave() {
    this.at = null;
    for (const { cross, value } of this.panels.values()) cross.hidden = value.hidden = true;
  }

  say(name) {
    const map = this.result.maps[name];
    if (!map) return "";
    const [h, w] = this.result.size, [x, y] = this.at;
    return map.kind.say(map.values, Math.floor(y * h) * w + Math.floor(x * w), map.output);
  }

  /** All values where it points, as a sentence. */
  words() {
    return Object.keys(this.result.maps).map((name) => `${titled(name)}: ${this.say(name)}`).join("; ");
  }

  /** Draw the photo and its maps. Each map gets its `rgba`. limits: by name, in place of the maps' own. */
  show(image, result, limits = {}) {
    this.result = result;
    const [h, w] = result.size, photo = this.panels.get("photo").canvas;
    [photo.height, photo.width] = [h, w];
    for (const { canvas } of this.panels.values()) canvas.parentNode.style.setProperty("--shape", w / h);
    const pen = photo.getContext("2d", { willReadFrequently: true });
    pen.imageSmoothingQuality = "high";
    pen.drawImage(image.bitmap, 0, 0, w, h);
    this.key("photo", { text: `${image.full[1]} x ${image.full[0]}` });
    for (const [name, map] of Object.entries(result.maps)) {
      const { canvas } = this.panels.get(name), span = limits[name] ?? map.kind.limits(map.raw);
      map.rgba = map.kind.colour(map.values, map.output, span);
      [canvas.height, canvas.width] = [h, w];
      canvas.getContext("2d").putImageData(new ImageData(map.rgba, w, h), 0, 0);
      this.key(name, map.kind.key(map.values, map.output, span));
    }
    if (this.at) this.point(...this.at);
  }

  key(name, { ramp, ends, entries, text }) {
    const { key } = this.panels.get(name);
    if (text) return key.replaceChildren(text);
    if (ramp) {
      const colours = ramp.filter((_, i) => i % 16 === 0 || i === ramp.length - 1).map((rgb) => `rgb(${[...rgb]})`);
      const bar = element("div", { className: "ramp" });
      bar.style.background = `linear-gradient(to right, ${colours})`;
      return key.replaceChildren(bar, ...ends.map((end) => element("span", {}, end)));
    }
    return key.replaceChildren(
      ...entries.map(([word, rgb]) => {
        const swatch = element("i", {});
        swatch.style.background = `rgb(${rgb.map(Math.round)})`;
        return element("span", {}, swatch, word);
      }),
    );
  }

  /** RGBA of what a panel shows. */
  pixels(name) {
    const [h, w] = this.result.size;
    return this.result.maps[name]?.rgba ?? this.panels.get(name).canvas.getContext("2d").getImageData(0, 0, w, h).data;
  }
}

export const titled = (name) => name[0].toUpperCase() + name.slice(1);

function place(event, canvas) {
  const { left, top, width, height } = canvas.getBoundingClientRect();
  return [(event.clientX - left) / width, (event.clientY - top) / height].map((share) => Math.min(Math.max(share, 0), 0.999));
}
