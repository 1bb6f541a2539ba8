// What is registered, and who works on it. Changed by `framelane apply` or over /api/v1, not here.

import { count, element, milliseconds, moment, rate } from "./words.js";

const INTERVAL_MS = 2_000;

export class Registry {
  #timer = 0;
  #isOpen = true;
  #answered = null;
  #note = element("p", { className: "warn", role: "status", hidden: true });
  #tables = element("div", { className: "registry" });
  node = element("div", {}, this.#note, this.#tables);

  constructor() {
    this.#refresh();
  }

  close() {
    this.#isOpen = false;
    clearTimeout(this.#timer);
  }

  listed() {}

  filter() {}

  async #refresh() {
    try {
      const kinds = ["sources", "flows", "processors", "consumers", "assignments", "instances"];
      const answers = await Promise.all(kinds.map((kind) => ask(kind)));
      if (this.#isOpen) this.#show(...answers.map(({ items }) => items));
      this.#answered = Date.now();
      const since = answers[0]["away-since"];
      this.#old(since && `Kafka does not answer: this is as of ${moment(Date.parse(since))}`);
    } catch (error) {
      const asOf = this.#answered ? `this is as of ${moment(this.#answered)}` : "nothing can be shown";
      this.#old(`The registry does not answer (${error.message}): ${asOf}`);
    }
    if (this.#isOpen) this.#timer = setTimeout(() => this.#refresh(), INTERVAL_MS);
  }

  /** What is shown is no more than what was: says since when. */
  #old(text) {
    this.#note.hidden = !text;
    if (text) this.#note.textContent = text;
  }

  #show(sources, flows, processors, consumers, assignments, instances) {
    const live = instances.filter((one) => one.liveness === "live");
    const running = new Map();
    for (const one of instances) {
      for (const source of one.sources) {
        const says = one.liveness === "live" ? source : { ...source, state: "lost", text: "", fps: 0 };
        running.set(source.name, together(running.get(source.name), says));
      }
    }
    const called = live.flatMap((one) => one.processors);
    const assigned = new Map(assignments.map((one) => [one.name, one.spec.sources.join(", ")]));
    this.#tables.replaceChildren(
      // The state comes early: a phone shows the first columns.
      table("Sources", ["name", "state", "frames", "where from", "opened"], sources.map((one) => [
        link(one.spec.topic ?? one.name, one.spec.options?.["source-id"] ?? one.name, one.name),
        ...stateOf(running.get(one.name)),
        `${input(one.spec)} on ${one.spec.host}`,
        one.spec.open ?? "always",
      ])),
      table("Stages", ["stage", "state", "frames", "from", "to", "processor", "version"], flows.map((flow) => [
        `${flow.pipeline}/${flow.stage}`,
        ...stateOf(running.get(flow.output)),
        flow.inputs.join(", "),
        flow.output,
        flow.processor ?? "joins results",
        flow.version,
      ])),
      table("Processors", ["name", "state", "addresses"], processors.map((one) => [
        one.name,
        processorState(one.spec.addresses, called),
        one.spec.addresses.join(", "),
      ])),
      table("Consumers", ["name", "state", "watches", "sinks"], consumers.map((one) => [
        one.name,
        consumerState(one.name, instances),
        assigned.get(one.name) ?? "nothing is assigned",
        (one.spec.sinks ?? []).join(", "),
      ])),
      table("Processes", ["what", "state", "reads", "lag", "in flight", "p99", "seen"], instances.map((one) => [
        `${one.service} ${one.name}`.trim() + ` on ${one.host}`,
        element("span", { className: one.liveness === "live" ? "" : "bad" }, one.liveness),
        one.lanes.map((lane) => `${lane.topic}[${lane.partition}]`).join(", "),
        one.lanes.length ? count(sum(one.lanes, "lag")) : "",
        one.lanes.length ? count(sum(one.lanes, "in-flight")) : "",
        one.lanes.length ? milliseconds(Math.max(...one.lanes.map((lane) => lane["latency-p99-ms"]))) : "",
        new Date(one["last-seen"]).toLocaleTimeString(),
      ])),
    );
  }
}

async function ask(kind) {
  const answer = await fetch(`/api/v1/${kind}`);
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.error);
  return body;
}

function sum(lanes, field) {
  return lanes.reduce((all, lane) => all + lane[field], 0);
}

function input(spec) {
  for (const kind of ["file", "camera", "url", "images", "pattern"]) {
    if (spec[kind] !== undefined && spec[kind] !== null) return `${kind} ${spec[kind]}`;
  }
  return "–";
}

/** Several brokers share a stage: whoever works on it counts most, then whoever fails; frames are those of all that live. */
function together(known, more) {
  if (!known) return more;
  const weight = ({ state }) => ({ live: 3, failed: 2, lost: 0 })[state] ?? 1;
  const [first, second] = weight(more) > weight(known) ? [more, known] : [known, more];
  const alive = second.state !== "lost";
  return { ...first, frames: first.frames + (alive ? second.frames : 0), fps: first.fps + (alive ? second.fps : 0) };
}

/** How a source or a stage's output is, and how many frames it has. */
function stateOf(source) {
  if (!source) return [element("span", { className: "quiet" }, "nobody runs it"), ""];
  const isBad = ["failed", "lost"].includes(source.state);
  const text = source.text ? `${source.state}: ${source.text}` : source.state;
  return [element("span", { className: isBad ? "bad" : "" }, text), `${count(source.frames)} (${rate(source.fps)})`];
}

/** What those who call it find. */
function processorState(addresses, called) {
  const at = (address) => called.filter((one) => one.declared === address.replace(/^https?:\/\//, "").replace(/\/$/, ""));
  if (!addresses.some((address) => at(address).length)) return element("span", { className: "quiet" }, "not called");
  const ready = addresses.filter((address) => at(address).some((one) => one.state === "ready")).length;
  const isAll = ready === addresses.length;
  return element("span", { className: isAll ? "" : "bad" }, isAll ? "ready" : `${ready} of ${addresses.length} ready`);
}

/** Of the processes that run it. */
function consumerState(name, instances) {
  const its = instances.filter((one) => one.service === "consumer" && one.name === name);
  const live = its.filter((one) => one.liveness === "live");
  const why = live.map((one) => one.refused[`consumer/${name}`]).find((text) => text);
  if (why) return element("span", { className: "bad" }, `refused: ${why}`);
  if (live.length) return "live";
  return element("span", { className: its.length ? "bad" : "quiet" }, its.length ? "lost" : "not running");
}

function link(topic, source, text) {
  return element("a", { href: `#/${topic}/${source}` }, text);
}

function table(title, columns, rows) {
  const cells = (row) => element("tr", {}, ...row.map((cell) => element("td", {}, cell)));
  const body = rows.length
    ? element("table", {}, element("thead", {}, element("tr", {}, ...columns.map((name) => element("th", { scope: "col" }, name)))), element("tbody", {}, ...rows.map(cells)))
    : element("p", { className: "quiet" }, "none");
  return element("section", { "aria-label": title }, element("h2", {}, title), body);
}
