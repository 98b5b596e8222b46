"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const several = data.runs.length > 1;
  const el = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) {
      if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else node.setAttribute(key, value);
    }
    node.append(...children);
    return node;
  };
  const named = (text) => el("bdi", {}, text);
  const swatch = (index, dash) => el("i", { class: `s${index % 8} swatch${dash ? " dash" : ""}` });
  const short = (value, digits = 4) => {
    if (value == null) return "–";
    const size = Math.abs(value);
    return size !== 0 && (size < 1e-3 || size >= 1e5) ? value.toExponential(digits - 2) : String(+value.toPrecision(digits));
  };

  // ---- dark and light: as the system, unless it is chosen
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  let chosen = null;
  const redrawn = []; // what has colours of its own
  const themed = () => {
    root.dataset.theme = chosen ?? (system.matches ? "dark" : "light");
    $("theme").setAttribute("aria-label", `Colours: ${chosen ?? "as the system"}`);
    redrawn.forEach((redraw) => redraw());
  };
  system.addEventListener("change", themed);
  $("theme").addEventListener("click", () => {
    chosen = root.dataset.theme === "dark" ? "light" : "dark";
    themed();
  });
  const colour = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim();

  // ---- curves
  const off = { task: new Set(), run: new Set() };
  const plots = [];
  let whole = [Infinity, -Infinity];
  let zoom = null;

  const tasksOf = (chart) => [...new Set(chart.tables.flatMap((t) => t.series.map((s) => s.task)))];
  const only = (chart, task) => ({
    ...chart,
    task,
    tables: chart.tables
      .map((t) => ({ x: t.x, series: t.series.filter((s) => s.task === task && s.kind !== "target") }))
      .filter((t) => t.series.length),
  });
  // of one run a chart with a colour a task; of several runs a chart a task, with a colour a run
  const panels = () => {
    const all = [...data.charts, ...data.measured];
    if (!several) return all;
    return all.flatMap((chart) => tasksOf(chart).map((task) => only(chart, task)));
  };
  const taskIndex = (task) => Math.max(data.tasks.indexOf(task), 0);

  class Panel {
    constructor(chart) {
      this.chart = chart;
      this.log = chart.log;
      const tables = chart.tables.map((t) => [t.x, ...t.series.map((s) => s.y)]);
      this.series = chart.tables.flatMap((t) => t.series);
      this.data = uPlot.join(tables);
      const smooth = new Set(this.series.filter((s) => s.kind === "mean").map((s) => `${s.run}/${s.task}`));
      this.series.forEach((s) => (s.faint = s.kind === "raw" && smooth.has(`${s.run}/${s.task}`)));
      this.index = (s) => (several ? s.run : s.task === "" ? 7 : taskIndex(s.task));
      const positive = this.series.some((s) => s.y.some((v) => v > 0));
      this.legend = el("ul", { class: "legend" });
      this.values = this.series.map((s) => {
        if (s.faint) return null;
        const value = el("span", { class: "value" });
        const label = several ? data.runs[s.run] : s.kind === "target" ? `${s.task} target` : s.task || "rate";
        if (s.kind === "target" || (s.kind === "measured" && !several)) this.legend.append(el("li", { title: label }, swatch(this.index(s), s.kind === "target"), value));
        else this.legend.append(el("li", {}, swatch(this.index(s)), named(label), value));
        return value;
      });
      this.toggle = el("button", { type: "button", "aria-pressed": String(this.log), onclick: () => this.setLog(!this.log) }, "log");
      this.toggle.title = "logarithmic scale";
      this.toggle.hidden = !positive;
      this.place = el("div", { class: "canvas", tabindex: 0, role: "img" });
      const title = chart.task ? [`${chart.title} `, el("em", {}, named(chart.task))] : [chart.title];
      this.place.setAttribute("aria-label", `${chart.title}${chart.task ? ` of ${chart.task}` : ""}: curves over steps; arrow keys read values`);
      this.node = el("figure", { class: "card plot" }, el("header", {}, el("h3", {}, ...title), this.toggle), el("p", { class: "note" }, chart.note), this.legend, this.place);
      this.place.addEventListener("keydown", (event) => this.key(event));
      this.touch();
    }
    shown(s) {
      return !off.task.has(s.task) && !off.run.has(s.run);
    }
    build() {
      this.plot?.destroy();
      const [line, quiet, card] = [colour("line"), colour("quiet"), colour("card")];
      const axis = { stroke: quiet, grid: { stroke: line, width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
      const dot = this.data[0].length < 40;
      this.plot = new uPlot(
        {
          width: Math.max(this.place.clientWidth, 200),
          height: 220,
          legend: { show: false },
          padding: [10, 6, 0, 0],
          scales: { x: { time: false, range: () => zoom ?? whole }, y: { distr: this.log ? 3 : 1 } },
          axes: [
            { ...axis, size: 28, space: 70, values: (_, ticks) => ticks.map((v) => v.toLocaleString("en")) },
            { ...axis, size: 52, grid: { ...axis.grid, filter: (_, splits) => splits.map((v) => (this.log && Math.abs(Math.log10(v) % 1) > 1e-6 && 1 - Math.abs(Math.log10(v) % 1) > 1e-6 ? null : v)) }, values: (_, ticks) => ticks.map((v) => (v == null ? "" : v && Math.abs(v) < 1e-4 ? v.toExponential() : String(+v.toPrecision(7)))) },
          ],
          cursor: {
            y: false,
            sync: { key: "steps", setSeries: false, scales: ["x", null] },
            drag: { x: true, y: false, setScale: false },
            points: { size: 7, fill: card, width: 2 },
            dataIdx: (u, series, at) => this.known(series, at),
          },
          series: [
            {},
            ...this.series.map((s) => {
              const ink = colour(`s${this.index(s) % 8}`);
              return {
                stroke: s.faint ? `${ink}55` : ink,
                width: s.faint ? 1 : s.kind === "target" ? 1.5 : 2,
                dash: s.kind === "target" ? [5, 4] : undefined,
                spanGaps: true,
                show: this.shown(s),
                points: { show: dot && s.kind !== "target", size: 6, fill: ink },
              };
            }),
          ],
          hooks: { setCursor: [() => this.read()], setSelect: [(u) => this.select(u)] },
        },
        this.data,
        this.place,
      );
      this.plot.over.addEventListener("dblclick", () => setZoom(null));
      this.read();
    }
    // the nearest record that has a value: tables of several runs, and of means, have steps of their own
    known(series, at) {
      if (series === 0) return at;
      const values = this.data[series];
      for (let d = 0; d < values.length; d++) {
        if (values[at - d] != null) return at - d;
        if (values[at + d] != null) return at + d;
        if (d > 400) break;
      }
      return null;
    }
    read() {
      const idx = this.plot?.cursor.idx;
      this.series.forEach((s, k) => {
        const target = this.values[k];
        if (!target) return;
        const at = idx == null ? this.known(k + 1, this.data[0].length - 1) : this.known(k + 1, idx);
        target.textContent = short(at == null ? null : this.data[k + 1][at]);
        target.parentNode.style.opacity = this.shown(s) ? "" : ".35";
      });
      if (idx != null) this.step.textContent = `step ${this.data[0][idx].toLocaleString("en")}`;
      else this.step.textContent = "";
    }
    get step() {
      return (this._step ??= this.node.querySelector("header").insertBefore(el("output", { class: "note" }), this.toggle));
    }
    select(u) {
      const { left, width } = u.select;
      if (width < 5) return;
      setZoom([u.posToVal(left, "x"), u.posToVal(left + width, "x")]);
      u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    }
    setLog(on) {
      this.log = on;
      this.toggle.setAttribute("aria-pressed", String(on));
      this.build();
    }
    key(event) {
      const u = this.plot;
      const [low, high] = zoom ?? whole;
      const x = this.data[0];
      const moved = { ArrowLeft: -1, ArrowRight: 1, PageUp: -20, PageDown: 20 }[event.key];
      if (moved || event.key === "Home" || event.key === "End") {
        const first = u.valToIdx(low), last = u.valToIdx(high);
        const now = u.cursor.idx ?? (moved > 0 ? first - 1 : last + 1);
        const at = event.key === "Home" ? first : event.key === "End" ? last : Math.min(Math.max(now + moved, first), last);
        u.setCursor({ left: u.valToPos(x[at], "x"), top: 10 });
      } else if (event.key === "+" || event.key === "-") {
        const middle = u.cursor.idx == null ? (low + high) / 2 : x[u.cursor.idx];
        const half = ((high - low) / 2) * (event.key === "+" ? 0.5 : 2);
        setZoom([middle - half, middle + half]);
      } else if (event.key === "0" || event.key === "Escape") setZoom(null);
      else return;
      event.preventDefault();
    }
    touch() {
      const at = (event) => {
        if (event.pointerType !== "touch" || !this.plot) return;
        const box = this.plot.over.getBoundingClientRect();
        this.plot.setCursor({ left: Math.min(Math.max(event.clientX - box.left, 0), box.width - 1), top: 10 });
      };
      this.place.addEventListener("pointerdown", at);
      this.place.addEventListener("pointermove", at);
    }
  }

  const setZoom = (range) => {
    if (range) {
      const width = Math.min(Math.max(range[1] - range[0], 2), whole[1] - whole[0]);
      const low = Math.min(Math.max(range[0], whole[0]), whole[1] - width);
      range = width >= whole[1] - whole[0] ? null : [low, low + width];
    }
    zoom = range;
    const [low, high] = zoom ?? whole;
    plots.forEach((panel) => panel.plot?.setScale("x", { min: low, max: high }));
    $("from").value = low;
    $("to").value = high;
    $("from-out").textContent = Math.round(low).toLocaleString("en");
    $("to-out").textContent = Math.round(high).toLocaleString("en");
  };

  const toggles = (place, names, kind) =>
    names.forEach(([key, label, index]) => {
      const button = el("button", { type: "button", "aria-pressed": "true" }, ...(index == null ? [] : [swatch(index)]), named(label));
      button.addEventListener("click", () => {
        const on = off[kind].delete(key) || (off[kind].add(key), false);
        button.setAttribute("aria-pressed", String(on));
        plots.forEach((panel) => {
          if (several && kind === "task") panel.node.hidden = off.task.has(panel.chart.task);
          panel.series.forEach((s, k) => panel.plot?.setSeries(k + 1, { show: panel.shown(s) }, false));
          panel.read();
        });
      });
      place.append(button);
    });

  const curves = () => {
    for (const chart of panels())
      for (const t of chart.tables) whole = [Math.min(whole[0], t.x[0]), Math.max(whole[1], t.x[t.x.length - 1])];
    if (whole[1] <= whole[0]) whole = [whole[0] - 0.5, whole[0] + 0.5];
    for (const id of ["from", "to"]) Object.assign($(id), { min: whole[0], max: whole[1], step: "any" });
    $("from").addEventListener("input", () => setZoom([Math.min(+$("from").value, +$("to").value - 2), +$("to").value]));
    $("to").addEventListener("input", () => setZoom([+$("from").value, Math.max(+$("to").value, +$("from").value + 2)]));
    $("reset").addEventListener("click", () => setZoom(null));
    toggles($("tasks"), data.tasks.map((task, k) => [task, task, several ? null : k]), "task");
    if (several) toggles($("shown-runs"), data.runs.map((run, k) => [k, run, k]), "run");
    $("plots").classList.toggle("many", several && data.tasks.length > 2);
    for (const chart of panels()) {
      const panel = new Panel(chart);
      plots.push(panel);
      $("plots").append(panel.node);
    }
    // each is drawn when it comes near the window: a page opens at once, however many there are
    const seen = new IntersectionObserver(
      (entries) =>
        entries.forEach((entry) => {
          if (!entry.isIntersecting) return;
          seen.unobserve(entry.target);
          plots.find((panel) => panel.node === entry.target).build();
        }),
      { rootMargin: "600px" },
    );
    plots.forEach((panel) => seen.observe(panel.node));
    const drawn = () => plots.filter((panel) => panel.plot);
    redrawn.push(() => drawn().forEach((panel) => panel.build()));
    new ResizeObserver(() => drawn().forEach((panel) => panel.plot.setSize({ width: Math.max(panel.place.clientWidth, 200), height: 220 }))).observe($("plots"));
    setZoom(null);
  };

  // ---- samples
  const FIRST = 12; // samples that are there at once
  const DIRECTIONS = { "faces us": [128, 128, 0], left: [0, 128, 128], right: [255, 128, 128], up: [128, 0, 128], down: [128, 255, 128] };
  const VIEWS = ["photo", "truth", "prediction", "error"];
  const gallery = () => {
    let run = data.galleries.findIndex((g) => g.samples.length);
    let task = null, view = 0;
    const choice = (place, items, current, pick) => {
      place.replaceChildren();
      items.forEach(([key, label], k) => {
        const button = el("button", { type: "button", role: "radio", "aria-checked": String(key === current), tabindex: key === current ? 0 : -1 }, label);
        const choose = (to) => {
          const all = [...place.children];
          all.forEach((other, j) => { other.setAttribute("aria-checked", String(j === to)); other.tabIndex = j === to ? 0 : -1; });
          all[to].focus();
          pick(items[to][0]);
        };
        button.addEventListener("click", () => choose(k));
        button.addEventListener("keydown", (event) => {
          const moved = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
          if (moved) { choose((k + moved + items.length) % items.length); event.preventDefault(); }
        });
        place.append(button);
      });
    };
    const uri = (picture) => `data:image/webp;base64,${picture}`;
    const figure = (g, name, value) => {
      const main = g.outputs[name]?.main;
      return value == null ? `${name} –` : `${name} ${short(value, 3)}${main?.unit ? ` ${main.unit}` : ""}`;
    };
    const card = (g, sample, rank) => {
      const maps = sample.maps[task] ?? {};
      const stops = [["photo", sample.photo], ["truth", maps.truth], ["prediction", maps.prediction], ["error", maps.error]].filter(([, picture]) => picture);
      const what = el("span", { class: "what" });
      const edge = el("span", { class: "edge" });
      const images = stops.map(([label, picture], k) => el("img", { src: uri(picture), alt: k ? `${label} of ${task}: ${sample.name}` : `photo ${sample.name}`, decoding: "async" }));
      const frame = el("div", { class: "view" }, ...images, edge, what);
      const slider = el("input", { type: "range", min: 0, max: stops.length - 1, step: "any", "aria-label": `${sample.name}: from photo to error` });
      const buttons = stops.map(([label], k) => el("button", { type: "button", onclick: () => set(k) }, label));
      const set = (value) => {
        slider.value = value;
        const at = Math.floor(value), share = value - at;
        images.forEach((image, k) => {
          image.style.clipPath = k && k > at ? (k === at + 1 && share ? `inset(0 ${100 * (1 - share)}% 0 0)` : "inset(0 100% 0 0)") : "";
        });
        edge.hidden = !share;
        edge.style.left = `${100 * share}%`;
        const near = Math.round(value);
        what.textContent = share ? `${stops[at + 1][0]} | ${stops[at][0]}` : stops[at][0];
        buttons.forEach((button, k) => button.setAttribute("aria-pressed", String(!share && k === near)));
        slider.setAttribute("aria-valuetext", what.textContent);
      };
      slider.addEventListener("input", () => {
        const near = Math.round(+slider.value);
        set(Math.abs(slider.value - near) < 0.04 ? near : +slider.value);
      });
      slider.addEventListener("keydown", (event) => {
        const moved = { ArrowLeft: -0.25, ArrowDown: -0.25, ArrowRight: 0.25, ArrowUp: 0.25 }[event.key];
        if (moved) { set(Math.min(Math.max(+slider.value + moved, 0), stops.length - 1)); event.preventDefault(); }
      });
      // over the picture the pointer wipes between the two that the slider stands at
      const wipe = (event) => {
        if (!event.buttons) return;
        const box = frame.getBoundingClientRect();
        const at = Math.min(Math.ceil(+slider.value) || 1, stops.length - 1) - 1;
        set(at + Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1));
      };
      frame.addEventListener("pointerdown", wipe);
      frame.addEventListener("pointermove", wipe);
      frame.addEventListener("dragstart", (event) => event.preventDefault());
      const others = Object.keys(g.outputs).filter((name) => name !== task).map((name) => figure(g, name, sample.metrics[name]));
      const node = el("article", { class: "card sample" }, frame, el("div", { class: "text" },
        el("b", {}, named(`${rank}. ${sample.name}`), el("span", {}, figure(g, task, sample.metrics[task]))),
        el("div", { class: "others" }, others.join(" · ")), slider, el("div", { class: "stops" }, ...buttons)));
      node.show = (label) => set(Math.max(stops.findIndex(([name]) => name === label), 0));
      node.show(VIEWS[view]);
      return node;
    };
    const key = (g, shown) => {
      const output = g.outputs[task];
      const place = $("gallery-key");
      place.replaceChildren();
      if (!output) return;
      if (output.classes.length) {
        const ids = [...new Set(shown.flatMap((s) => s.maps[task]?.ids ?? []))].sort((a, b) => a - b);
        for (const id of ids) {
          const box = el("i");
          if (output.palette[id]) box.style.background = `rgb(${output.palette[id].map(Number).join(",")})`;
          place.append(el("span", {}, box, named(output.classes[id] ?? `class ${id}`)));
        }
        const box = el("i");
        box.style.background = "#fee838";
        place.append(el("span", {}, box, "error: another class"));
      } else {
        if (output.kind === "scalar_map") place.append(el("span", {}, `${task}: near`, el("i", { class: "ramp depth" }), "far, each photo's own range"));
        if (output.kind === "unit_vector_map")
          for (const [label, rgb] of Object.entries(DIRECTIONS)) {
            const box = el("i");
            box.style.background = `rgb(${rgb.join(",")})`;
            place.append(el("span", {}, box, label));
          }
        if (output.kind === "probability_map") place.append(el("span", {}, `${task}: 0`, el("i", { class: "ramp share" }), "1"));
        place.append(el("span", {}, "error: 0", el("i", { class: "ramp" }), `${[short(output.error_limit), output.error_unit].join(" ").trim()} and more`));
      }
      const none = el("i");
      none.style.background = "rgb(150,150,150)";
      place.append(el("span", {}, none, "no truth"));
    };
    const render = () => {
      const g = data.galleries[run];
      const tasks = Object.keys(g.outputs);
      if (!tasks.includes(task)) task = tasks[0] ?? null;
      choice($("gallery-task"), tasks.map((name) => [name, `by ${name}`]), task, (name) => { task = name; list(); });
      list();
    };
    const list = () => {
      const g = data.galleries[run];
      const up = g.outputs[task]?.main?.higher_is_better;
      const badness = (s) => (s.metrics[task] == null ? -Infinity : up ? -s.metrics[task] : s.metrics[task]);
      const samples = [...g.samples].sort((a, b) => badness(b) - badness(a));
      const main = g.outputs[task]?.main;
      $("gallery-note").textContent =
        `${samples.length} of ${g.of ?? "?"} samples: those that the network does worst on (${g.worst ?? "some"} a task), and others from all over the set; ` +
        `worst first by ${task}${main ? ` (${main.name} of the sample)` : ""}.`;
      key(g, samples);
      const cards = (from, to) => samples.slice(from, to).map((sample, k) => card(g, sample, from + k + 1));
      $("samples").replaceChildren(...cards(0, FIRST));
      $("more").hidden = samples.length <= FIRST;
      $("more").textContent = `show all ${samples.length}`;
      $("more").onclick = () => {
        $("more").hidden = true;
        $("samples").append(...cards(FIRST));
      };
    };
    if (several) choice($("gallery-run"), data.runs.map((name, k) => [k, name]).filter(([k]) => data.galleries[k].samples.length), run, (k) => { run = k; render(); });
    choice($("gallery-view"), VIEWS.map((name, k) => [k, name]), view, (k) => {
      view = k;
      [...$("samples").children].forEach((node) => node.show(VIEWS[k]));
    });
    render();
  };

  themed();
  if ($("plots")) curves();
  if ($("samples")) gallery();
})();
