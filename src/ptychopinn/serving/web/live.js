// What a job shows while it runs: the object in tiles, the probe, the patterns that fit worst.

import { digits, h } from "./dom.js";

// What was never seen has a colour: no grey, which would be a phase.
const UNSEEN = [176, 200, 230];

/** So many bytes, packed with zlib. Written by hand: a Blob and its stream go by way of another
 * process of the browser, and cost four times as much. */
async function inflated(packed, count) {
  const stream = new DecompressionStream("deflate");
  const writer = stream.writable.getWriter();
  // What is wrong with them the reader hears as well.
  for (const done of [writer.write(packed), writer.close()]) done.catch(() => {});
  const reader = stream.readable.getReader();
  const levels = new Uint8Array(count);
  for (let at = 0; ;) {
    const { done, value } = await reader.read();
    if (done) return levels;
    levels.set(value, at);
    at += value.length;
  }
}

/** A message of the server: the job, what is said about the part, and its levels. */
export async function unpacked(buffer) {
  const view = new DataView(buffer);
  const end = 8 + view.getUint32(4);
  const about = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, end - 8)));
  const count = (about.size ?? about.shape).reduce((a, b) => a * b, 1);
  const levels = await inflated(new Uint8Array(buffer, end), count);
  // A tile comes as differences from the pixel on the left.
  if (about.kind === "tile") {
    for (let k = 0; k < count; k += 1) if (k % about.size[1]) levels[k] += levels[k - 1];
  }
  return { job: view.getUint32(0), about, levels };
}

/** A colour, red, green and blue to 255, as a pixel of a picture. */
const pixel = (...colour) => new Uint32Array(new Uint8ClampedArray([...colour, 255]).buffer)[0];

/** A picture, each of whose pixels is given by its number. */
function painted(width, height, colour) {
  const image = new ImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  for (let k = 0; k < pixels.length; k += 1) pixels[k] = colour(k);
  return image;
}

const GREYS = Uint32Array.from({ length: 256 }, (_, level) => pixel(level, level, level));
const PHASES = Uint32Array.from(GREYS, (grey, level) => (level ? grey : pixel(...UNSEEN)));

function drawn(image, label) {
  const made = h("canvas", { role: "img", "aria-label": label, width: image.width, height: image.height });
  made.getContext("2d").putImageData(image, 0, 0);
  return made;
}

/** Phase as hue (0 to 1, red at 0) and amplitude as brightness (0 to 1). */
function hue(turns, value) {
  const part = (shift) => Math.min(1, Math.max(0, Math.abs(((turns + shift) % 1) * 6 - 3) - 1));
  return pixel(...[0, 2 / 3, 1 / 3].map((shift) => 255 * value * part(shift)));
}

export class LiveView {
  /** `within` hears how far the present pass is. */
  constructor(job, within) {
    this.job = job;
    this.within = within;
    this.canvas = h("canvas", { role: "img", "aria-label": `Phase of job ${job} as it is found` });
    this.limits = h("span");
    this.modes = h("div", { class: "frames" });
    this.pairs = h("div", { class: "frames" });
    this.known = h("span");
    const figure = (content, ...caption) => {
      const made = h("figure", {}, content, h("figcaption", {}, caption));
      made.hidden = true;
      return made;
    };
    this.object = figure(this.canvas, "Phase as it is found, ", this.limits, "; blue where nothing was seen.");
    this.probe = figure(this.modes, "Probe: brightness is amplitude, hue is phase.");
    this.patterns = figure(this.pairs, "Worst patterns, measured beside modelled (logarithm of photons), ", this.known, ".");
    this.elements = [h("div", { class: "live" }, this.object),
      h("div", { class: "parts" }, this.probe, this.patterns)];
    this.show(false);
    // One after another, so that no tile is painted over by an older one.
    this.last = Promise.resolve();
  }

  show(shown) {
    for (const element of this.elements) element.hidden = !shown;
  }

  /** The result stands in its place. */
  end() {
    this.ended = true;
    this.show(false);
  }

  take(buffer) {
    this.last = this.last.then(() => unpacked(buffer)).then((part) => this.draw(part));
    return this.last;
  }

  draw({ job, about, levels }) {
    if (job !== this.job || this.ended) return;
    if (about.kind === "within") return this.within(about);
    if (about.kind === "tile") this.showTile(about, levels);
    else if (about.kind === "probe") this.showProbe(about.shape, levels);
    else if (about.kind === "patterns") this.showPatterns(about, levels);
    this.show(true);
  }

  showTile({ shape: [height, width], at: [y, x], size: [rows, columns], limits: [low, high] }, levels) {
    if (this.canvas.height !== height || this.canvas.width !== width) {
      [this.canvas.height, this.canvas.width] = [height, width];
    }
    const image = painted(columns, rows, (k) => PHASES[levels[k]]);
    this.canvas.getContext("2d").putImageData(image, x, y);
    this.limits.textContent = `black ${digits(low, 2)} to white ${digits(high, 2)} rad`;
    this.object.hidden = false;
  }

  showProbe([count, , height, width], levels) {
    const size = height * width;
    const modes = Array.from({ length: count }, (_, mode) => {
      const at = 2 * mode * size;
      const image = painted(width, height, (k) => hue(levels[at + size + k] / 256, levels[at + k] / 255));
      return drawn(image, `Mode ${mode + 1} of the probe`);
    });
    this.modes.replaceChildren(...modes);
    this.probe.hidden = false;
  }

  showPatterns({ shape: [count, , height, width], numbers, misfit, known, all }, levels) {
    const size = height * width;
    const gray = (at) => painted(width, height, (k) => GREYS[levels[at + k]]);
    const pairs = Array.from({ length: count }, (_, k) => {
      const at = 2 * k * size;
      const name = `pattern ${numbers[k]}`;
      return h("div", { class: "pair" },
        drawn(gray(at), `Measured ${name}`), drawn(gray(at + size), `Modelled ${name}`),
        h("small", {}, `${name}, misfit ${digits(misfit[k], 2)}`));
    });
    this.pairs.replaceChildren(...pairs);
    this.known.textContent = `of ${known} of ${all} looked at`;
    this.patterns.hidden = false;
  }
}
