// One source on the wall.

import { draw } from "./canvas.js";
import { Stream } from "./stream.js";
import { count, element, figure, milliseconds, moment, rate, silence } from "./words.js";

/** Frames a second of a small picture: enough to see that it moves, a third of the work. */
const RATE = 15;

export class Tile {
  #canvas = element("canvas");
  #note = element("span", { className: "note", hidden: true });
  #dot = element("span", { className: "dot" });
  #fps = figure("");
  #latency = figure("latency");
  #gaps = figure("gaps");
  #seen = figure("");
  #picture;
  #stream = null;
  #newest;
  /** Why nothing new is shown, as was said last. */
  #why = null;

  constructor(address) {
    this.address = address;
    const { topic, source } = address;
    const isSame = topic === source;
    this.#picture = element("div", { className: "picture" }, this.#canvas, this.#note);
    this.node = element(
      "a",
      { className: "tile", href: `#/${topic}/${source}`, "aria-label": `${topic} / ${source}` },
      this.#picture,
      element(
        "div",
        { className: "about" },
        element(
          "div",
          { className: "name" },
          this.#dot,
          element("b", {}, source),
          isSame ? null : element("span", { className: "quiet" }, topic),
        ),
        element("dl", { className: "figures" }, this.#fps.row, this.#latency.row, this.#gaps.row, this.#seen.row),
      ),
    );
    this.node.dataset.topic = topic;
    this.node.dataset.source = source;
  }

  /** Frames are asked for only while this is seen. */
  show() {
    if (this.#stream) return;
    const size = Math.ceil(this.#picture.clientWidth * Math.min(window.devicePixelRatio || 1, 2));
    this.#stream = new Stream(this.address, { size, rate: RATE }, this);
    this.#stream.open();
  }

  hide() {
    this.#stream?.close();
    this.#stream = null;
  }

  /** What the list of sources says of it. */
  listed(line) {
    this.#newest ??= line.newest;
  }

  frame(head, bitmap) {
    const box = { width: this.#picture.clientWidth, height: this.#picture.clientHeight };
    draw(this.#canvas, bitmap, head, box, true);
    this.node.dataset.epoch = head.epoch;
    this.node.dataset.sequence = head.sequence;
    this.node.dataset.frames = Number(this.node.dataset.frames ?? 0) + 1;
    this.#say(null);
  }

  notice(head) {
    if (head.kind === "frame") this.#say(`no picture: ${head.no_picture}`);
  }

  connection(state, why) {
    this.node.dataset.connection = state;
    if (state === "lost") {
      this.#why = null;
      this.#dot.className = "dot lost";
      for (const { set } of [this.#fps, this.#latency]) set("–"); // nobody knows
      this.#say(why ? `reconnecting: ${why}` : "reconnecting …");
    }
  }

  status(status) {
    const { source } = status;
    const why = silence(source);
    this.#dot.className = `dot ${why ? "" : source.state}`;
    this.#fps.set(source.state === "ended" ? "ended" : rate(source.fps));
    this.#latency.set(milliseconds(source.latency_ms), source.latency_ms > 1000 ? "warn" : "");
    this.#gaps.set(count(source.gaps), source.gaps ? "warn" : "");
    const newest = source.newest ?? this.#newest;
    const isOld = newest && (why || source.state === "ended");
    this.#seen.set(isOld ? `last seen ${moment(newest.capture_time_unix_ns / 1e6)}` : "", "quiet");
    this.#quiet(why);
  }

  /** Says why nothing new is shown, or takes that back; leaves what was said otherwise. */
  #quiet(why) {
    const isShown = !this.#note.hidden && this.#note.textContent === this.#why;
    if (why ? why !== this.#why : isShown) this.#say(why);
    this.#why = why;
  }

  #say(text) {
    this.#note.hidden = text === null;
    if (text !== null) this.#note.textContent = text;
  }
}
