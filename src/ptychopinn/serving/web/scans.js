// Scans: those of the folder, a new one, the look at one.

import { get, post, upload } from "./api.js";
import { button, bytes, digits, field, h, mistake, moment, say } from "./dom.js";
import { findings } from "./runs.js";

const toJob = (verb, scan) => `#/jobs/${verb}/${encodeURIComponent(scan)}`;
const toScan = (scan) => `#/scan/${encodeURIComponent(scan)}`;

function uploading(largest) {
  const file = h("input", { type: "file" });
  const send = button("Upload", async () => {
    if (!file.files.length) return say("Choose a file first.");
    const [chosen] = file.files;
    if (chosen.size > largest) {
      return say(`At most ${bytes(largest)} may be uploaded; put the file into the folder itself.`);
    }
    say(`Uploading ${chosen.name} (${bytes(chosen.size)}) ...`);
    const { scan } = await upload(chosen);
    say(`${scan} is there.`);
    location.hash = toScan(scan);
  });
  return h("div", { class: "panel row" },
    field("Upload a scan", file, { help: `At most ${bytes(largest)}; it is kept in uploads/.` }), send);
}

export async function scansPage(state) {
  const { scans } = await get("/api/scans");
  const any = h("input", { type: "text", autocomplete: "off", spellcheck: "false" });
  const open = h("form", { class: "panel row" },
    field("Open a file or folder by its path", any, { help: "Relative to the folder of the server." }),
    h("button", { type: "submit" }, "Look at it"));
  open.onsubmit = (event) => {
    event.preventDefault();
    if (any.value.trim()) location.hash = toScan(any.value.trim());
  };
  const row = (scan) => h("tr", {},
    h("th", { scope: "row" }, h("a", { href: toScan(scan.path) }, scan.path)),
    h("td", { class: "number", "data-label": "size" }, bytes(scan.bytes)),
    h("td", { "data-label": "changed" }, moment(scan.changed)),
    h("td", { class: "wide" }, h("a", { class: "button", href: toJob("reconstruct", scan.path),
      "aria-label": `Reconstruct ${scan.path}` }, "Reconstruct")));
  return [
    h("h1", {}, "Scans"),
    h("div", { class: "side" }, uploading(state.largest_upload), open),
    scans.length ? h("table", { class: "cards" },
      h("caption", {}, "Files of this folder that may be scans, the newest first; open one to see what it " +
        "contains and what is wrong with it."),
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "file"),
        h("th", { scope: "col", class: "number" }, "size"), h("th", { scope: "col" }, "changed"),
        h("th", { scope: "col" }, "do"))),
      h("tbody", {}, scans.map(row)))
      : h("p", {}, "No file here looks like a scan."),
  ];
}

function facts(seen) {
  const rows = [
    ["patterns", seen.M], ["pattern size", seen.N && `${seen.N} x ${seen.N} pixels`],
    ["counts per pattern", seen.counts_per_pattern && Math.round(seen.counts_per_pattern.mean).toLocaleString()],
    ["probe modes", seen.probe?.modes],
    ["probe diameter", seen.probe?.diameter_px && `${digits(seen.probe.diameter_px)} pixels`],
    ["overlap", seen.overlap && `${Math.round(100 * seen.overlap)} %`],
    ["object pixel", seen.pixel_size_m && `${digits(1e9 * seen.pixel_size_m)} nm`],
    ["photon energy", seen.energy_eV && `${digits(seen.energy_eV / 1000, 4)} keV`],
    ["format", seen.provenance?.format ?? seen.kind],
  ];
  return h("dl", {}, rows.filter(([, value]) => value).map(([name, value]) =>
    [h("dt", {}, name), h("dd", {}, String(value))]));
}

export async function scanPage(scan) {
  const place = h("div", { "aria-busy": "true" }, h("p", { role: "status" }, "Looking at it ..."));
  const look = async () => {
    try {
      const seen = await post("/api/check", { scan });
      place.replaceChildren(
        h("p", {}, seen.usable ? "It can be reconstructed." :
          "It cannot be reconstructed before what is called a fault below is mended."),
        facts(seen), h("h2", {}, "Findings"), findings(seen.findings));
    } catch (error) {
      place.replaceChildren(mistake(error));
    }
    place.removeAttribute("aria-busy");
  };
  look();
  return [
    h("h1", {}, scan),
    h("div", { class: "row" }, ["reconstruct", "refine", "train"].map((verb) =>
      h("a", { class: "button", href: toJob(verb, scan) }, verb[0].toUpperCase() + verb.slice(1)))),
    h("h2", {}, "Check"), place,
  ];
}
