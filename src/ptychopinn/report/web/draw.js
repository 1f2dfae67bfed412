
// An element; text is text, never markup.
function h(tag, attributes = {}, ...children) {
  const svg = ["svg", "g", "path", "line", "text", "circle", "rect"].includes(tag);
  const made = svg
    ? document.createElementNS("http://www.w3.org/2000/svg", tag)
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

// A labelled control.
function labelled(words, control) {
  return h("label", {}, h("span", {}, words), control);
}

function choices(options, chosen, onchange) {
  const made = h("select", { onchange: () => onchange(made.value) });
  for (const [value, words] of options) {
    made.append(h("option", { value, selected: value === chosen }, words));
  }
  return made;
}

// A canvas as large as it is shown, in pixels of the screen; its drawing is in CSS pixels.
function fitted(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const box = canvas.getBoundingClientRect();
  const width = Math.max(1, Math.round(box.width * ratio));
  const height = Math.max(1, Math.round(box.height * ratio));
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.imageSmoothingEnabled = false;
  return { pen, width: box.width, height: box.height };
}

// Where on a canvas a pointer is, in CSS pixels.
function placeOn(canvas, event) {
  const box = canvas.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
}

function cssColour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// RGB of a hue and a brightness from 0 to 1.
function hueColour(hue, value) {
  const part = (n) => {
    const k = (n + hue * 6) % 6;
    return 255 * value * (1 - Math.max(0, Math.min(k, 4 - k, 1)));
  };
  return [part(5), part(3), part(1)];
}

const UNSEEN = [198, 211, 227];

// A small canvas of width x height pixels whose colours are colour(k), null where unseen.
function painted(width, height, colour) {
  const made = h("canvas", { width, height });
  const pen = made.getContext("2d");
  const image = pen.createImageData(width, height);
  for (let k = 0; k < width * height; k++) {
    const [r, g, b] = colour(k) || UNSEEN;
    image.data[4 * k] = r;
    image.data[4 * k + 1] = g;
    image.data[4 * k + 2] = b;
    image.data[4 * k + 3] = 255;
  }
  pen.putImageData(image, 0, 0);
  return made;
}

// The colour of a share between 0 and 1 in a table of 256 colours.
function tabled(table, share) {
  const k = 3 * Math.max(0, Math.min(255, Math.round(share * 255)));
  return [table[k], table[k + 1], table[k + 2]];
}

// A chart of lines: series are {name, x, y, kind}, where kind is a class of the style sheet.
function chart(series, { title, x, y, log = false, low = null, high = null }) {
  // Several lines are named above the grid, where no line runs.
  const [width, height, left, right, bottom] = [460, 270, 62, 12, 44];
  const top = series.length > 1 ? 46 : 26;
  const numbers = (key) => series.flatMap((s) => Array.from(s[key])).filter(Number.isFinite);
  const xs = numbers("x");
  let ys = numbers("y");
  if (!xs.length || !ys.length) return null;
  const scaled = log && Math.min(...ys) > 0 ? Math.log10 : (v) => v;
  const least = xs.reduce((a, b) => Math.min(a, b)), most = xs.reduce((a, b) => Math.max(a, b));
  ys = ys.map(scaled);
  let bottomY = low === null ? ys.reduce((a, b) => Math.min(a, b)) : low;
  let topY = high === null ? ys.reduce((a, b) => Math.max(a, b)) : high;
  if (!(topY > bottomY)) { bottomY -= 0.5; topY += 0.5; }
  const margin = low === null && high === null ? 0.05 * (topY - bottomY) : 0;
  bottomY -= margin;
  topY += margin;
  const place = (v, w) => [
    left + ((v - least) / (most - least || 1)) * (width - left - right),
    height - bottom - ((w - bottomY) / (topY - bottomY)) * (height - top - bottom),
  ];
  const made = h("svg", { viewBox: `0 0 ${width} ${height}`, class: "chart", role: "img", "aria-label": title });
  made.append(h("text", { x: (left + width) / 2, y: 15, class: "name" }, title));
  for (const v of roundNumbers(least, most, 6)) {
    const [px] = place(v, bottomY);
    made.append(h("line", { x1: px, x2: px, y1: top, y2: height - bottom, class: "grid" }));
    made.append(h("text", { x: px, y: height - bottom + 16, class: "tick middle" }, brief(v)));
  }
  const ticks = scaled === Math.log10
    ? roundNumbers(0, 1, 1).length && logTicks(bottomY, topY)
    : roundNumbers(bottomY, topY, 5).map((v) => [v, brief(v)]);
  for (const [v, words] of ticks) {
    const [, py] = place(least, v);
    made.append(h("line", { x1: left, x2: width - right, y1: py, y2: py, class: "grid" }));
    made.append(h("text", { x: left - 6, y: py + 4, class: "tick end" }, words));
  }
  series.forEach((s, number) => {
    let path = "", pen = "M";
    Array.from(s.x).forEach((v, k) => {
      const w = scaled(s.y[k]);
      if (!Number.isFinite(w)) { pen = "M"; return; }
      const [px, py] = place(v, Math.max(bottomY, Math.min(topY, w)));
      path += `${pen}${px.toFixed(1)} ${py.toFixed(1)}`;
      pen = "L";
    });
    made.append(h("path", { d: path, class: `line ${s.kind || `line${number}`}` }));
    if (series.length > 1) {
      const at = left + 40 + (number * (width - left - 40)) / series.length;
      const most = Math.floor((width - left - 40) / series.length / 6.5) - 4;
      const name = s.name.length > most ? `…${s.name.slice(1 - most)}` : s.name;
      made.append(h("line", { x1: at, x2: at + 18, y1: 33, y2: 33, class: `line ${s.kind || `line${number}`}` }));
      made.append(h("text", { x: at + 23, y: 37, class: "tick" }, name));
    }
  });
  made.append(h("text", { x: (left + width) / 2, y: height - 8, class: "tick middle" }, x));
  made.append(h("text", { x: 12, y: top - 8, class: "tick" }, y));
  return made;
}

function logTicks(low, high) {
  const found = [];
  const factors = high - low > 2.5 ? [1] : [1, 2, 5];
  for (let power = Math.floor(low); power <= high; power++) {
    for (const f of factors) {
      const v = f * 10 ** power;
      if (Math.log10(v) >= low && Math.log10(v) <= high) found.push([Math.log10(v), brief(v)]);
    }
  }
  return found;
}

// A bar of a round length, for pixels of this size (m), if it is known, drawn at this scale.
function drawScale(pen, size, scale, width, height) {
  const pixel = size || 1;
  const aim = ((0.25 * Math.min(width, 700)) / scale) * pixel;
  const power = 10 ** Math.floor(Math.log10(aim));
  const length = [5, 2, 1].map((f) => f * power).find((v) => v <= aim * 1.0001);
  const words = size ? lengthText(length) : `${brief(length)} px`;
  const shown = (length / pixel) * scale;
  pen.font = "13px system-ui, sans-serif";
  const room = Math.max(shown, pen.measureText(words).width) + 16;
  pen.fillStyle = "rgba(0, 0, 0, 0.6)";
  pen.fillRect(width - room - 8, height - 42, room, 34);
  pen.fillStyle = "#ffffff";
  pen.fillRect(width - 8 - room / 2 - shown / 2, height - 17, shown, 3);
  pen.textAlign = "center";
  pen.fillText(words, width - 8 - room / 2, height - 24);
}
