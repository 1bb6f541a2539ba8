// One source, large: live, or from the past by its time line.

import { captionOf, colourOf, draw } from "./canvas.js";
import { Stream } from "./stream.js";
import { captured, count, element, figure, milliseconds, moment, rate, silence } from "./words.js";

const SPEEDS = [0.25, 0.5, 1, 2, 4, 8];
const JUMP_MS = 10_000;
/** The time line grows while it is looked at. */
const RANGE_INTERVAL_MS = 5_000;
const MOST_ROWS = 40;

export class Large {
  #address;
  #stream;
  #canvas = element("canvas");
  #note = element("span", { className: "note", hidden: true });
  #picture = element("div", { className: "picture" }, this.#canvas, this.#note);
  #dot = element("span", { className: "dot" });
  #figures = Object.fromEntries(
    ["mode", "frame", "rate", "latency", "to here", "gaps", "skipped", "viewers"].map((name) => [name, figure(name)]),
  );
  #found = element("table");
  #stages = element("table");
  #slider = element("input", { type: "range", min: 0, max: 0, step: 100, "aria-label": "Time" });
  #at = element("span", { className: "quiet" }, "–");
  #until = element("span", { className: "quiet" }, "–");
  #live = button("● Live", "Back to what is now (L)");
  #play = button("❚❚ Pause", "Pause or go on (Space)");
  #speed = element("select", { "aria-label": "Speed" });
  #size = element("select", { "aria-label": "Size" });
  #boxes = button("Boxes", "Show results in the picture (O)");
  #full = button("Full screen", "The whole screen (F)");
  #range = null;
  #timer = 0;
  #isPaused = false;
  #isLive = true;
  #isDragged = false;
  #last = null;
  /** Why nothing new is shown, as was said last. */
  #why = null;
  #onKey = (event) => this.#key(event);

  constructor(address) {
    this.#address = address;
    this.#stream = new Stream(address, {}, this);
    this.#boxes.setAttribute("aria-pressed", "true");
    for (const speed of SPEEDS) this.#speed.append(new Option(`${speed}×`, speed, speed === 1, speed === 1));
    for (const [text, value] of [["full size", "full"], ["1280", 1280], ["640", 640], ["320", 320]]) {
      this.#size.append(new Option(text, value));
    }
    this.node = this.#build();
    this.#listen();
    this.#stream.open();
    this.#askRange();
    this.#timer = setInterval(() => this.#askRange(), RANGE_INTERVAL_MS);
  }

  close() {
    clearInterval(this.#timer);
    document.removeEventListener("keydown", this.#onKey);
    this.#stream.close();
  }

  listed() {}

  filter() {}

  #build() {
    const { topic, source } = this.#address;
    const path = `${encodeURIComponent(topic)}/${encodeURIComponent(source)}`;
    const name = topic === source ? source : `${source} · ${topic}`;
    const snapshot = element("a", { href: `/snapshot/${path}.jpg`, target: "_blank" }, "snapshot");
    const mjpeg = element("a", { href: `/live/${path}.mjpg`, target: "_blank" }, "MJPEG");
    const figures = Object.values(this.#figures).map(({ row }) => row);
    const keys = "Space pause · ← → 10 s · L live · O boxes · F screen · Esc all sources";
    return element(
      "div",
      { className: "large" },
      element(
        "section",
        { className: "stage" },
        element("div", { className: "heading" }, element("a", { href: "#", "aria-label": "All sources" }, "← all"), this.#dot, element("h1", {}, name)),
        this.#picture,
        element("div", { className: "timeline" }, this.#at, this.#slider, this.#until),
        element("div", { className: "controls" }, this.#live, this.#play, this.#speed, element("span", { className: "space" }), this.#size, this.#boxes, this.#full),
        element("p", { className: "hint keys" }, keys),
      ),
      element(
        "aside",
        { className: "side" },
        element("h2", {}, "Now"),
        element("dl", { className: "figures" }, ...figures),
        element("h2", {}, "Found"),
        this.#found,
        element("h2", {}, "Where the time went"),
        this.#stages,
        element("p", { className: "hint" }, snapshot, " · ", mjpeg),
      ),
    );
  }

  #listen() {
    this.#live.onclick = () => this.#goLive();
    this.#play.onclick = () => this.#toggle();
    this.#speed.onchange = () => this.#stream.say({ speed: Number(this.#speed.value) });
    this.#size.onchange = () => {
      const { value } = this.#size;
      this.#stream.say({ size: value === "full" ? value : Number(value) });
    };
    this.#boxes.onclick = () => {
      const shows = this.#boxes.getAttribute("aria-pressed") !== "true";
      this.#boxes.setAttribute("aria-pressed", String(shows));
    };
    this.#full.onclick = () => {
      if (document.fullscreenElement) document.exitFullscreen();
      else this.#picture.requestFullscreen?.();
    };
    this.#slider.oninput = () => {
      this.#isDragged = true;
      this.#at.textContent = moment(Number(this.#slider.value));
    };
    this.#slider.onchange = () => {
      this.#isDragged = false;
      this.#seek(Number(this.#slider.value));
    };
    for (const chosen of [this.#slider, this.#speed, this.#size]) leaveToKeys(chosen);
    document.addEventListener("keydown", this.#onKey);
  }

  #key(event) {
    const { target } = event;
    const isSlider = target === this.#slider; // it has the arrow keys, and no others
    const isTyped = target instanceof HTMLSelectElement || (target instanceof HTMLInputElement && !isSlider);
    if (isTyped || event.ctrlKey || event.metaKey || event.altKey) return;
    const isButton = target instanceof HTMLButtonElement;
    const act = {
      " ": isButton ? undefined : () => this.#toggle(),
      ArrowLeft: isSlider ? undefined : () => this.#jump(-JUMP_MS),
      ArrowRight: isSlider ? undefined : () => this.#jump(JUMP_MS),
      l: () => this.#goLive(),
      o: () => this.#boxes.click(),
      f: () => this.#full.click(),
      Escape: () => {
        location.hash = "";
      },
    }[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act) return;
    act();
    event.preventDefault();
  }

  #goLive() {
    this.#stream.say({ seek: "live" });
  }

  #toggle() {
    this.#stream.say(this.#isPaused ? { resume: true } : { pause: true });
  }

  #jump(ms) {
    if (this.#last) this.#seek(captured(this.#last) + ms);
  }

  #seek(ms) {
    const first = this.#range?.first_unix_ms ?? ms;
    const last = this.#range?.last_unix_ms ?? ms;
    if (ms > last) this.#goLive();
    else this.#stream.say({ seek: `time:${new Date(Math.max(ms, first)).toISOString()}` });
  }

  async #askRange() {
    const { topic, source } = this.#address;
    try {
      const answer = await fetch(`/sources/${encodeURIComponent(topic)}/${encodeURIComponent(source)}`);
      if (!answer.ok) return;
      this.#range = (await answer.json()).range;
    } catch {
      return; // the gateway is away: the stream says so
    }
    const { first_unix_ms: first, last_unix_ms: last } = this.#range;
    if (first === null || last === null || this.#isDragged) return;
    this.#slider.min = first;
    this.#slider.max = Math.max(first + 1, last);
    this.#until.textContent = this.#isLive ? "now" : moment(last);
  }

  frame(head, bitmap) {
    this.#last = head;
    const box = { width: this.#picture.clientWidth, height: this.#picture.clientHeight };
    draw(this.#canvas, bitmap, head, box, this.#boxes.getAttribute("aria-pressed") === "true");
    this.node.dataset.epoch = head.epoch;
    this.node.dataset.sequence = head.sequence;
    this.node.dataset.captured = captured(head);
    this.node.dataset.frames = Number(this.node.dataset.frames ?? 0) + 1;
    this.#figures.frame.set(`${head.epoch} / ${count(head.sequence)}`);
    if (this.#isLive) this.#figures["to here"].set(milliseconds(Math.max(0, Date.now() - captured(head))));
    else this.#figures["to here"].set("–");
    if (!this.#isDragged) {
      this.#at.textContent = moment(captured(head));
      if (this.#isLive) this.#slider.max = Math.max(Number(this.#slider.max), captured(head));
      this.#slider.value = captured(head);
    }
    this.#tell(head);
    this.#say(null);
  }

  #tell(head) {
    const rows = head.results.flatMap((result) => {
      const isOk = result.status === "ok";
      const name = element("td", { className: isOk ? "" : "bad" }, isOk ? result.processor : `${result.processor}: ${result.status} ${result.error}`);
      const title = element("tr", {}, name, element("td", { className: "quiet" }, count(result.detections.length)));
      return [title, ...result.detections.map(detected)];
    });
    if (rows.length === 0) rows.push(element("tr", {}, element("td", { className: "quiet" }, "no stage has looked at this frame")));
    this.#found.replaceChildren(...rows.slice(0, MOST_ROWS));
    const start = head.capture_time_unix_ns;
    const stages = head.stamps.map((stamp) => {
      const took = (stamp.left_unix_ns - stamp.entered_unix_ns) / 1e6;
      const after = (stamp.left_unix_ns - start) / 1e6;
      return element("tr", {}, element("td", {}, stamp.stage), element("td", {}, milliseconds(took)), element("td", { className: "quiet", title: "since the capture" }, milliseconds(after)));
    });
    this.#stages.replaceChildren(...stages);
  }

  notice(head) {
    const texts = {
      frame: `no picture: ${head.no_picture}`,
      gap: `${head.count || "some"} frames are missing: ${head.reason}`,
      end: `this source has ended: ${head.reason}`,
      undecodable: `a record is no frame: ${head.error}`,
    };
    this.#say(texts[head.kind] ?? head.kind);
  }

  problem(text) {
    this.#say(text);
  }

  connection(state, why) {
    this.node.dataset.connection = state;
    if (state === "lost") {
      this.#why = null;
      this.#dot.className = "dot lost";
      for (const name of ["rate", "latency", "to here"]) this.#figures[name].set("–"); // nobody knows
      this.#say(why ? `reconnecting: ${why}` : "reconnecting …");
    }
  }

  status(status) {
    const { source } = status;
    this.#isLive = status.mode === "live";
    this.#isPaused = status.paused;
    this.node.dataset.mode = status.paused ? "paused" : status.mode;
    const why = silence(source);
    this.#dot.className = `dot ${why ? "" : source.state}`;
    const told = this.#isLive && !this.#isPaused ? why : null;
    if (told) this.#figures["to here"].set("–");
    this.#quiet(told);
    this.#live.setAttribute("aria-pressed", String(this.#isLive));
    this.#play.textContent = status.paused ? "▶ Play" : "❚❚ Pause";
    this.#speed.disabled = this.#isLive;
    const { mode, rate: fps, latency, gaps, skipped, viewers } = this.#figures;
    mode.set(status.paused ? "paused" : this.#isLive ? "live" : `replay ${status.speed}×`);
    fps.set(rate(source.fps));
    latency.set(milliseconds(source.latency_ms), source.latency_ms > 1000 ? "warn" : "");
    gaps.set(count(source.gaps), source.gaps ? "warn" : "");
    skipped.set(count(status.skipped), status.skipped ? "warn" : "");
    viewers.set(count(status.viewers));
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

/** Once something was chosen with a pointer, keys mean the whole view again. */
function leaveToKeys(control) {
  let isPointed = false;
  control.addEventListener("pointerdown", () => { isPointed = true; });
  control.addEventListener("keydown", () => { isPointed = false; });
  control.addEventListener("change", () => {
    if (isPointed) control.blur();
  });
}

function detected(detection) {
  const swatch = element("span", { className: "swatch" });
  swatch.style.background = colourOf(detection);
  return element("tr", {}, element("td", {}, swatch, captionOf(detection)), element("td"));
}

function button(text, title) {
  return element("button", { type: "button", title, "aria-label": title }, text);
}
