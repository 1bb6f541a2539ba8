// All sources side by side. Those that are in sight are watched, the others cost nothing.

import { Tile } from "./tile.js";
import { element } from "./words.js";

const EMPTY = "producer --pattern 1280x720@30 --topic cam0";

export class Wall {
  #grid = element("div", { className: "wall" });
  #empty = element(
    "div",
    { className: "empty", hidden: true },
    element("p", {}, "No source has published anything yet. Start one, for example:"),
    element("p", {}, element("code", {}, EMPTY)),
  );
  #tiles = new Map();
  #sight = new IntersectionObserver((seen) => {
    for (const { target, isIntersecting } of seen) this.#see(target, isIntersecting);
  }, { rootMargin: "100px" });
  #inSight = new Set();
  #onVisible = () => this.#refresh();

  constructor() {
    this.node = element("div", {}, this.#grid, this.#empty);
    this.node.addEventListener("keydown", (event) => this.#move(event));
    document.addEventListener("visibilitychange", this.#onVisible);
  }

  close() {
    document.removeEventListener("visibilitychange", this.#onVisible);
    this.#sight.disconnect();
    for (const tile of this.#tiles.values()) tile.hide();
  }

  /** The list of sources, as the gateway gives it; null while it gives none. */
  listed(list) {
    if (list === null) return;
    const lines = new Map(list.sources.map((line) => [`${line.topic}/${line.source}`, line]));
    for (const [key, tile] of this.#tiles) {
      if (!lines.has(key)) this.#remove(key, tile);
    }
    let before = null;
    for (const [key, line] of lines) {
      let tile = this.#tiles.get(key);
      if (!tile) {
        tile = new Tile({ topic: line.topic, source: line.source });
        this.#tiles.set(key, tile);
        if (before) before.after(tile.node);
        else this.#grid.prepend(tile.node);
        this.#sight.observe(tile.node);
      }
      tile.listed(line);
      before = tile.node;
    }
    this.#empty.hidden = lines.size > 0;
  }

  /** Shows those with this in their names; returns how many. */
  filter(text) {
    let shown = 0;
    for (const [key, tile] of this.#tiles) {
      tile.node.hidden = !key.toLowerCase().includes(text.toLowerCase());
      if (!tile.node.hidden) shown += 1;
    }
    return shown;
  }

  #remove(key, tile) {
    this.#sight.unobserve(tile.node);
    this.#inSight.delete(tile);
    tile.hide();
    tile.node.remove();
    this.#tiles.delete(key);
  }

  #see(node, isIntersecting) {
    const tile = this.#tiles.get(`${node.dataset.topic}/${node.dataset.source}`);
    if (!tile) return;
    if (isIntersecting) this.#inSight.add(tile);
    else this.#inSight.delete(tile);
    this.#refresh();
  }

  #refresh() {
    for (const tile of this.#tiles.values()) {
      if (this.#inSight.has(tile) && !document.hidden) tile.show();
      else tile.hide();
    }
  }

  /** Arrow keys go to the neighbour, up and down too. */
  #move(event) {
    const tiles = [...this.#grid.children].filter((node) => !node.hidden);
    const at = tiles.indexOf(document.activeElement);
    if (at < 0) return;
    const columns = getComputedStyle(this.#grid).gridTemplateColumns.split(" ").length;
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
    const next = tiles[at + (steps[event.key] ?? NaN)];
    if (next) {
      next.focus();
      event.preventDefault();
    }
  }
}
