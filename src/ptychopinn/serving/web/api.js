// Talks to the server: requests with the token, and what it sends by itself.

const KEPT = "ptychopinn-token";
let token = sessionStorage.getItem(KEPT) ?? "";

/** Takes the token out of the address, where it came from and where nobody should see it. */
export function tokenFromAddress() {
  const found = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!found) return;
  setToken(found);
  history.replaceState(null, "", location.pathname + "#/runs");
}

export function setToken(value) {
  token = value.trim();
  sessionStorage.setItem(KEPT, token);
}

/** A mistake with the sentence of the server. */
export class Refused extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

async function asked(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, {
      ...options,
      headers: { ...options.headers, Authorization: `Bearer ${token}` },
    });
  } catch {
    throw new Refused(0, "The server does not answer; is ptychopinn serve still running?");
  }
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({}));
  throw new Refused(answer.status, said.error ?? `The server answered ${answer.status}.`);
}

export const get = async (path) => (await asked(path)).json();

export const post = async (path, content = {}) =>
  (await asked(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(content),
  })).json();

export const upload = async (file) =>
  (await asked(`/api/upload?name=${encodeURIComponent(file.name)}`, {
    method: "POST",
    headers: { "Content-Type": "application/octet-stream" },
    body: file,
  })).json();

/** The address of a file of the folder, for pictures; to be given back when it is not shown. */
export async function fileAddress(path) {
  const answer = await asked(`/api/file?path=${encodeURIComponent(path)}`);
  return URL.createObjectURL(await answer.blob());
}

export async function keepFile(path) {
  const address = await fileAddress(path);
  const link = document.createElement("a");
  link.href = address;
  link.download = path.split("/").pop();
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/** Jobs as they change, what one of them says and shows; `told` are who hears of it. */
export class Live {
  constructor(told) {
    this.told = told;
    this.watched = null;
    this.wait = 500;
  }

  open() {
    if (this.socket) {
      this.socket.onclose = null;
      this.socket.close();
    }
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    this.socket = new WebSocket(`${scheme}://${location.host}/api/live`);
    this.socket.onopen = () => {
      this.socket.send(JSON.stringify({ token }));
      if (this.watched !== null) this.socket.send(JSON.stringify({ watch: this.watched }));
    };
    this.socket.binaryType = "arraybuffer";
    this.socket.onmessage = (message) => {
      if (message.data instanceof ArrayBuffer) return this.told.part(message.data);
      const content = JSON.parse(message.data);
      this.wait = 500;
      if (content.jobs) this.told.jobs(content.jobs);
      if (content.log) this.told.log(content.log);
      this.told.state(content.error ?? "connected");
    };
    this.socket.onclose = (event) => {
      if (event.code === 4401) return this.told.state("token");
      this.told.state("not connected, trying again");
      setTimeout(() => this.open(), this.wait);
      this.wait = Math.min(10_000, 2 * this.wait);
    };
  }

  watch(job) {
    this.watched = job;
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ watch: job }));
  }
}
