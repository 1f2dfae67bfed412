
function showProbe(place, probe, data) {
  const [count, , height, width] = probe.shape, size = height * width;
  for (let mode = 0; mode < count; mode++) {
    const from = 2 * mode * size;
    const picture = painted(width, height, (k) => hueColour(probe.values[from + size + k] / 255, probe.values[from + k] / 255));
    picture.className = "pattern";
    picture.setAttribute("role", "img");
    picture.setAttribute("aria-label", `mode ${mode + 1} of the probe`);
    const share = `mode ${mode + 1}: ${brief(100 * data.shares[mode], 3)} % of the power`;
    place.append(h("figure", {}, picture, h("figcaption", {}, count > 1 ? share : "one mode")));
  }
  if (data.count > count) place.append(h("p", { class: "note" }, `The first ${count} of ${data.count} modes.`));
}

function showCurves(place, data) {
  const passes = data.losses.map((v) => (v === null ? NaN : v));
  if (passes.some(Number.isFinite)) {
    const x = passes.map((_, k) => k + 1);
    place.append(chart([{ name: "misfit", x, y: passes }], { title: "Misfit against pass", x: "pass", y: "misfit", log: true }));
  }
  for (const [key, of, second] of [["halves", "two halves of the patterns", "one_bit"], ["truth", "result and truth", null]]) {
    const rings = data[key];
    if (!rings) continue;
    const series = [
      { name: "correlation", x: rings.frequency, y: rings.correlation },
      { name: "1/2 bit", x: rings.frequency.slice(1), y: rings.half_bit.slice(1) },
    ];
    if (second) series.push({ name: "1 bit", x: rings.frequency.slice(1), y: rings.one_bit.slice(1) });
    place.append(chart(series, { title: `Ring correlation of ${of}`, x: "spatial frequency / Nyquist", y: "", low: Math.min(0, ...rings.correlation), high: 1.02 }));
  }
}

async function positionsOf(data) {
  const found = { count: data.positions.count, note: data.patterns_note || "This file holds no patterns." };
  for (const [name, packed] of Object.entries(data.positions)) {
    if (name !== "count") found[name] = (await unpacked(packed)).values;
  }
  if (data.patterns) {
    const planes = [[], [], []];
    for (const group of data.patterns.groups) {
      for (let plane = 0; plane < 3; plane++) planes[plane].push((await unpacked(group[plane])).values);
    }
    const joined = planes.map((parts) => {
      const made = new parts[0].constructor(parts.reduce((n, part) => n + part.length, 0));
      parts.reduce((at, part) => { made.set(part, at); return at + part.length; }, 0);
      return made;
    });
    found.patterns = { ...data.patterns, planes: joined, hidden: (await unpacked(data.patterns.hidden)).values, sigma: data.unit.sigma_levels };
  }
  return found;
}

async function begin() {
  const data = JSON.parse(document.getElementById("data").textContent);
  const tables = {};
  for (const [name, packed] of Object.entries(data.colours)) tables[name] = (await unpacked(packed)).values;
  const [layer, places, probe] = await Promise.all([layerOf(data), positionsOf(data), unpacked(data.probe.modes)]);
  let positions = null;
  const viewer = new Viewer(document.getElementById("viewer"), layer, tables, (at) => positions.nearest(at));
  viewer.dots = places;
  const beside = document.getElementById("beside");
  if (beside) {
    const two = JSON.parse(beside.textContent);
    viewer.a.name = two.own;
    viewer.compare(await layerOf(two.other));
  } else if (data.other) viewer.compare(await layerOf(data.other));
  positions = new Positions(document.getElementById("positions"), places, tables, (at) => {
    viewer.ring = at;
    viewer.draw();
  });
  showProbe(document.getElementById("probe"), probe, data.probe);
  showCurves(document.getElementById("curves"), data);
  for (const button of document.querySelectorAll("button[data-copy]")) {
    button.addEventListener("click", () => {
      const range = document.createRange();
      range.selectNodeContents(document.getElementById(button.dataset.copy));
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      document.execCommand("copy");
      button.textContent = "Copied";
    });
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { viewer.changed(); positions.draw(); });
  document.documentElement.dataset.ready = "yes";
}

begin().catch((error) => {
  document.getElementById("trouble").textContent = `The pictures cannot be shown: ${error.message}. A browser from 2023 or later is needed.`;
  document.documentElement.dataset.ready = "no";
});
