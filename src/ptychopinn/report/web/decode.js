"use strict";

// Arrays as ptychopinn/report/packed.py writes them: base64 of zlib.
async function inflated(text) {
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// {shape, values}; a map has its codes as well: 0 where nothing is known, 1 and 4095 at its ends.
async function unpacked(packed) {
  const bytes = await inflated(packed.data);
  const count = packed.shape.reduce((a, b) => a * b, 1);
  if (packed.kind === "u1") return { shape: packed.shape, values: bytes };
  if (packed.kind === "i1") return { shape: packed.shape, values: new Int8Array(bytes.buffer) };
  if (packed.kind === "f4") {
    const whole = new Uint8Array(4 * count);
    for (let k = 0; k < count; k++) {
      for (let b = 0; b < 4; b++) whole[4 * k + b] = bytes[b * count + k];
    }
    return { shape: packed.shape, values: new Float32Array(whole.buffer) };
  }
  const [height, width] = packed.shape;
  const codes = new Uint16Array(count);
  const values = new Float32Array(count);
  const step = (packed.high - packed.low) / 4094;
  for (let row = 0; row < height; row++) {
    let code = 0;
    for (let k = row * width; k < (row + 1) * width; k++) {
      code = (code + bytes[k] + 256 * bytes[count + k]) & 65535;
      codes[k] = code;
      values[k] = code === 0 ? NaN : packed.low + (code - 1) * step;
    }
  }
  return { shape: packed.shape, values, codes };
}

// The maps of a page, by name, and where they lie: origin (y, x) of the middle of the first pixel
// and the step to the next one, in scan positions.
async function layerOf(data) {
  const maps = {};
  for (const one of data.maps) {
    maps[one.name] = { ...one, ...(await unpacked(one)), data: null };
  }
  const [height, width] = data.maps[0].shape;
  return {
    name: data.name, maps, height, width, step: data.step, origin: data.origin,
    pixel: data.pixel_m, cyclic: data.cyclic, factor: 1,
  };
}

// The data in the text of another page.
function dataIn(text) {
  const page = new DOMParser().parseFromString(text, "text/html");
  const found = page.getElementById("data");
  if (!found) throw new Error("this file is no report of ptychopinn");
  const data = JSON.parse(found.textContent);
  if (data.format !== "ptychopinn-report" || data.version !== 1) {
    throw new Error("this report is of another version");
  }
  return data;
}

// Phases without a ramp (rad per position, y and x) around `about`, between middle - pi and
// middle + pi.
function ramped(value, y, x, ramp, about, middle) {
  const turned = value - ramp[0] * (y - about[0]) - ramp[1] * (x - about[1]) - middle;
  return turned - 2 * Math.PI * Math.round(turned / (2 * Math.PI)) + middle;
}

// The mean ramp (rad per position, y and x) of a layer: from the differences of neighbours.
function rampOf(layer) {
  const { values, shape: [height, width] } = layer.maps.phase;
  const found = [];
  for (const [down, right] of [[1, 0], [0, 1]]) {
    let re = 0, im = 0;
    for (let row = 0; row + down < height; row++) {
      for (let column = 0; column + right < width; column++) {
        const k = row * width + column;
        const step = values[k + down * width + right] - values[k];
        if (Number.isFinite(step)) { re += Math.cos(step); im += Math.sin(step); }
      }
    }
    found.push(Math.atan2(im, re) / layer.step);
  }
  return found;
}

// Round numbers between two, about `most` of them.
function roundNumbers(low, high, most) {
  const span = high - low;
  if (!(span > 0)) return [low];
  const power = 10 ** Math.floor(Math.log10(span / most));
  const step = [1, 2, 5, 10].map((f) => f * power).find((s) => span / s <= most) || 10 * power;
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * span; k++) {
    found.push(Number((k * step).toPrecision(12)));
  }
  return found;
}

// A number with a few digits.
function brief(value, digits = 4) {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(digits - 2);
  return String(Number(value.toPrecision(digits))).replace("-", "−");
}

// A length in a unit that suits it.
function lengthText(metres) {
  const units = [[1, "m"], [1e-3, "mm"], [1e-6, "µm"], [1e-9, "nm"], [1e-12, "pm"]];
  const [size, name] = units.find(([s]) => Math.abs(metres) >= 0.999 * s) || units[4];
  return `${brief(metres / size)} ${name}`;
}

if (typeof module !== "undefined") {
  module.exports = { unpacked, layerOf, ramped, rampOf, roundNumbers, brief, lengthText };
}
