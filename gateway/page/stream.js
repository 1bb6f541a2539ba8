// One source by WebSocket: connects, and connects again by itself; gives the newest frame that could be decoded.

const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 5_000;
/** The gateway says something every second: after so much silence the connection is dead. */
const SILENCE_MS = 6_000;

const text = new TextDecoder();

/** `listener`: frame(head, bitmap), notice(head), status(status), connection("connecting" | "open" | "lost", why). */
export class Stream {
  #address;
  #wish;
  #listener;
  #socket = null;
  #pause = FIRST_PAUSE_MS;
  #timer = 0;
  #watchdog = 0;
  #isOpen = false;
  #decoding = false;
  #waiting = null;
  #lastOffset = null;
  #replays = false;
  #refusal = "";

  /** `wish`: { size, rate, from, speed }, as in the query. */
  constructor(address, wish, listener) {
    this.#address = address;
    this.#wish = { ...wish };
    this.#listener = listener;
  }

  open() {
    if (this.#isOpen) return;
    this.#isOpen = true;
    this.#connect();
  }

  close() {
    this.#isOpen = false;
    clearTimeout(this.#timer);
    clearTimeout(this.#watchdog);
    this.#forget();
  }

  /** Asks for something else; kept for the next connection too. */
  say(command) {
    for (const name of ["size", "rate", "speed"]) {
      if (command[name] !== undefined) this.#wish[name] = command[name];
    }
    if (command.seek !== undefined) {
      this.#wish.from = command.seek;
      this.#replays = command.seek !== "live";
      this.#lastOffset = null;
    }
    if (command.pause) this.#replays = true;
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(command));
  }

  #url() {
    const { topic, source } = this.#address;
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(this.#wish)) {
      const isSaid = value !== null && value !== undefined && value !== "" && !(name === "rate" && value === 0);
      if (isSaid) query.set(name, value);
    }
    // A replay goes on where it was cut off.
    if (this.#replays && this.#lastOffset !== null) query.set("from", `offset:${this.#lastOffset + 1}`);
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const path = `/ws/${encodeURIComponent(topic)}/${encodeURIComponent(source)}`;
    return `${scheme}//${location.host}${path}?${query}`;
  }

  #connect() {
    this.#listener.connection?.("connecting");
    const socket = new WebSocket(this.#url());
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    this.#watch();
    let isOpened = false;
    socket.onopen = () => {
      isOpened = true;
      this.#refusal = "";
      this.#listener.connection?.("open");
    };
    socket.onmessage = (event) => {
      this.#watch();
      this.#pause = FIRST_PAUSE_MS;
      if (typeof event.data === "string") this.#told(JSON.parse(event.data));
      else this.#shown(event.data);
    };
    socket.onclose = (event) => {
      if (this.#socket !== socket) return;
      this.#again(event.reason);
      if (!isOpened) this.#askWhy();
    };
  }

  /** A browser does not tell what a WebSocket was refused with: the gateway says it to whoever asks for the source itself. */
  async #askWhy() {
    const { topic, source } = this.#address;
    try {
      const answer = await fetch(`/sources/${encodeURIComponent(topic)}/${encodeURIComponent(source)}`);
      if (answer.ok) return;
      const { error } = await answer.json();
      this.#refusal = error;
      if (this.#isOpen && this.#socket === null) this.#listener.connection?.("lost", error);
    } catch {
      // no gateway answers: "reconnecting" says it
    }
  }

  #again(why) {
    this.#forget();
    if (!this.#isOpen) return;
    this.#listener.connection?.("lost", why || this.#refusal);
    // Not all viewers of a gateway that stopped at the same moment.
    const pause = this.#pause * (0.5 + Math.random());
    this.#pause = Math.min(2 * this.#pause, LONGEST_PAUSE_MS);
    this.#timer = setTimeout(() => this.#connect(), pause);
  }

  #forget() {
    const socket = this.#socket;
    this.#socket = null;
    clearTimeout(this.#watchdog);
    socket?.close();
  }

  #watch() {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => this.#again("no word from the gateway"), SILENCE_MS);
  }

  #told(message) {
    if (message.type === "status") this.#listener.status?.(message);
    if (message.type === "error") this.#listener.problem?.(message.error);
  }

  #shown(buffer) {
    const length = new DataView(buffer).getUint32(0);
    const head = JSON.parse(text.decode(new Uint8Array(buffer, 4, length)));
    this.#lastOffset = head.offset;
    if (!head.picture) {
      this.#listener.notice?.(head);
      return;
    }
    const picture = new Blob([new Uint8Array(buffer, 4 + length)], { type: head.picture.media_type });
    this.#waiting = { head, picture }; // one that is not decoded yet is left out
    this.#decode();
  }

  async #decode() {
    if (this.#decoding) return;
    this.#decoding = true;
    while (this.#waiting !== null) {
      const { head, picture } = this.#waiting;
      this.#waiting = null;
      try {
        const bitmap = await createImageBitmap(picture);
        if (this.#isOpen) this.#listener.frame(head, bitmap);
        bitmap.close();
      } catch {
        this.#listener.notice?.({ ...head, no_picture: "this browser cannot decode it" });
      }
    }
    this.#decoding = false;
  }
}
