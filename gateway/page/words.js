// Numbers and times as people read them.

export function milliseconds(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 120_000) return `${(ms / 1000).toFixed(1)} s`;
  return `${Math.round(ms / 60_000)} min`;
}

export function rate(fps) {
  return fps === null || fps === undefined ? "–" : `${fps >= 10 ? Math.round(fps) : fps.toFixed(1)} fps`;
}

export function count(number) {
  return (number ?? 0).toLocaleString("en");
}

/** The time of day; with the day if it is not today. */
export function moment(ms) {
  if (ms === null || ms === undefined) return "–";
  const at = new Date(ms);
  const time = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  const isToday = at.toDateString() === new Date().toDateString();
  return isToday ? time : `${at.toLocaleDateString()} ${time}`;
}

/** Why a live source shows nothing new; null if it does. */
export function silence(source) {
  if (source.state === "waiting") return "waiting for its first frame";
  return source.state === "live" && source.fps === 0 ? "no frames at present" : null;
}

/** Of a frame's capture, milliseconds since the Unix epoch. */
export function captured(head) {
  return head.capture_time_unix_ns / 1e6;
}

/** An element with this text; names come from strangers, so they are never HTML. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("aria-") || name === "role") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** A term and its value, and a way to change the value. */
export function figure(term) {
  const value = element("dd", {}, "–");
  const row = element("div", {}, element("dt", {}, term), value);
  const set = (text, className = "") => {
    if (value.textContent !== text) value.textContent = text;
    value.className = className;
  };
  return { row, set };
}
