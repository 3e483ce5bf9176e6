// Accuracy against the size of the perturbation, drawn from the rows of a record: answers to pointer and keys.
"use strict";
(() => {
  const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BELOW] = [350, 220, 32, 108, 8, 34];
  const LABEL = 12; // height of a line's name
  const [right, bottom] = [WIDTH - RIGHT, HEIGHT - BELOW];

  function node(name, attributes = {}, ...inside) {
    const made = name.startsWith("svg:")
      ? document.createElementNS("http://www.w3.org/2000/svg", name.slice(4))
      : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...inside);
    return made;
  }

  const share = (value) => (value / 1e4).toFixed(3).replace(/^0/, "");
  const cut = (text) => (text.length > 17 ? `${text.slice(0, 16)}…` : text);
  const way = (points) => `M${points.map((point) => point.join(",")).join(" ")}`;

  // Names stand beside the ends of their lines, as near as they can without touching.
  function spread(ends) {
    const places = ends.map(([y, line]) => ({ y, end: y, line })).sort((a, b) => a.y - b.y);
    places.forEach((place, n) => n && (place.y = Math.max(place.y, places[n - 1].y + LABEL)));
    for (let n = places.length - 1; n >= 0; n--) {
      places[n].y = Math.min(places[n].y, n + 1 < places.length ? places[n + 1].y - LABEL : bottom);
    }
    return places.filter((place) => place.y > 0);
  }

  class Chart {
    constructor(live, data) {
      this.data = data;
      this.hidden = new Set();
      this.colors = data.styles.map(([color]) => color ?? "var(--undefended)");
      this.largest = Math.max(...data.sizes.map(([size]) => size)) || 1;
      this.panels = data.panels.map((panel) => new Panel(this, panel));
      const legend = node("div", { class: "legend" }, ...data.lines.map((label, line) => this.toggle(label, line)));
      const note = node("p", { class: "note" }, [data.top, data.shared, data.unit].filter(Boolean).join("; "));
      live.append(node("div", { class: "curves" }, legend, node("div", { class: "panels" },
        ...this.panels.map((panel) => panel.root)), note));
      live.classList.add("on");
    }

    toggle(label, line) {
      const sample = node("svg:svg", { width: 26, height: 8, "aria-hidden": "true" }, this.stroke(line, "M0,4H26"));
      const button = node("button", { type: "button", "aria-pressed": "true" }, sample, label);
      button.addEventListener("click", () => {
        const shown = this.hidden.delete(line) || !this.hidden.add(line);
        button.setAttribute("aria-pressed", String(shown));
        this.panels.forEach((panel) => panel.draw());
      });
      return button;
    }

    stroke(line, d, width = 1.6) {
      const look = { stroke: this.colors[line], "stroke-dasharray": this.data.styles[line][1], "stroke-width": width };
      return node("svg:path", { d, fill: "none", ...look });
    }

    x(size) {
      return LEFT + ((right - LEFT) * this.data.sizes[size][0]) / this.largest;
    }
  }

  class Panel {
    constructor(chart, { title, lines }) {
      Object.assign(this, { chart, lines, size: null, line: null });
      this.svg = node("svg:svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, "aria-hidden": "true" });
      this.readout = node("div", { class: "readout", role: "status" });
      const label = `${title}: accuracy; left and right choose the perturbation, up and down the defense`;
      const plot = node("div", { class: "plot", tabindex: 0, role: "group", "aria-label": label }, this.svg);
      this.root = node("section", {}, node("h4", {}, title), plot, this.readout);
      plot.addEventListener("pointermove", (event) => this.point(event));
      plot.addEventListener("pointerdown", (event) => this.point(event));
      for (const end of ["pointerleave", "blur"]) plot.addEventListener(end, () => this.choose(null, null));
      plot.addEventListener("keydown", (event) => this.key(event));
      this.draw();
    }

    get shown() {
      return this.lines.filter(([line]) => !this.chart.hidden.has(line));
    }

    get sizes() {
      return [...new Set(this.shown.flatMap(([, rows]) => rows.map(([size]) => size)))].sort((a, b) => a - b);
    }

    y(value) {
      return TOP + (bottom - TOP) * (1 - value / 1e4);
    }

    choose(size, line) {
      if (size === this.size && line === this.line) return;
      Object.assign(this, { size, line });
      this.draw();
    }

    point(event) {
      const box = this.svg.getBoundingClientRect();
      const x = ((event.clientX - box.x) * WIDTH) / box.width;
      const y = ((event.clientY - box.y) * HEIGHT) / box.height;
      const nearest = (many, far) => many.reduce((best, one) => (far(one) < far(best) ? one : best), many[0]);
      const size = nearest(this.sizes, (one) => Math.abs(this.chart.x(one) - x));
      const there = this.shown.filter(([, rows]) => rows.some(([at]) => at === size));
      const far = ([, rows]) => Math.abs(this.y(rows.find(([at]) => at === size)[1]) - y);
      this.choose(size ?? null, nearest(there, far)?.[0] ?? null);
    }

    key(event) {
      const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -1, ArrowDown: 1 }[event.key];
      if (event.key === "Escape") this.choose(null, null);
      if (step === undefined || this.sizes.length === 0) return;
      event.preventDefault();
      const next = (many, now) => many[Math.min(Math.max(many.indexOf(now) + step, 0), many.length - 1)];
      if (event.key === "ArrowLeft" || event.key === "ArrowRight") this.choose(next(this.sizes, this.size), this.line);
      else this.choose(this.size ?? this.sizes[0], next(this.shown.map(([line]) => line), this.line));
    }

    draw() {
      const { chart, shown } = this;
      const parts = [0, 2500, 5000, 7500, 10000].flatMap((value) => [
        node("svg:path", { class: "grid", d: `M${LEFT},${this.y(value)}H${right}` }),
        node("svg:text", { x: LEFT - 5, y: this.y(value) + 3, "text-anchor": "end" }, String(value / 1e4)),
      ]);
      let last = -Infinity;
      chart.data.sizes.forEach(([, text], size) => {
        if (chart.x(size) - last < 30) return;
        last = chart.x(size);
        parts.push(node("svg:text", { x: last, y: bottom + 15, "text-anchor": "middle" }, text));
      });
      parts.push(node("svg:text", { x: (LEFT + right) / 2, y: HEIGHT - 4, "text-anchor": "middle" }, chart.data.symbol));
      if (this.size !== null) parts.push(node("svg:path", { class: "cross", d: `M${chart.x(this.size)},${TOP}V${bottom}` }));
      const ends = [];
      for (const [line, rows] of shown) {
        const [through, low, high] = [1, 2, 3].map((value) => rows.map((row) => [chart.x(row[0]), this.y(row[value])]));
        const color = chart.colors[line];
        parts.push(node("svg:path", { d: `${way([...high, ...low.reverse()])}Z`, fill: color, "fill-opacity": 0.15 }));
        parts.push(chart.stroke(line, way(through), line === this.line ? 3 : 1.6));
        rows.forEach(([size], n) => parts.push(node("svg:circle", {
          cx: through[n][0], cy: through[n][1], r: size === this.size ? 4 : 2.2, fill: color,
        })));
        ends.push([through.at(-1)[1], line, through.at(-1)[0]]);
      }
      for (const { y, end, line } of spread(ends)) {
        const x = ends.find((one) => one[1] === line)[2];
        parts.push(node("svg:path", { d: `M${x + 4},${end}L${right + 9},${y}h4`, stroke: chart.colors[line], fill: "none" }));
        const weight = line === this.line ? "bold" : "normal";
        parts.push(node("svg:text", { x: right + 15, y: y + 3, "font-weight": weight }, cut(chart.data.lines[line])));
      }
      this.svg.replaceChildren(...parts);
      this.tell(shown);
    }

    tell(shown) {
      if (this.size === null) return this.readout.replaceChildren();
      const lines = shown.flatMap(([line, rows]) => rows.filter(([size]) => size === this.size).map((row) => [line, row]));
      const told = lines.map(([line, [, value, low, high, n]]) => {
        const mark = node("span", { class: "mark", style: `background: ${this.chart.colors[line]}` });
        const number = `${share(value)} [${share(low)}, ${share(high)}] n = ${n.toLocaleString("en")}`;
        return node("li", line === this.line ? { class: "chosen" } : {}, mark, `${this.chart.data.lines[line]} ${number}`);
      });
      const { sizes, symbol } = this.chart.data;
      this.readout.replaceChildren(node("strong", {}, `${symbol} = ${sizes[this.size][1]}`), node("ul", {}, ...told));
    }
  }

  const near = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      new Chart(target, JSON.parse(target.querySelector(":scope > script").textContent));
    }
  }, { rootMargin: "800px" });
  document.querySelectorAll('.live[data-kind="curves"]').forEach((live) => near.observe(live));
})();
