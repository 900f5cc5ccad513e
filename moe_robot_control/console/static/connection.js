// The socket for commands and state: reconnects by itself, and measures its round trip.

const RETRY = 1000; // ms
const ALIVE = 1000; // ms

export class Connection extends EventTarget {
  #socket = null;
  #waiting = new Map();
  #asked = 0;
  seen = null; // the newest `now` [s]: steering tells which news it answers
  roundTrip = null; // ms

  open() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    this.#socket = new WebSocket(`${scheme}://${location.host}/control`);
    this.#socket.onopen = () => this.dispatchEvent(new Event("open"));
    this.#socket.onmessage = (event) => this.#receive(JSON.parse(event.data));
    this.#socket.onclose = () => {
      for (const resolve of this.#waiting.values()) resolve({ ok: false, text: "connection lost" });
      this.#waiting.clear();
      this.seen = null;
      this.dispatchEvent(new Event("lost"));
      setTimeout(() => this.open(), RETRY);
    };
  }

  keepAlive() {
    setInterval(async () => {
      const sent = performance.now();
      if ((await this.ask("alive")).ok) this.roundTrip = performance.now() - sent;
    }, ALIVE);
  }

  get isOpen() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  /** Send a command whose answer nobody waits for: a refusal comes as event `refused`. */
  send(name, fields = {}) {
    if (this.isOpen) this.#socket.send(JSON.stringify({ do: name, ...fields }));
  }

  /** Send a command; the promise is its answer, {ok, text}. */
  ask(name, fields = {}) {
    if (!this.isOpen) return Promise.resolve({ ok: false, text: "not connected" });
    const id = ++this.#asked;
    return new Promise((resolve) => {
      this.#waiting.set(id, resolve);
      this.#socket.send(JSON.stringify({ do: name, id, ...fields }));
    });
  }

  #receive(message) {
    if (!("answer" in message)) {
      this.seen = message.now;
      this.dispatchEvent(new CustomEvent("state", { detail: message }));
    } else if (this.#waiting.has(message.answer)) {
      this.#waiting.get(message.answer)(message);
      this.#waiting.delete(message.answer);
    } else if (!message.ok) {
      this.dispatchEvent(new CustomEvent("refused", { detail: message.text }));
    }
  }
}
