// A query, what an attack makes of it, what that changed, and the neighbors that answer: choose any that was kept.
"use strict";
(() => {
  const SVG = "http://www.w3.org/2000/svg";

  function node(name, attributes = {}, ...inside) {
    const made = name === "svg" || name === "image" ? document.createElementNS(SVG, name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...inside);
    return made;
  }

  class Inspector {
    constructor(live, data, pictures) {
      this.data = { ...data, pictures };
      const queries = data.queries.map(({ label }, n) => `${n + 1}: ${label}`);
      this.choices = {
        query: this.select("query", queries),
        case: this.select("attack", data.cases),
        size: this.select("perturbation", ["clean", ...data.sizes], data.sizes.length),
        tap: this.select("tap", data.taps),
      };
      this.shown = node("div", { "aria-live": "polite" });
      const controls = Object.values(this.choices).map(({ label }) => label);
      live.append(node("div", { class: "inspector" }, node("div", { class: "choices" }, ...controls), this.shown));
      live.classList.add("on");
      this.show();
    }

    select(name, options, chosen = 0) {
      const field = node("select", {}, ...options.map((text, n) => node("option", { value: n }, text)));
      field.selectedIndex = chosen;
      field.addEventListener("change", () => this.show());
      return { field, label: node("label", {}, `${name} `, field) };
    }

    picture(number, text, mark, ...lines) {
      const { picture: [width, height], columns, pictures } = this.data;
      const [x, y] = [(number % columns) * width, Math.floor(number / columns) * height];
      const image = node("image", { href: pictures[this.query] });
      const view = { viewBox: `${x} ${y} ${width} ${height}`, role: "img", "aria-label": text };
      const rendering = Math.max(width, height) <= 64 ? "image-rendering: pixelated" : "";
      const caption = node("figcaption", {}, ...lines.map((line) => node("div", {}, line)));
      return node("figure", { class: mark }, node("svg", { ...view, style: rendering }, image), caption);
    }

    seen(one, text, ...lines) {
      const sign = one.correct ? "✓" : "✗";
      const said = `${sign} ${one.predicted} ${one.confidence.toFixed(2)}`;
      return this.picture(one.picture, `${text}: ${said}`, one.correct ? "right" : "wrong", text, said, ...lines);
    }

    show() {
      const { data } = this;
      const [query, attack, size, tap] = ["query", "case", "size", "tap"].map((name) => this.choices[name].field.selectedIndex);
      this.query = query;
      this.choices.case.field.disabled = size === 0;
      const { versions } = data.queries[query];
      const clean = versions[0];
      const version = size === 0 ? clean : versions.find((one) => one.case === attack && one.size === size - 1);
      const queries = [this.seen(clean, "query")];
      if (version !== clean) {
        queries.push(this.seen(version, "attacked", `realized ${version.realized.toPrecision(3)}`));
        queries.push(this.picture(version.difference, "difference amplified", "", `difference × ${version.gain.toPrecision(3)}`));
      }
      const neighbors = version.neighbors[tap].map((one, n) =>
        this.seen(one, `neighbor ${n + 1}`, `distance ${one.distance.toPrecision(4)}`,
          `CBW-D ${one.weight.toPrecision(3)}`, `row ${one.row.toLocaleString("en")}`));
      this.shown.replaceChildren(
        node("div", { class: "pictures" }, ...queries), node("div", { class: "pictures" }, ...neighbors));
    }
  }

  const near = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      const parts = [...target.querySelectorAll(":scope > script")].map((part) => JSON.parse(part.textContent));
      new Inspector(target, ...parts);
    }
  }, { rootMargin: "800px" });
  document.querySelectorAll('.live[data-kind="neighbors"]').forEach((live) => near.observe(live));
})();
