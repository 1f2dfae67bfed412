
const QUANTITIES = { phase: "phase", amplitude: "amplitude", complex: "complex (phase as hue)", uncertainty: "uncertainty (90 % radius)" };
const MAP_NAMES = [["gray", "grey"], ["viridis", "viridis"], ["cividis", "cividis"], ["magma", "magma"], ["inferno", "inferno"], ["twilight", "twilight (cyclic)"]];

// The pictures of a result: zoom, cursor, profile, limits, ramp, another result behind a slider.
class Viewer {
  constructor(place, layer, tables, onpick) {
    Object.assign(this, { a: layer, b: null, tables, onpick, split: 0.5, ramp: [0, 0], tool: "move" });
    Object.assign(this, { cursor: null, line: null, ring: null, dots: null, made: new Map(), own: {} });
    this.about = [layer.origin[0] + (layer.height * layer.step) / 2, layer.origin[1] + (layer.width * layer.step) / 2];
    this.quantity = "phase";
    this.canvas = h("canvas", {
      tabindex: 0, class: "picture", role: "application",
      "aria-label": "Picture of the object. Arrow keys move the cursor, with shift faster; plus and minus zoom, 0 shows all, p sets the two ends of a profile, Enter chooses the nearest position.",
    });
    this.bar = h("canvas", { class: "bar", "aria-hidden": true });
    this.ends = h("div", { class: "ends" });
    this.text = h("output", { class: "reading" }, "Move over the picture to read values.");
    this.profile = h("div", { class: "profile" });
    this.status = h("p", { class: "note", role: "status" });
    // Below the picture whose parting line it moves.
    this.slider = h("input", {
      type: "range", min: 0, max: 1000, value: 500, hidden: true, class: "parting", "aria-label": "how much of this result is shown, from left to right",
      oninput: () => { this.split = this.slider.value / 1000; this.draw(); },
    });
    this.sides = h("div", { class: "ends", hidden: true });
    place.append(
      h("div", { class: "stage" }, this.canvas, this.slider, this.sides, this.bar, this.ends, this.text, this.profile),
      this.controls());
    const wide = layer.width / layer.height;
    this.canvas.style.aspectRatio = String(Math.max(0.8, Math.min(wide, 6)));
    place.classList.toggle("flat", wide > 2.6);
    this.listen();
    this.choose("phase");
    new ResizeObserver(() => this.fit()).observe(this.canvas);
  }

  controls() {
    // What else there is, as slices of a thick sample, has its own name.
    const known = Object.entries(QUANTITIES).filter(([name]) => name === "complex" || this.a.maps[name])
      .concat(Object.keys(this.a.maps).filter((name) => !QUANTITIES[name]).map((name) => [name, name]));
    this.lowBox = h("input", { type: "number", step: "any", onchange: () => this.setLimits() });
    this.highBox = h("input", { type: "number", step: "any", onchange: () => this.setLimits() });
    this.lowSlide = h("input", { type: "range", min: 0, max: 1000, "aria-label": "lower limit", oninput: () => this.slid() });
    this.highSlide = h("input", { type: "range", min: 0, max: 1000, "aria-label": "upper limit", oninput: () => this.slid() });
    this.mapBox = choices(MAP_NAMES, "gray", (name) => { this.own[this.quantity].colours = name; this.changed(); });
    const ramp = (axis) => h("input", {
      type: "number", step: 0.0005, value: 0,
      onchange: (event) => { this.ramp[axis] = Number(event.target.value) || 0; this.changed(); },
    });
    this.rampBoxes = [ramp(0), ramp(1)];
    const file = h("input", { type: "file", accept: ".html,text/html", onchange: () => this.open(file.files[0]) });
    const tool = (name, words) => h("button", { type: "button", "aria-pressed": String(name === this.tool), onclick: () => this.take(name) }, words);
    this.tools = { move: tool("move", "Move"), line: tool("line", "Profile") };
    const dots = h("input", { type: "checkbox", onchange: () => { this.showDots = dots.checked; this.draw(); } });
    this.limitPart = h("fieldset", {}, h("legend", {}, "Limits and colours"),
      labelled("from", this.lowBox), this.lowSlide, labelled("to", this.highBox), this.highSlide,
      labelled("colours", this.mapBox),
      h("button", { type: "button", onclick: () => { delete this.own[this.quantity]; this.choose(this.quantity); } }, "As found"));
    this.rampPart = h("fieldset", {}, h("legend", {}, "Phase ramp taken off [rad/px]"),
      labelled("down", this.rampBoxes[0]), labelled("across", this.rampBoxes[1]),
      h("button", { type: "button", onclick: () => this.setRamp(rampOf(this.a)) }, "Flatten"),
      h("button", { type: "button", onclick: () => this.setRamp([0, 0]) }, "None"));
    return h("div", { class: "controls" },
      labelled("show", choices(known, "phase", (name) => this.choose(name))),
      h("div", { class: "buttons" }, this.tools.move, this.tools.line,
        h("button", { type: "button", onclick: () => this.zoom(1.5) }, "+"),
        h("button", { type: "button", onclick: () => this.zoom(1 / 1.5) }, "−"),
        h("button", { type: "button", onclick: () => this.fit() }, "All"),
        h("button", { type: "button", onclick: () => this.save() }, "Save PNG")),
      h("label", { class: "tick" }, dots, h("span", {}, "scan positions")),
      this.limitPart, this.rampPart,
      h("fieldset", {}, h("legend", {}, "Another result behind a slider"),
        labelled("its report.html", file), this.status));
  }

  choose(name) {
    this.quantity = name;
    const map = this.a.maps[name === "complex" ? "amplitude" : name];
    if (!this.own[name]) {
      this.own[name] = { low: name === "complex" ? 0 : map.limits[0], high: map.limits[1], colours: map.colours };
    }
    const own = this.own[name];
    this.range = [Math.min(map.low, own.low), Math.max(map.high, own.high)];
    this.mapBox.value = own.colours;
    this.mapBox.disabled = name === "complex";
    this.rampPart.hidden = !["phase", "complex"].includes(name);
    this.showLimits();
    this.changed();
  }

  showLimits() {
    const { low, high } = this.own[this.quantity];
    this.lowBox.value = Number(low.toPrecision(4));
    this.highBox.value = Number(high.toPrecision(4));
    const share = (v) => Math.round((1000 * (v - this.range[0])) / (this.range[1] - this.range[0] || 1));
    this.lowSlide.value = share(low);
    this.highSlide.value = share(high);
  }

  setLimits() {
    const low = Number(this.lowBox.value), high = Number(this.highBox.value);
    if (this.lowBox.value !== "" && this.highBox.value !== "" && low < high) Object.assign(this.own[this.quantity], { low, high });
    this.showLimits();
    this.changed();
  }

  slid() {
    const value = (slide) => this.range[0] + (slide.value / 1000) * (this.range[1] - this.range[0]);
    const low = value(this.lowSlide), high = value(this.highSlide);
    if (low < high) Object.assign(this.own[this.quantity], { low, high });
    this.showLimits();
    this.changed();
  }

  setRamp(ramp) {
    this.ramp = ramp;
    this.rampBoxes.forEach((box, axis) => { box.value = Number(ramp[axis].toPrecision(4)); });
    this.changed();
  }

  take(name) {
    this.tool = name;
    for (const [key, button] of Object.entries(this.tools)) button.setAttribute("aria-pressed", String(key === name));
  }

  async open(file) {
    if (!file) return;
    try {
      this.compare(await layerOf(dataIn(await file.text())));
    } catch (error) {
      this.status.textContent = `That cannot be shown: ${error.message}.`;
    }
  }

  compare(other) {
    if (other.pixel && this.a.pixel) other.factor = other.pixel / this.a.pixel;
    this.b = other;
    // Two results of one scan have its name.
    this.names = other.name === this.a.name ? [`${this.a.name} (this one)`, `${other.name} (the other)`] : [this.a.name, other.name];
    this.slider.hidden = this.sides.hidden = false;
    this.sides.replaceChildren(...this.names.map((name, k) => h("span", {}, k ? `${name} →` : `← ${name}`)));
    this.status.textContent = `Shown to the right of the line in the picture: ${this.names[1]}.`;
    this.changed();
  }

  changed() {
    this.made.clear();
    this.draw();
    this.drawBar();
    this.drawProfile();
  }

  // The value of a layer at a scan position: {value, code} of what is shown, NaN outside.
  valueAt(layer, y, x, quantity = this.quantity) {
    const map = layer.maps[quantity];
    if (!map) return { value: NaN };
    const row = Math.round((y / layer.factor - layer.origin[0]) / layer.step);
    const column = Math.round((x / layer.factor - layer.origin[1]) / layer.step);
    if (row < 0 || column < 0 || row >= layer.height || column >= layer.width) return { value: NaN };
    const k = row * layer.width + column;
    return { value: this.shown(layer, map, k), code: map.codes[k] };
  }

  shown(layer, map, k) {
    const value = map.values[k];
    if (map.name !== "phase") return value;
    const own = this.own.phase || { low: -Math.PI, high: Math.PI };
    if (!this.ramp[0] && !this.ramp[1] && layer === this.a && !this.a.cyclic) return value;
    const y = layer.origin[0] + Math.floor(k / layer.width) * layer.step;
    const x = layer.origin[1] + (k % layer.width) * layer.step;
    const middle = Math.abs(own.high - own.low) > 6.2 ? 0 : (own.low + own.high) / 2;
    return ramped(value, y, x, this.ramp, this.about, middle);
  }

  paintedLayer(layer) {
    if (this.made.has(layer)) return this.made.get(layer);
    const own = this.own[this.quantity], span = own.high - own.low || 1;
    const { maps, width, height } = layer;
    let colour;
    if (this.quantity === "complex") {
      colour = (k) => {
        const size = maps.amplitude.values[k];
        if (!Number.isFinite(size)) return null;
        const hue = this.shown(layer, maps.phase, k) / (2 * Math.PI);
        return hueColour(hue - Math.floor(hue), Math.max(0, Math.min(1, (size - own.low) / span)));
      };
    } else {
      const map = maps[this.quantity], table = this.tables[own.colours];
      colour = (k) => {
        const value = map ? this.shown(layer, map, k) : NaN;
        return Number.isFinite(value) ? tabled(table, (value - own.low) / span) : null;
      };
    }
    const made = painted(width, height, colour);
    this.made.set(layer, made);
    return made;
  }

  fit() {
    const box = this.canvas.getBoundingClientRect();
    if (!box.width) return;
    const { a } = this;
    this.scale = Math.min(box.width / (a.width * a.step), box.height / (a.height * a.step));
    this.y = this.about[0] - a.step / 2 - box.height / this.scale / 2;
    this.x = this.about[1] - a.step / 2 - box.width / this.scale / 2;
    this.smallest = this.scale / 4;
    this.draw();
  }

  zoom(by, at = null) {
    const box = this.canvas.getBoundingClientRect();
    const [px, py] = at || [box.width / 2, box.height / 2];
    const scale = Math.max(this.smallest, Math.min(this.scale * by, 64));
    this.x += px / this.scale - px / scale;
    this.y += py / this.scale - py / scale;
    this.scale = scale;
    this.draw();
  }

  // The cursor stays on the picture, and where it is can be seen.
  moveCursor(by) {
    const clamped = (v, low, high) => Math.max(low, Math.min(v, high));
    const { origin, step, height, width } = this.a;
    const last = [height, width].map((count, axis) => origin[axis] + (count - 1) * step);
    this.cursor = this.cursor.map((v, axis) => clamped(v + by[axis], origin[axis], last[axis]));
    const box = this.canvas.getBoundingClientRect();
    const [px, py] = this.onCanvas(this.cursor);
    this.x += (px - clamped(px, 0, box.width)) / this.scale;
    this.y += (py - clamped(py, 0, box.height)) / this.scale;
  }

  onCanvas([y, x]) { return [(x - this.x) * this.scale, (y - this.y) * this.scale]; }
  inScan([px, py]) { return [this.y + py / this.scale, this.x + px / this.scale]; }

  draw() {
    if (!this.scale) return;
    const { pen, width, height } = fitted(this.canvas);
    pen.fillStyle = cssColour("--panel");
    pen.fillRect(0, 0, width, height);
    const cut = this.b ? width * this.split : width;
    this.drawLayer(pen, this.a, 0, cut, height);
    if (this.b) {
      this.drawLayer(pen, this.b, cut, width, height);
      pen.fillStyle = "#ff8c00";
      pen.fillRect(cut - 1, 0, 2, height);
    }
    if (this.showDots && this.dots) {
      pen.fillStyle = "#39d0ff";
      const size = Math.max(1, Math.min(4, this.scale / 2));
      for (let k = 0; k < this.dots.y.length; k++) {
        const [px, py] = this.onCanvas([this.dots.y[k], this.dots.x[k]]);
        pen.fillRect(px - size / 2, py - size / 2, size, size);
      }
    }
    if (this.line) this.stroke(pen, () => { pen.moveTo(...this.onCanvas(this.line[0])); pen.lineTo(...this.onCanvas(this.line[1])); });
    if (this.ring) this.stroke(pen, () => pen.arc(...this.onCanvas(this.ring), 8, 0, 7));
    if (this.cursor) {
      const [px, py] = this.onCanvas(this.cursor);
      this.stroke(pen, () => { pen.moveTo(px - 8, py); pen.lineTo(px + 8, py); pen.moveTo(px, py - 8); pen.lineTo(px, py + 8); });
    }
    drawScale(pen, this.a.pixel, this.scale, width, height);
  }

  drawLayer(pen, layer, from, to, height) {
    const f = layer.factor;
    const edge = [(layer.origin[0] - layer.step / 2) * f, (layer.origin[1] - layer.step / 2) * f];
    const [px, py] = this.onCanvas(edge);
    const size = this.scale * layer.step * f;
    pen.save();
    pen.beginPath();
    pen.rect(from, 0, to - from, height);
    pen.clip();
    pen.imageSmoothingEnabled = size < 1;
    pen.drawImage(this.paintedLayer(layer), px, py, layer.width * size, layer.height * size);
    pen.restore();
  }

  stroke(pen, path) {
    for (const [colour, width] of [["#000000", 3.5], ["#ffcf40", 1.6]]) {
      pen.strokeStyle = colour;
      pen.lineWidth = width;
      pen.beginPath();
      path();
      pen.stroke();
    }
  }

  drawBar() {
    const own = this.own[this.quantity];
    const table = this.tables[own.colours];
    const { pen, width, height } = fitted(this.bar);
    const colour = this.quantity === "complex" ? (k) => hueColour(((k / 256) + 0.5) % 1, 1) : (k) => tabled(table, k / 255);
    pen.imageSmoothingEnabled = true;
    pen.drawImage(painted(256, 1, colour), 0, 0, width, height);
    const unit = this.unitOf(this.quantity);
    const ends = this.quantity === "complex"
      ? ["−π rad", `hue: phase; brightness: amplitude ${brief(own.low)} to ${brief(own.high)}`, "π rad"]
      : [brief(own.low) + unit, QUANTITIES[this.quantity] || this.quantity, brief(own.high) + unit];
    this.ends.replaceChildren(...ends.map((words) => h("span", {}, words)));
  }

  unitOf(name) {
    const map = this.a.maps[name];
    return map && map.unit ? ` ${map.unit}` : "";
  }

  read() {
    if (!this.cursor) return;
    const [y, x] = this.cursor;
    const place = this.a.pixel ? ` (${lengthText(y * this.a.pixel)}, ${lengthText(x * this.a.pixel)})` : "";
    const told = (name) => QUANTITIES[name] || name === this.quantity;
    const words = (layer) => Object.keys(layer.maps).filter(told).map((name) => {
      const { value, code } = this.valueAt(layer, y, x, name);
      const beyond = code === 1 ? "≤ " : code === 4095 ? "≥ " : "";
      return `${name} ${beyond}${brief(value)}${layer.maps[name].unit ? ` ${layer.maps[name].unit}` : ""}`;
    }).join(", ");
    let text = `y ${brief(y, 5)}, x ${brief(x, 5)} px${place}: ${words(this.a)}`;
    if (this.b) text += ` | ${this.names[1]}: ${words(this.b)}`;
    this.text.textContent = text;
  }

  drawProfile() {
    if (!this.line) { this.profile.replaceChildren(); return; }
    const [[y0, x0], [y1, x1]] = this.line;
    const length = Math.hypot(y1 - y0, x1 - x0);
    const count = Math.max(2, Math.min(2000, Math.ceil(length / this.a.step) + 1));
    const quantity = this.quantity === "complex" ? "amplitude" : this.quantity;
    const unit = this.a.pixel ? 1e6 * this.a.pixel : 1;
    const at = Array.from({ length: count }, (_, k) => k / (count - 1));
    const series = [this.a, ...(this.b ? [this.b] : [])].map((layer, which) => ({
      name: this.b ? this.names[which] : layer.name,
      x: at.map((t) => t * length * unit),
      y: at.map((t) => this.valueAt(layer, y0 + t * (y1 - y0), x0 + t * (x1 - x0), quantity).value),
    }));
    const made = chart(series, { title: `Profile of the ${quantity}`, x: this.a.pixel ? "distance [µm]" : "distance [px]", y: this.unitOf(quantity).trim() });
    this.profile.replaceChildren(...(made ? [made, h("button", { type: "button", onclick: () => { this.line = null; this.draw(); this.drawProfile(); } }, "Remove the profile")] : []));
  }

  save() {
    this.canvas.toBlob((blob) => {
      const link = h("a", { href: URL.createObjectURL(blob), download: `${this.quantity.replace(": ", "-").replace(" ", "-")}.png` });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });
  }

  listen() {
    const { canvas } = this;
    const pointers = new Map();
    let begun = null, moved = false, apart = 0;
    const spread = () => { const [a, b] = [...pointers.values()]; return Math.hypot(a[0] - b[0], a[1] - b[1]); };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, placeOn(canvas, event));
      begun = placeOn(canvas, event);
      moved = false;
      if (pointers.size === 2) apart = spread();
    });
    canvas.addEventListener("pointermove", (event) => {
      const at = placeOn(canvas, event);
      const before = pointers.get(event.pointerId);
      this.cursor = this.inScan(at);
      if (before) {
        pointers.set(event.pointerId, at);
        if (Math.hypot(at[0] - begun[0], at[1] - begun[1]) > 4) moved = true;
        if (pointers.size === 2) {
          this.zoom(spread() / (apart || 1), at);
          apart = spread();
        } else if (this.tool === "line" && moved) {
          this.line = [this.inScan(begun), this.inScan(at)];
          this.drawProfile();
        } else if (moved) {
          this.x -= (at[0] - before[0]) / this.scale;
          this.y -= (at[1] - before[1]) / this.scale;
        }
      }
      this.read();
      this.draw();
    });
    const ended = (event) => {
      if (event.type === "pointerup" && !moved && pointers.size === 1) this.onpick(this.inScan(placeOn(canvas, event)));
      pointers.delete(event.pointerId);
    };
    canvas.addEventListener("pointerup", ended);
    canvas.addEventListener("pointercancel", ended);
    canvas.addEventListener("pointerleave", () => { if (!pointers.size) { this.cursor = null; this.draw(); } });
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY / 400), placeOn(canvas, event));
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
      if (!this.cursor) this.cursor = [...this.about];
      if (steps[event.key]) {
        this.moveCursor(steps[event.key].map((v) => v * this.a.step * (event.shiftKey ? 10 : 1)));
        this.read();
      } else if (event.key === "+" || event.key === "=") this.zoom(1.5, this.onCanvas(this.cursor));
      else if (event.key === "-") this.zoom(1 / 1.5, this.onCanvas(this.cursor));
      else if (event.key === "0") this.fit();
      else if (event.key === "p") {
        this.line = this.from ? [this.from, [...this.cursor]] : null;
        this.from = this.from ? null : [...this.cursor];
        this.drawProfile();
      } else if (event.key === "Enter") this.onpick(this.cursor);
      else return;
      event.preventDefault();
      this.draw();
    });
  }
}
