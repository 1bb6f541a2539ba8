// What is shown, by the address: all sources, or one of them. Goes on by itself when the gateway is back.

import { Large } from "./large.js";
import { Registry } from "./registry.js";
import { Wall } from "./wall.js";
import { element } from "./words.js";

const LIST_INTERVAL_MS = 3_000;
const THEMES = ["auto", "light", "dark"];

const byId = (id) => document.getElementById(id);
let view = null;
let list = null;

function show() {
  view?.close();
  const [page, topic, source] = location.hash.split("/");
  if (page === "#registry") view = new Registry();
  else view = topic && source ? new Large({ topic, source }) : new Wall();
  byId("filter").hidden = !(view instanceof Wall);
  byId("main").replaceChildren(view.node);
  document.title = topic && source ? `${source} · Framelane` : "Framelane";
  pages();
  view.listed(list);
  counted();
}

/** How many sources there are, and how many of them the filter leaves. */
function counted() {
  const all = list?.sources.length ?? 0;
  const shown = view?.filter(byId("filter").value) ?? all;
  const of = shown === all ? "" : `${shown} of `;
  byId("count").textContent = list ? `${of}${all} ${all === 1 ? "source" : "sources"}` : "";
}

/** Where one can go; one page needs no way to others. */
function pages() {
  const link = (href, name) => {
    const isHere = (location.hash === "#registry") === (href === "#registry");
    return element("a", { href, ...(isHere ? { "aria-current": "page" } : {}) }, name);
  };
  const wanted = `${location.hash} ${list?.registry}`;
  if (byId("pages").dataset.wanted === wanted) return; // nobody's focus is taken away
  byId("pages").dataset.wanted = wanted;
  byId("pages").replaceChildren(...(list?.registry ? [link("#", "Sources"), link("#registry", "Registry")] : []));
}

function problem(text) {
  byId("problem").hidden = !text;
  if (text) byId("problem").textContent = text;
}

async function refresh() {
  try {
    const answer = await fetch("/sources", { cache: "no-store" });
    if (answer.status === 401) {
      askForToken();
      return;
    }
    if (!answer.ok) throw new Error((await answer.json()).error);
    list = await answer.json();
    pages();
    problem(list.problem && `Kafka does not answer as it should: ${list.problem}`);
    view?.listed(list);
    counted();
  } catch (error) {
    problem(`The gateway does not answer (${error.message}). Trying again …`);
  }
}

async function refreshAlways() {
  await refresh();
  setTimeout(refreshAlways, LIST_INTERVAL_MS);
}

function askForToken() {
  const dialog = byId("token");
  if (!dialog.open) dialog.showModal();
}

byId("token").querySelector("form").onsubmit = async (event) => {
  event.preventDefault();
  const headers = { Authorization: `Bearer ${byId("token-text").value.trim()}` };
  const answer = await fetch("/session", { method: "POST", headers }).catch(() => null);
  if (answer?.ok) {
    byId("token").close();
    byId("token-text").value = "";
    byId("token-problem").textContent = "";
    await refresh();
    show();
  } else {
    byId("token-problem").textContent = "This token opens nothing here, or it has expired.";
  }
};

function theme(name) {
  const root = document.documentElement;
  if (name === "auto") delete root.dataset.theme;
  else root.dataset.theme = name;
  const words = { auto: "as the system has them", light: "light", dark: "dark" };
  byId("theme").setAttribute("aria-label", `Colours: ${words[name]}`);
  byId("theme").title = `Colours: ${words[name]}`;
  byId("theme").textContent = { auto: "◐", light: "☀", dark: "☾" }[name];
  byId("theme").dataset.name = name;
}

byId("theme").onclick = () => {
  const next = THEMES[(THEMES.indexOf(byId("theme").dataset.name) + 1) % THEMES.length];
  localStorage.setItem("theme", next);
  theme(next);
};
byId("filter").oninput = counted;
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && document.activeElement !== byId("filter") && view instanceof Wall) {
    byId("filter").focus();
    event.preventDefault();
  }
});
window.addEventListener("hashchange", show);

const kept = localStorage.getItem("theme");
theme(THEMES.includes(kept) ? kept : "auto");
show();
refreshAlways();
