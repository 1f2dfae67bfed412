// The frame of the pages: addresses, the token, what the server sends.

import { Live, get, setToken, tokenFromAddress } from "./api.js";
import { field, h, mistake } from "./dom.js";
import { interfacePage } from "./interface.js";
import { JobPage, JobsPage } from "./jobs.js";
import { comparePage, runPage, runsPage } from "./runs.js";
import { scanPage, scansPage } from "./scans.js";

const content = document.getElementById("content");
const connection = document.getElementById("connection");
let state = null;
let page = null;
let drawing = 0;

const live = new Live({
  jobs(jobs) {
    const active = jobs.filter((job) => ["queued", "running"].includes(job.state)).length;
    document.getElementById("active").textContent = active ? `(${active})` : "";
    page?.update?.(jobs);
  },
  log(said) { page?.said?.(said); },
  part(buffer) { page?.shown?.(buffer); },
  state(word) {
    if (word === "token") askToken("The server has another token now.");
    else connection.textContent = word;
  },
});

function askToken(reason) {
  page = null;
  const token = h("input", { type: "password", autocomplete: "off", required: true });
  const form = h("form", { class: "panel" },
    field("Token", token, { help: "The part after #token= of the address that ptychopinn serve printed." }),
    h("div", { class: "actions" }, h("button", { type: "submit", class: "main" }, "Open")));
  form.onsubmit = (event) => {
    event.preventDefault();
    // The whole address may be given as well.
    setToken(token.value.split("#token=").pop());
    begin();
  };
  content.replaceChildren(h("h1", {}, "Open this server"), h("p", { role: "alert" }, reason), form);
  connection.textContent = "";
  token.focus();
}

async function drawn(name, first, second) {
  switch (name) {
    case "run": return runPage(first);
    case "compare": return comparePage(first);
    case "scans": return scansPage(state);
    case "scan": return scanPage(first);
    case "jobs": page = new JobsPage(); return page.draw(state, first, second);
    case "job": page = new JobPage(first); return page.draw(state, live);
    case "interface": return interfacePage();
    default: return runsPage();
  }
}

const ABOVE = { run: "runs", compare: "runs", scan: "scans", job: "jobs" };

async function show(focus = true) {
  const turn = ++drawing;
  const [name = "runs", ...rest] = location.hash.replace(/^#\/?/, "").split("/");
  const parts = name === "compare" ? rest : rest.map(decodeURIComponent);
  page = null;
  live.watch(null);
  for (const link of document.querySelectorAll("nav a")) {
    const here = link.getAttribute("href") === `#/${ABOVE[name] ?? (name || "runs")}`;
    if (here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  let elements;
  try {
    elements = await drawn(name, ...parts);
  } catch (error) {
    if (error.status === 401) return askToken(error.message);
    elements = [h("h1", {}, "That did not work"), mistake(error)];
  }
  // Another page was asked for meanwhile.
  if (turn !== drawing) return;
  content.replaceChildren(...elements.flat(3).filter(Boolean));
  document.title = `${content.querySelector("h1")?.textContent ?? ""} · PtychoPINN`;
  if (focus) content.focus({ preventScroll: true });
  scrollTo(0, 0);
}

async function begin() {
  try {
    state = await get("/api/state");
  } catch (error) {
    return error.status === 401 ? askToken(error.message) : content.replaceChildren(mistake(error));
  }
  document.getElementById("folder").textContent = `· ${state.folder}`;
  live.open();
  show(false);
}

tokenFromAddress();
addEventListener("hashchange", () => {
  const before = location.hash;
  tokenFromAddress();
  if (before !== location.hash) begin();
  else if (state) show();
});
document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  content.focus();
});
begin();
