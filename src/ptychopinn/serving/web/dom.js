// Small helpers that make elements. Text from outside is always text, never markup.

export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((c) => c !== null && c !== undefined && c !== false));
  return element;
}

let numbers = 0;
export const freshId = () => `id${++numbers}`;

/** A control with its label. */
export function field(label, control, { help, check = false, wide = false } = {}) {
  control.id ||= freshId();
  const note = help ? h("small", { id: freshId() }, help) : null;
  if (note) control.setAttribute("aria-describedby", note.id);
  const text = h("label", { for: control.id }, label);
  const kind = `field${check ? " check" : ""}${wide ? " wide" : ""}`;
  return h("div", { class: kind }, ...(check ? [control, text] : [text, control]), note);
}

export const badge = (word) => (word ? h("span", { class: `badge ${word}` }, word) : "");

export function digits(value, count = 3) {
  if (value === null || value === undefined) return "";
  if (value === 0) return "0";
  return Math.abs(value) < 1e-3 || Math.abs(value) >= 1e5
    ? value.toExponential(count - 1)
    : String(Number(value.toPrecision(count)));
}

export function bytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let place = 0;
  for (; count >= 1000 && place < units.length - 1; place += 1) count /= 1000;
  return `${digits(count)} ${units[place]}`;
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 100) return `${digits(seconds, 2)} s`;
  return seconds < 6000 ? `${Math.round(seconds / 60)} min` : `${digits(seconds / 3600, 2)} h`;
}

/** Day and time; the year only where it is another one. */
export function moment(seconds) {
  const when = new Date(1000 * seconds);
  const year = when.getFullYear() === new Date().getFullYear() ? {} : { year: "numeric" };
  return when.toLocaleString(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", ...year });
}

/** A sentence at the border of the window, which screen readers speak. */
export function say(text) {
  const place = document.getElementById("status");
  place.textContent = text;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => { place.textContent = ""; }, 8000);
}

export const WHAT_TO_SEND = "Where that does not help, send the developers what ptychopinn doctor --report " +
  "prints, the command with what it shows when PTYCHOPINN_DEBUG=1 is set, and run.json and log.txt of its folder " +
  "where there is one.";

export const mistake = (error) => h("div", {},
  h("p", { class: "panel mistake", role: "alert" }, error.message), h("p", { class: "faint" }, WHAT_TO_SEND));

/** Does something when a button is pressed, once at a time; a mistake is said. */
export function button(text, work, { main = false, label } = {}) {
  const made = h("button", { type: "button", class: main ? "main" : null, "aria-label": label }, text);
  made.addEventListener("click", async () => {
    made.disabled = true;
    try {
      await work();
    } catch (error) {
      say(error.message);
    } finally {
      made.disabled = false;
    }
  });
  return made;
}

const SVG = "http://www.w3.org/2000/svg";
const drawn = (tag, attributes) => {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
};

/** Misfit or loss against the pass, on a logarithmic axis where all values are positive. */
export function curve(values, name) {
  const [width, height, left, low] = [420, 130, 58, 8];
  const made = drawn("svg", { class: "curve", viewBox: `0 0 ${width} ${height}`, role: "img" });
  const scale = values.every((v) => v > 0) ? Math.log10 : (v) => v;
  const heights = values.map(scale);
  const [least, most] = [Math.min(...heights), Math.max(...heights)];
  const x = (k) => left + ((width - left - 6) * k) / Math.max(1, values.length - 1);
  const y = (v) => low + ((height - 2 * low) * (most - v)) / (most - least || 1);
  for (const value of new Set([Math.min(...values), Math.max(...values)])) {
    const at = y(scale(value));
    made.append(drawn("line", { x1: left, x2: width, y1: at, y2: at }));
    const text = drawn("text", { x: 2, y: at + 4 });
    text.textContent = digits(value);
    made.append(text);
  }
  const path = heights.map((v, k) => `${k ? "L" : "M"}${x(k).toFixed(1)} ${y(v).toFixed(1)}`);
  made.append(drawn("path", { d: path.join("") }));
  const last = values[values.length - 1];
  made.setAttribute("aria-label", `${name}: from ${digits(values[0])} to ${digits(last)}`);
  return made;
}
