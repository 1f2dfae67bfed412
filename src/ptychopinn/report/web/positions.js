
// Where the patterns were taken and how they fit; a chosen one beside what is modelled there.
class Positions {
  constructor(place, data, tables, onchange) {
    Object.assign(this, { data, tables, onchange, kind: data.residual ? "residual" : "number", chosen: 0 });
    const { patterns } = data;
    this.place = new Map(Array.from(data.number, (number, k) => [number, k]));
    this.offered = patterns ? patterns.numbers.filter((n) => this.place.has(n)) : Array.from(data.number);
    this.sample = new Set(this.offered);
    this.canvas = h("canvas", { class: "places", tabindex: 0, role: "application", "aria-label": "Scan positions. Left and right arrow choose the previous and the next position of which there are patterns." });
    this.bar = h("canvas", { class: "bar", "aria-hidden": true });
    this.ends = h("div", { class: "ends" });
    this.text = h("output", { class: "reading" });
    this.frames = h("div", { class: "frames" });
    const kinds = [["residual", "residual"], ["ratio", "residual over photon noise"], ["moved", "how far it moved [px]"], ["number", "number in the scan"]]
      .filter(([name]) => (name === "moved" ? data.moved_y : name === "number" || data.residual));
    const told = patterns ? Object.entries(patterns.told) : [];
    place.append(
      h("div", { class: "stage" },
        labelled("colour", choices(kinds, this.kind, (name) => { this.kind = name; this.draw(); })),
        this.canvas, this.bar, this.ends),
      h("div", { class: "controls" },
        h("div", { class: "buttons" },
          ...told.map(([words, number]) => h("button", { type: "button", onclick: () => this.choose(number) }, words[0].toUpperCase() + words.slice(1))),
          h("button", { type: "button", onclick: () => this.step(-1) }, "Previous"),
          h("button", { type: "button", onclick: () => this.step(1) }, "Next")),
        this.text, this.frames,
        patterns ? null : h("p", { class: "note" }, data.note),
        patterns && this.offered.length < data.count ? h("p", { class: "note" }, `This file holds the patterns of ${this.offered.length} of ${data.count} positions (the large dots): those that fit best and worst, and others from everywhere.`) : null,
        patterns && patterns.block > 1 ? h("p", { class: "note" }, `Patterns are summed over ${patterns.block} x ${patterns.block} pixels.`) : null));
    const span = (values) => { const [low, high] = ends(values); return high - low || 1; };
    const wide = span(data.x) / span(data.y);
    this.canvas.style.aspectRatio = String(Math.max(0.8, Math.min(wide, 6)));
    place.classList.toggle("flat", wide > 2.6);
    this.canvas.addEventListener("click", (event) => this.nearest(this.inScan(placeOn(this.canvas, event))));
    this.canvas.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
      if (by) { event.preventDefault(); this.step(by); }
    });
    new ResizeObserver(() => this.draw()).observe(this.canvas);
    this.choose(told.length ? patterns.told.worst : this.offered[0]);
  }

  values() {
    const { data } = this;
    if (this.kind === "ratio") return data.residual.map((v, k) => v / data.expected[k]);
    if (this.kind === "moved") return data.moved_y.map((v, k) => Math.hypot(v, data.moved_x[k]));
    return data[this.kind];
  }

  frame(width, height) {
    const { y, x } = this.data;
    const [y0, y1] = ends(y), [x0, x1] = ends(x);
    const scale = Math.min((width - 24) / (x1 - x0 || 1), (height - 24) / (y1 - y0 || 1));
    return { scale, top: height / 2 - (scale * (y0 + y1)) / 2, left: width / 2 - (scale * (x0 + x1)) / 2 };
  }

  inScan([px, py]) {
    const box = this.canvas.getBoundingClientRect();
    const { scale, top, left } = this.frame(box.width, box.height);
    return [(py - top) / scale, (px - left) / scale];
  }

  nearest([y, x]) {
    let best = -1, least = Infinity;
    for (const number of this.offered) {
      const k = this.place.get(number);
      const away = (this.data.y[k] - y) ** 2 + (this.data.x[k] - x) ** 2;
      if (away < least) { least = away; best = number; }
    }
    if (best >= 0) this.choose(best);
  }

  step(by) {
    const sorted = [...this.offered].sort((a, b) => a - b);
    const at = sorted.indexOf(this.chosen);
    this.choose(sorted[(at + by + sorted.length) % sorted.length]);
  }

  draw() {
    const { pen, width, height } = fitted(this.canvas);
    const { data } = this;
    const { scale, top, left } = this.frame(width, height);
    const values = this.values();
    const sorted = Array.from(values).filter(Number.isFinite).sort((a, b) => a - b);
    const share = (q) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
    const [low, high] = sorted.length ? [share(0.01), share(0.99)] : [0, 1];
    const table = this.tables[this.kind === "number" ? "viridis" : "magma"];
    const dark = cssColour("--dark") === "1";
    const turned = this.kind !== "number" && !dark;
    // Without the end that would vanish in the ground.
    const shade = (s) => tabled(table, turned ? 0.9 * (1 - s) : 0.2 + 0.8 * s);
    const colour = (v) => `rgb(${shade(Math.max(0, Math.min(1, (v - low) / (high - low || 1))))})`;
    pen.fillStyle = cssColour("--panel");
    pen.fillRect(0, 0, width, height);
    const radius = Math.max(1.2, Math.min(7, 0.35 * Math.sqrt((width * height) / values.length)));
    for (let k = 0; k < values.length; k++) {
      const large = this.sample.has(data.number[k]);
      pen.beginPath();
      pen.arc(left + scale * data.x[k], top + scale * data.y[k], large ? radius : 0.55 * radius, 0, 7);
      if (Number.isFinite(values[k])) { pen.fillStyle = colour(values[k]); pen.fill(); }
      else { pen.strokeStyle = cssColour("--ink"); pen.lineWidth = 0.7; pen.stroke(); }
    }
    const k = this.place.get(this.chosen);
    if (k !== undefined) {
      for (const [line, wide] of [[cssColour("--panel"), 5], ["#0a84c6", 2.4]]) {
        pen.strokeStyle = line;
        pen.lineWidth = wide;
        pen.beginPath();
        pen.arc(left + scale * data.x[k], top + scale * data.y[k], radius + 4, 0, 7);
        pen.stroke();
      }
    }
    const bar = fitted(this.bar);
    bar.pen.imageSmoothingEnabled = true;
    bar.pen.drawImage(painted(256, 1, (n) => shade(n / 255)), 0, 0, bar.width, bar.height);
    this.ends.replaceChildren(h("span", {}, brief(low)), h("span", {}, brief(high)));
  }

  choose(number) {
    this.chosen = number;
    const k = this.place.get(number);
    const { data } = this;
    const parts = [`Position ${number}: y ${brief(data.y[k], 5)}, x ${brief(data.x[k], 5)} px`];
    if (data.residual) parts.push(`residual ${brief(data.residual[k])}, photon noise ${brief(data.expected[k])}`);
    if (data.moved_y) parts.push(`moved by ${brief(data.moved_y[k], 3)}, ${brief(data.moved_x[k], 3)} px`);
    this.text.textContent = parts.join("; ");
    this.drawPatterns();
    this.draw();
    this.onchange([data.y[k], data.x[k]]);
  }

  drawPatterns() {
    const { patterns } = this.data;
    if (!patterns) return;
    const at = patterns.numbers.indexOf(this.chosen), { side, high, hidden, sigma } = patterns;
    const size = side * side;
    const reading = h("output", { class: "reading" });
    const made = [["measured", 0], ["modelled", 1], ["modelled − measured", 2]].map(([words, plane]) => {
      const all = patterns.planes[plane];
      const table = this.tables[plane === 2 ? "RdBu_r" : "inferno"];
      const value = (k) => all[at * size + k];
      const picture = painted(side, side, (k) => hidden[k] ? null : tabled(table, plane === 2 ? 0.5 + value(k) / (8 * sigma) : value(k) / 255));
      picture.className = "pattern";
      picture.addEventListener("pointermove", (event) => {
        const box = picture.getBoundingClientRect();
        const column = Math.floor(((event.clientX - box.left) / box.width) * side);
        const row = Math.floor(((event.clientY - box.top) / box.height) * side);
        const k = row * side + column;
        if (k < 0 || k >= size || row >= side || column >= side) return;
        const counts = (p) => Math.expm1((patterns.planes[p][at * size + k] / 255) * high);
        reading.textContent = hidden[k] ? "bad pixel" : `pixel ${row - side / 2}, ${column - side / 2} from the middle: measured ≈ ${brief(counts(0), 3)}, modelled ≈ ${brief(counts(1), 3)} counts, apart ${brief(patterns.planes[2][at * size + k] / sigma, 3)} σ`;
      });
      return h("figure", {}, picture, h("figcaption", {}, words));
    });
    this.frames.replaceChildren(...made,
      h("p", { class: "note" }, `Counts are shown as log(1 + counts), black to bright: 0 to ${brief(Math.expm1(high), 3)}; the difference from −4 to 4 standard deviations of photon noise.`), reading);
  }
}

function ends(values) {
  let low = Infinity, high = -Infinity;
  for (const v of values) {
    if (v < low) low = v;
    if (v > high) high = v;
  }
  return [low, high];
}
