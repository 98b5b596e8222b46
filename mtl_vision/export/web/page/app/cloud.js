/** A point cloud that can be turned: WebGL, and as much arithmetic as that needs. */

const POINTS = `
attribute vec3 position; attribute vec3 colour;
uniform vec3 middle; uniform vec4 turn; uniform vec2 shift, scale; uniform float away, size;
varying vec3 shown;
void main() {
  vec3 p = position - middle;
  p = vec3(turn.x * p.x + turn.y * p.z, p.y, turn.x * p.z - turn.y * p.x);
  p = vec3(p.x, turn.z * p.y - turn.w * p.z, turn.z * p.z + turn.w * p.y);
  float z = p.z + away;
  gl_Position = vec4(scale * (p.xy + shift) * vec2(1.0, -1.0), z * 1.0002 - 0.02, z);
  gl_PointSize = clamp(size / z, 1.0, 12.0);
  shown = colour;
}`;
const COLOURS = "precision mediump float; varying vec3 shown; void main() { gl_FragColor = vec4(shown, 1.0); }";
const GRAZING = Math.tan((5 * Math.PI) / 180); // from here on a slope is taken for a depth edge, as in runtime/points.py
const FRONT = { yaw: 0, pitch: 0, zoom: 1, shift: [0, 0] };
const ASIDE = { yaw: 0.35, pitch: 0.12, zoom: 0.85, shift: [0, 0] }; // at first, so that one sees that it is in space
const KEYS = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] };

/** The points of a depth map (h, w): {positions, pixels: which pixel each is of, middle}. Depth edges have none. */
export function points(depth, [h, w], { fx, fy, cx, cy }, steps = 1) {
  const positions = new Float32Array(h * w * 3), pixels = new Uint32Array(h * w), step = 1 + steps / (fx * GRAZING);
  let count = 0;
  for (let y = 0; y < h; y++) {
    for (let x = 0; x < w; x++) {
      const at = y * w + x, z = depth[at];
      const right = x + 1 < w ? depth[at + 1] : z, below = y + 1 < h ? depth[at + w] : z;
      const near = Math.min(z, right, below), far = Math.max(z, right, below);
      if (!(near > 0) || far > near * step) continue;
      positions.set([(z * (x - cx)) / fx, (z * (y - cy)) / fy, z], count * 3);
      pixels[count++] = at;
    }
  }
  const some = positions.slice(0, count * 3).filter((_, i) => i % 3 === 2).sort();
  return { positions: positions.subarray(0, count * 3), pixels: pixels.subarray(0, count), middle: some[count >> 1] || 1 };
}

export class Cloud {
  /** Throws Error where the browser has no WebGL. */
  constructor(canvas) {
    this.canvas = canvas;
    this.gl = canvas.getContext("webgl", { antialias: true });
    if (!this.gl) throw new Error("this browser has no WebGL");
    this.program = program(this.gl);
    this.buffers = { position: this.gl.createBuffer(), colour: this.gl.createBuffer() };
    this.view = structuredClone(ASIDE);
    this.listen();
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  /** Show other points. colours: RGBA of each pixel. */
  show(cloud, camera, [h, w]) {
    [this.cloud, this.camera, this.size] = [cloud, camera, [h, w]];
    this.fill("position", cloud.positions);
  }

  colour(rgba) {
    const colours = new Uint8Array(this.cloud.pixels.length * 3);
    this.cloud.pixels.forEach((at, i) => colours.set(rgba.subarray(at * 4, at * 4 + 3), i * 3));
    this.fill("colour", colours);
    this.draw();
  }

  fill(name, data) {
    this.gl.bindBuffer(this.gl.ARRAY_BUFFER, this.buffers[name]);
    this.gl.bufferData(this.gl.ARRAY_BUFFER, data, this.gl.DYNAMIC_DRAW);
  }

  reset() {
    this.view = structuredClone(FRONT);
    this.draw();
  }

  /** Draw at the next frame. */
  draw() {
    cancelAnimationFrame(this.next);
    this.next = requestAnimationFrame(() => this.cloud && this.paint());
  }

  paint() {
    const { gl, canvas, view, cloud, camera } = this, ratio = globalThis.devicePixelRatio || 1;
    [canvas.width, canvas.height] = [canvas.clientWidth, canvas.clientHeight].map((side) => Math.max(1, side * ratio));
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.enable(gl.DEPTH_TEST);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    const [h, w] = this.size, fit = Math.min(canvas.width / w, canvas.height / h) * view.zoom; // pixels of a map's pixel
    const set = (kind, name, ...values) => gl[`uniform${kind}`](gl.getUniformLocation(this.program, name), ...values);
    gl.useProgram(this.program);
    set("3f", "middle", 0, 0, cloud.middle);
    set("4f", "turn", Math.cos(view.yaw), Math.sin(view.yaw), Math.cos(view.pitch), Math.sin(view.pitch));
    set("2f", "shift", ...view.shift);
    set("2f", "scale", (2 * camera.fx * fit) / canvas.width, (2 * camera.fy * fit) / canvas.height);
    set("1f", "away", cloud.middle);
    set("1f", "size", 1.6 * fit * cloud.middle);
    this.attribute("position", gl.FLOAT, false);
    this.attribute("colour", gl.UNSIGNED_BYTE, true);
    gl.drawArrays(gl.POINTS, 0, cloud.pixels.length);
  }

  attribute(name, type, normalised) {
    const { gl } = this, place = gl.getAttribLocation(this.program, name);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[name]);
    gl.enableVertexAttribArray(place);
    gl.vertexAttribPointer(place, 3, type, normalised, 0, 0);
  }

  turn(x, y) {
    this.view.yaw += x;
    this.view.pitch = Math.min(Math.max(this.view.pitch + y, -1.5), 1.5);
    this.draw();
  }

  zoom(factor) {
    this.view.zoom = Math.min(Math.max(this.view.zoom * factor, 0.2), 12);
    this.draw();
  }

  /** Move it by these pixels of the screen, at the distance of its middle. */
  move(x, y) {
    if (!this.cloud) return;
    const { clientWidth, clientHeight } = this.canvas, [h, w] = this.size;
    const perPixel = this.cloud.middle / (this.camera.fx * Math.min(clientWidth / w, clientHeight / h) * this.view.zoom);
    this.view.shift = [this.view.shift[0] + x * perPixel, this.view.shift[1] + y * perPixel];
    this.draw();
  }

  /** One finger or button turns; two fingers, or a button with Shift, move; the wheel and pinching come nearer. */
  listen() {
    const { canvas } = this, down = new Map();
    const spread = () => {
      const [a, b] = [...down.values()];
      return Math.hypot(a.x - b.x, a.y - b.y);
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      down.set(event.pointerId, { x: event.clientX, y: event.clientY });
    });
    canvas.addEventListener("pointermove", (event) => {
      const before = down.get(event.pointerId);
      if (!before) return;
      const [x, y] = [event.clientX - before.x, event.clientY - before.y], was = down.size === 2 && spread();
      down.set(event.pointerId, { x: event.clientX, y: event.clientY });
      if (down.size === 2) {
        this.zoom(spread() / (was || 1));
        this.move(x / 2, y / 2);
      } else if (event.shiftKey || event.buttons & 2) this.move(x, y);
      else this.turn(-x / 200, y / 200);
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => down.delete(event.pointerId));
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("dblclick", () => this.reset());
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY / 500));
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      if (event.key in KEYS) this.turn(...KEYS[event.key]);
      else if (event.key === "+" || event.key === "=") this.zoom(1.1);
      else if (event.key === "-") this.zoom(1 / 1.1);
      else if (event.key === "0" || event.key === "Home") this.reset();
      else return;
      event.preventDefault();
    });
  }
}

function program(gl) {
  const made = gl.createProgram();
  for (const [type, source] of [[gl.VERTEX_SHADER, POINTS], [gl.FRAGMENT_SHADER, COLOURS]]) {
    const shader = gl.createShader(type);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(made, shader);
  }
  gl.linkProgram(made);
  if (!gl.getProgramParameter(made, gl.LINK_STATUS)) throw new Error("WebGL does not work here");
  return made;
}
