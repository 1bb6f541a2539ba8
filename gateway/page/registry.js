// What is registered, and who works on it. Changed by `framelane apply` or over /api/v1, not here.

import { count, element, milliseconds, rate } from "./words.js";

const INTERVAL_MS = 2_000;

export class Registry {
  #timer = 0;
  #isOpen = true;
  node = element("div", { className: "registry" });

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
      if (this.#isOpen) this.#show(...answers);
    } catch (error) {
      const text = `The registry cannot be shown: ${error.message}`;
      if (this.#isOpen && !this.node.children.length) this.node.replaceChildren(element("p", { className: "warn" }, text));
    }
    if (this.#isOpen) this.#timer = setTimeout(() => this.#refresh(), INTERVAL_MS);
  }

  #show(sources, flows, processors, consumers, assignments, instances) {
    const running = new Map();
    const refused = new Map();
    for (const instance of instances.filter((one) => one.liveness === "live")) {
      for (const source of instance.sources) running.set(source.name, source);
      for (const [key, why] of Object.entries(instance.refused)) refused.set(key, why);
    }
    const assigned = new Map(assignments.map((one) => [one.name, one.spec.sources.join(", ")]));
    this.node.replaceChildren(
      table("Sources", ["name", "where from", "opened", "state", "frames"], sources.map((one) => [
        link(one.spec.topic ?? one.name, one.spec.options?.["source-id"] ?? one.name, one.name),
        `${input(one.spec)} on ${one.spec.host}`,
        one.spec.open ?? "always",
        ...stateOf(running.get(one.name)),
      ])),
      table("Stages", ["pipeline", "stage", "from", "to", "processor"], flows.map((flow) => [
        flow.pipeline,
        `${flow.stage} (version ${flow.version})`,
        flow.inputs.join(", "),
        flow.output,
        flow.processor ?? "joins results",
      ])),
      table("Processors", ["name", "addresses"], processors.map((one) => [one.name, one.spec.addresses.join(", ")])),
      table("Consumers", ["name", "watches", "sinks", "refused"], consumers.map((one) => [
        one.name,
        assigned.get(one.name) ?? "nothing is assigned",
        (one.spec.sinks ?? []).join(", "),
        element("span", { className: "bad" }, refused.get(`consumer/${one.name}`) ?? ""),
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
  return body.items;
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

function stateOf(source) {
  if (!source) return [element("span", { className: "quiet" }, "nobody runs it"), ""];
  const isBad = source.state === "failed";
  const text = source.text ? `${source.state}: ${source.text}` : source.state;
  return [element("span", { className: isBad ? "bad" : "" }, text), `${count(source.frames)} (${rate(source.fps)})`];
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
