// Jobs: a form for a new one, and all of them as they go.

import { get, post } from "./api.js";
import { WHAT_TO_SEND, badge, button, curve, digits, duration, field, h, say } from "./dom.js";
import { LiveView } from "./live.js";
import { figures, toRun } from "./runs.js";

export const toJob = (number) => `#/job/${number}`;

// Letters of a log that are kept on the page.
const LONGEST = 200_000;

const number = (most) => h("input", { type: "number", min: 1, max: most, step: 1 });
const tick = () => h("input", { type: "checkbox" });
const choice = (...words) => h("select", {}, words.map((word) => h("option", { value: word }, word)));

// What every verb asks for: its options as controls, and how they become an order.
const VERBS = {
  reconstruct: { source: "scan", about: "The pretrained network, then refinement where the fit asks for it." },
  refine: { source: "source", about: "Physics iterations on a result, or on a scan from an empty object." },
  train: { source: "scans", about: "A network of your own from the patterns of scans, without ground truth." },
  batch: { source: "scans", about: "Many scans on all cores, each into a folder of its own." },
};

function options(verb) {
  switch (verb) {
    case "reconstruct": return {
      refine: field("Refine", choice("auto", "always", "never")),
      uncertainty: field("State the uncertainty (twice the time)", tick(), { check: true }),
    };
    case "refine": return {
      passes: field("Passes, at most", number(1e6), { help: "40 when left empty" }),
      modes: field("Probe modes", number(32), { help: "those of the probe when left empty" }),
      refine_probe: field("Refine the probe", tick(), { check: true }),
      refine_positions: field("Refine the positions", tick(), { check: true }),
      background: field("Fit a background", tick(), { check: true }),
    };
    case "train": return {
      epochs: field("Epochs", number(1e6), { help: "its default when left empty" }),
      resume: field("Go on with the training in that folder", tick(), { check: true }),
    };
    default: return {
      each: field("What is done with each", choice("reconstruct", "refine")),
      workers: field("Worker processes", number(1024), { help: "all cores when left empty" }),
    };
  }
}

function value(control) {
  if (control.type === "checkbox") return control.checked;
  if (control.type === "number") return control.value === "" ? null : Number(control.value);
  return control.value;
}

/** A name for the result that nothing in the folder has. */
function proposed(verb, source, taken) {
  const stem = source.replace(/\/+$/, "").split("/").pop().replace(/\.[^.]*$/, "") || "result";
  const name = `results/${stem}-${verb}`;
  let [made, count] = [name, 1];
  while (taken.has(made)) made = `${name}-${++count}`;
  return made;
}

async function form(state, verb, source) {
  const [{ scans }, { runs }, { jobs }] = await Promise.all(
    ["/api/scans", "/api/runs", "/api/jobs"].map(get));
  const taken = new Set([...runs.map((run) => run.folder), ...jobs.map((job) => job.output)]);
  const made = h("form", { class: "panel", "aria-label": "New job" });
  const draw = (chosen, from) => {
    const kind = choice(...Object.keys(VERBS));
    kind.value = chosen;
    kind.onchange = () => { draw(kind.value, sources.value); made.querySelector("select").focus(); };
    const many = VERBS[chosen].source === "scans";
    const known = h("datalist", { id: "known" },
      [...(chosen === "refine" ? runs.map((run) => run.folder) : []), ...scans.map((scan) => scan.path)]
        .map((name) => h("option", { value: name })));
    const sources = h("input", { type: "text", required: true, autocomplete: "off", value: from,
      list: many ? null : "known", spellcheck: "false" });
    const output = h("input", { type: "text", required: true, autocomplete: "off", spellcheck: "false",
      value: proposed(chosen, from, taken) });
    sources.onchange = () => { output.value = proposed(chosen, sources.value.split(",")[0].trim(), taken); };
    const backend = choice("default", ...state.backends);
    const own = options(chosen);
    made.replaceChildren(
      h("div", { class: "fields" },
        field("Do", kind, { help: VERBS[chosen].about }),
        field(many ? "Scans, separated by commas" : chosen === "refine" ? "Result or scan" : "Scan", sources),
        field("New folder for the result", output),
        field("Backend", backend), Object.values(own)),
      known,
      h("div", { class: "actions" }, h("button", { type: "submit", class: "main" }, "Start")));
    made.onsubmit = async (event) => {
      event.preventDefault();
      const order = { verb: chosen, output: output.value.trim() };
      order[VERBS[chosen].source] = many
        ? sources.value.split(",").map((name) => name.trim()).filter(Boolean) : sources.value.trim();
      if (backend.value !== "default") order.backend = backend.value;
      for (const [name, box] of Object.entries(own)) {
        const given = value(box.querySelector("input, select"));
        if (given !== null) order[name] = given;
      }
      try {
        const job = await post("/api/jobs", order);
        say(`Job ${job.id} is ${job.state}.`);
        location.hash = toJob(job.id);
      } catch (error) {
        say(error.message);
      }
    };
  };
  draw(verb in VERBS ? verb : "reconstruct", source ?? "");
  return made;
}

/** A job that keeps its elements while its numbers change. */
class Card {
  constructor(job, whole) {
    this.whole = whole;
    this.state = h("span");
    this.title = h(whole ? "h1" : "h2", {});
    this.far = h("p", { class: "faint" });
    this.bar = h("progress", { max: 1, value: 0, "aria-label": `Progress of job ${job.id}` });
    this.curve = h("div");
    this.said = h("p");
    this.help = h("p", { class: "faint" }, WHAT_TO_SEND);
    this.result = h("div");
    this.stop = button("Stop", async () => {
      const now = await post(`/api/jobs/${job.id}/stop`);
      say(now.state === "running" ? "It saves what is finished and ends." : `Job ${job.id}: ${now.state}.`);
    }, { label: `Stop job ${job.id}` });
    // How far the present pass is, where the job shows it.
    this.near = null;
    this.element = h("section", { class: whole ? null : "panel" },
      h("div", { class: "row" }, h("div", { class: "grow" }, this.title), this.state, this.stop),
      this.far, this.bar, this.curve, this.said, this.help, this.result);
    this.update(job);
  }

  update(job) {
    const text = JSON.stringify(job);
    if (text === this.before) return;
    this.before = text;
    this.job = job;
    const { progress: far } = job;
    const running = job.state === "running";
    const name = `${job.id}: ${job.verb} ${job.sources.join(", ")}`;
    if (this.title.textContent !== name) {
      this.title.replaceChildren(this.whole ? name : h("a", { href: toJob(job.id) }, name));
    }
    this.state.replaceChildren(badge(job.state));
    this.stop.hidden = !running && job.state !== "queued";
    this.stop.textContent = job.stopping ? "End at once" : "Stop";
    this.tell();
    if (far.values.length > 1 && (running || this.whole)) {
      this.curve.replaceChildren(curve(far.values, far.unit === "epoch" ? "loss" : "misfit"));
    } else if (!this.whole) this.curve.replaceChildren();
    // What a pass says is in the numbers above.
    const words = running && !/^INFO (pass|epoch) /.test(far.said) ? far.said.replace(/^INFO /, "") : "";
    this.said.textContent = job.said ?? words;
    if (running && !far.unit && !far.said) this.said.textContent = "It starts: reading the scan and looking at it.";
    this.help.hidden = !["failed", "lost"].includes(job.state);
    if (job.ended && !this.shown) this.show(job);
  }

  /** How far the present pass or epoch is. */
  farther(about) {
    this.near = about;
    this.tell();
  }

  /** The line of numbers, and the bar. */
  tell() {
    const { progress: far, state, began, ended, stopping } = this.job;
    const running = state === "running";
    const now = running ? this.near ?? far : far;
    const time = began ? (ended ?? Date.now() / 1000) - began : null;
    const parts = [
      now.unit ? `${far.stage > 1 ? `stage ${far.stage}, ` : ""}${now.unit} ${now.number} of ${now.count}` : null,
      far.last !== null ? `${far.unit === "epoch" ? "loss" : "misfit"} ${digits(far.last)}` : null,
      time !== null && (!running || this.whole) ? duration(Math.max(0, running ? Math.round(time) : time)) : null,
      stopping && running ? "stopping, saves what is finished" : null,
    ];
    this.far.textContent = parts.filter(Boolean).join(" · ");
    this.bar.hidden = !running;
    // A pass that is named by what is shown has begun; one that is named by the log is done.
    const done = running && this.near ? this.near.number - 1 + this.near.share : far.number;
    if (now.count) this.bar.value = done / now.count;
    else this.bar.removeAttribute("value");
    if (running && this.whole) this.clock ??= setInterval(() => this.tick(), 1000);
  }

  /** Time passes without a word of the job. */
  tick() {
    if (this.element.isConnected && this.job.state === "running") return this.tell();
    clearInterval(this.clock);
    this.clock = null;
  }

  show(job) {
    this.shown = true;
    if (!["done", "stopped"].includes(job.state) || job.verb === "batch") return;
    const link = h("a", { href: toRun(job.output) }, `Result: ${job.output}`);
    get(`/api/run?folder=${encodeURIComponent(job.output)}`).then((run) => {
      this.result.append(h("p", { class: "row" }, badge(run.verdict), link));
      if (this.whole && run.pictures.length) {
        this.result.append(h("div", { class: "pictures" }, figures(run)));
      }
    }, () => this.result.append(h("p", { class: "faint" }, job.state === "stopped"
      ? "Nothing was written: there was nothing to save yet." : "Nothing was written.")));
  }
}

export class JobsPage {
  constructor() {
    this.cards = new Map();
    this.list = h("div");
  }

  async draw(state, verb, source) {
    const { jobs } = await get("/api/jobs");
    this.update(jobs);
    return [h("h1", {}, "Jobs"), await form(state, verb, source), this.list];
  }

  update(jobs) {
    for (const job of [...jobs].reverse()) {
      const card = this.cards.get(job.id);
      if (card) card.update(job);
      else {
        const made = new Card(job, false);
        this.cards.set(job.id, made);
        this.list.prepend(made.element);
      }
    }
  }
}

export class JobPage {
  constructor(id) {
    this.id = Number(id);
    this.now = new LiveView(this.id, (about) => this.card?.farther(about));
    this.log = h("pre", { tabindex: "0", "aria-label": "What the command says" });
  }

  async draw(state, live) {
    const job = await get(`/api/jobs/${this.id}`);
    this.card = new Card(job, true);
    this.state = job.state;
    this.log.textContent = job.log;
    live.watch(this.id);
    return [h("div", { class: "beside" }, this.card.element, this.now.elements), h("h2", {}, "What it says"), this.log,
      h("h2", {}, "Command"), h("pre", {}, job.command.join(" "))];
  }

  async update(jobs) {
    const job = jobs.find((one) => one.id === this.id);
    if (!job || !this.card) return;
    if (job.state !== this.state) {
      this.state = job.state;
      if (job.ended) this.now.end();
      say(`Job ${this.id}: ${job.state}.`);
    }
    // The list has curves of running jobs only.
    this.card.update(job.ended ? await get(`/api/jobs/${this.id}`).then(({ log, ...one }) => one) : job);
  }

  shown(buffer) {
    if (this.state === "running") this.now.take(buffer);
  }

  said({ job, text, begins }) {
    if (job !== this.id) return;
    const end = this.log.scrollTop + this.log.clientHeight >= this.log.scrollHeight - 30;
    this.log.textContent = (begins ? text : this.log.textContent + text).slice(-LONGEST);
    if (end) this.log.scrollTop = this.log.scrollHeight;
  }
}
