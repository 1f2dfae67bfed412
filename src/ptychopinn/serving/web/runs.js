// Results: all of the folder, one, several side by side.

import { fileAddress, get, keepFile, post } from "./api.js";
import { badge, button, bytes, digits, duration, h, moment, say } from "./dom.js";

export const toRun = (folder) => `#/run/${encodeURIComponent(folder)}`;
const within = (folder, name) => (folder === "." ? name : `${folder}/${name}`);
const fileName = (path) => path?.split("/").pop() ?? "";

/** A picture of a result; it comes with the token, therefore not by its address alone. */
function picture(folder, name, about, small = false) {
  const image = h("img", { alt: about, class: small ? "small-picture" : null });
  const fetched = async () => {
    try {
      const address = await fileAddress(within(folder, name));
      image.onload = image.onerror = () => URL.revokeObjectURL(address);
      image.src = address;
    } catch {
      image.replaceWith(h("span", { class: "faint" }, "no picture"));
    }
  };
  // Only what is looked at is fetched.
  const seen = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    seen.disconnect();
    fetched();
  });
  seen.observe(image);
  return image;
}

const titled = (name) => name.replace(/\.png$/, "").replaceAll("_", " ");

export function figures(run) {
  return run.pictures.map((name) =>
    h("figure", {},
      picture(run.folder, name, `${titled(name)} of ${run.folder}`),
      h("figcaption", {}, titled(name))));
}

export async function runsPage() {
  const { runs } = await get("/api/runs");
  if (!runs.length) {
    return [h("h1", {}, "Runs"), h("p", {}, "Nothing has been reconstructed in this folder yet: ",
      h("a", { href: "#/scans" }, "look at a scan"), ", then reconstruct it.")];
  }
  const chosen = new Set();
  const compare = button("Compare", () => {
    location.hash = `#/compare/${[...chosen].map(encodeURIComponent).join(",")}`;
  }, { main: true });
  const advice = h("span", { class: "faint" });
  const counted = () => {
    compare.disabled = chosen.size < 2;
    advice.textContent = chosen.size < 2 ? "tick two or more" : `${chosen.size} ticked`;
  };
  counted();
  const row = (run) => {
    const tick = h("input", { type: "checkbox", "aria-label": `Compare ${run.folder}` });
    tick.onchange = () => { chosen[tick.checked ? "add" : "delete"](run.folder); counted(); };
    const fitted = run.verdict !== null;
    return h("tr", {},
      h("th", { scope: "row" }, h("a", { href: toRun(run.folder) }, run.folder)),
      h("td", {}, fitted ? picture(run.folder, "reconstructed_phase.png", "", true) : ""),
      h("td", {}, badge(run.verdict)),
      h("td", { "data-label": "command" }, run.verb ?? ""),
      h("td", { "data-label": "scan" }, fileName(run.scan)),
      h("td", { class: "number", "data-label": "residual" }, digits(run.residual)),
      h("td", { class: "number", "data-label": "noise" }, digits(run.expected)),
      h("td", { class: "number", "data-label": "patterns" }, run.patterns ?? ""),
      h("td", { class: "number", "data-label": "time" }, duration(run.seconds)),
      h("td", { "data-label": "finished" }, moment(Date.parse(run.finished) / 1000)),
      h("td", { "data-label": "compare" }, tick));
  };
  const heads = ["folder", "phase", "verdict", "command", "scan", "residual", "photon noise",
    "patterns", "time", "finished", "compare"];
  const numbers = new Set(["residual", "photon noise", "patterns", "time"]);
  return [
    h("h1", {}, "Runs"),
    h("div", { class: "row" }, compare, advice),
    h("table", { class: "cards" },
      h("caption", {}, "All results and trainings below this folder, the newest first. A residual near " +
        "the photon noise is as good as the data allow."),
      h("thead", {}, h("tr", {}, heads.map((head) =>
        h("th", { scope: "col", class: numbers.has(head) ? "number" : null }, head)))),
      h("tbody", {}, runs.map(row))),
  ];
}

export function findings(list) {
  if (!list?.length) return h("p", { class: "faint" }, "Nothing was found wrong with the scan.");
  return h("ul", { class: "findings" }, list.map((found) =>
    h("li", {}, h("strong", {}, `${found.level ?? "note"}: `), found.message ?? found.sentence ??
      found.text ?? JSON.stringify(found))));
}

function verdict(run) {
  if (run.verdict === null) return h("p", { class: "faint" }, "No fit belongs to this run.");
  return h("div", { class: "panel" },
    h("p", {}, badge(run.verdict), ` fit: residual ${digits(run.residual)}, photon noise alone gives ` +
      `${digits(run.expected)}.`),
    run.likely ? h("p", {}, h("strong", {}, "Likely cause: "), run.cause ?? run.likely) : null);
}

const hasReport = (run) => run.files.some((file) => file.name === "report.html");

async function openReport(asked) {
  const { address } = await post("/api/report", asked);
  open(address, "_blank", "noopener");
}

export async function runPage(folder) {
  const run = await get(`/api/run?folder=${encodeURIComponent(folder)}`);
  const command = run.command ? ["ptychopinn", ...run.command].join(" ") : null;
  return [
    h("h1", {}, run.folder),
    verdict(run),
    h("div", { class: "row" }, run.verb !== "train" && run.verdict !== null
      ? h("a", { class: "button", href: `#/jobs/refine/${encodeURIComponent(run.folder)}` },
        "Refine this result") : null,
    hasReport(run) ? button("Open the report", () => openReport({ folder: run.folder })) : null),
    h("h2", {}, "Pictures"),
    run.pictures.length ? h("div", { class: "pictures" }, figures(run))
      : h("p", { class: "faint" }, "It has none."),
    h("h2", {}, "Findings about the scan"), findings(run.findings),
    h("h2", {}, "About"),
    h("dl", {},
      h("dt", {}, "scan"), h("dd", {}, run.scan ?? "none"),
      h("dt", {}, "patterns"), h("dd", {}, String(run.patterns ?? "")),
      h("dt", {}, "time"), h("dd", {}, duration(run.seconds)),
      h("dt", {}, "finished"), h("dd", {}, moment(Date.parse(run.finished) / 1000))),
    command ? [h("h2", {}, "Command"), h("pre", {}, command), button("Copy", async () => {
      await navigator.clipboard.writeText(command);
      say("Copied.");
    }, { label: "Copy the command" })] : null,
    h("h2", {}, "Files"),
    h("table", {}, h("caption", {}, "What the command wrote"),
      h("thead", {}, h("tr", {}, ["file", "size", "keep"].map((head) => h("th", { scope: "col" }, head)))),
      h("tbody", {}, run.files.map((file) => h("tr", {},
        h("th", { scope: "row" }, file.name), h("td", {}, bytes(file.bytes)),
        h("td", {}, button("Download", () => keepFile(within(run.folder, file.name)),
          { label: `Download ${file.name}` })))))),
    run.log ? h("details", {}, h("summary", {}, "What the command said"),
      h("pre", { tabindex: "0" }, run.log)) : null,
  ];
}

export async function comparePage(list) {
  const runs = await Promise.all(list.split(",").map(decodeURIComponent).map((folder) =>
    get(`/api/run?folder=${encodeURIComponent(folder)}`)));
  const fits = runs.filter((run) => run.residual !== null && run.scan === runs[0].scan);
  const best = fits.length === runs.length && runs.length > 1
    ? fits.reduce((a, b) => (b.residual < a.residual ? b : a)) : null;
  return [
    h("h1", {}, "Side by side"),
    h("p", {}, best ? `${best.folder} leaves the least residual on this scan.`
      : "They are not all of one scan, so that their residuals say nothing about which is better."),
    // The second one lies behind the slider of the first one's report.
    runs.length === 2 && runs.every(hasReport) ? h("p", {}, button("Compare with a slider", () =>
      openReport({ folder: runs[0].folder, beside: runs[1].folder }), { main: true })) : null,
    h("div", { class: "side" }, runs.map((run) => h("section", {},
      h("h2", {}, h("a", { href: toRun(run.folder) }, run.folder)),
      verdict(run), figures(run)))),
  ];
}
