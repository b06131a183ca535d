// Rows of any number, of which only those in sight are on the page and only blocks around them are asked for.
// The kernel is asked typed questions (page, sort, filter, stats, stop); columns are named by their place.
// Everything that comes from data is set as text, never as markup.

const ROW = 24;
const BLOCK = 100;
const KEPT = 60;
const TALLEST = 8_000_000; // pixels; browsers cannot make an element much taller
const MISSING = ["is null", "is not null"];

function make(tag, kind, text, attributes = {}) {
  const found = document.createElement(tag);
  if (kind) found.className = kind;
  if (text !== undefined) found.textContent = text;
  for (const [name, value] of Object.entries(attributes)) found.setAttribute(name, value);
  return found;
}

function histogram(bars) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  const top = Math.max(...bars, 1);
  const facts = { width: 10 * bars.length, height: 40, viewBox: `0 0 ${10 * bars.length} 40`, role: "img" };
  for (const [name, value] of Object.entries({ ...facts, "aria-label": "histogram" })) svg.setAttribute(name, value);
  bars.forEach((count, place) => {
    if (!count) return;
    const height = Math.max(1, Math.round((38 * count) / top));
    const bar = document.createElementNS(space, "rect");
    const box = { x: 10 * place, y: 40 - height, width: 9, height, fill: "currentColor" };
    for (const [name, value] of Object.entries(box)) bar.setAttribute(name, value);
    svg.append(bar);
  });
  return svg;
}

class Grid {
  constructor(model, element) {
    this.model = model;
    this.columns = model.get("columns");
    this.widths = this.columns.map((column) => (column.number ? 120 : 190));
    this.blocks = new Map();
    this.asked = new Set();
    this.generation = 0;
    this.number = 0;
    this.total = null;
    this.seen = 0;
    this.more = true;
    this.top = 0;
    this.sorts = [];
    this.conditions = [];
    this.wanted = [];
    this.timer = null;
    element.classList.add("ef-grid", "tex2jax_ignore", "mathjax_ignore");
    this.build(element);
    this.listen();
    this.take(model.get("first"));
  }

  build(element) {
    this.status = make("span", "ef-grid-status", "", { role: "status" });
    this.halt = make("button", "", "Stop", { type: "button", title: "stop what is being read", hidden: "" });
    const line = make("div", "ef-grid-bar");
    line.append(this.status, this.halt);
    this.column = make("select", "", undefined, { "aria-label": "where" });
    this.columns.forEach((column, place) => this.column.append(make("option", "", column.name, { value: place })));
    this.operator = make("select", "", undefined, { "aria-label": "what has to hold" });
    this.value = make("input", "", undefined, { type: "text", placeholder: "value", "aria-label": "value" });
    this.add = make("button", "", "Add", { type: "submit", title: "show only rows that meet this condition too" });
    this.form = make("form", "ef-grid-bar", undefined, { "aria-label": "conditions" });
    this.form.append(make("span", "", "where"), this.column, this.operator, this.value, this.add);
    this.chips = make("span", "ef-grid-chips");
    this.form.append(this.chips);
    this.message = make("div", "ef-grid-message", "", { role: "alert" });
    this.facts = make("div", "ef-grid-facts");
    this.view = make("div", "ef-grid-view", undefined, {
      tabindex: 0, role: "grid", "aria-label": "rows", "aria-colcount": this.columns.length,
    });
    this.space = make("div", "ef-grid-space");
    this.head = make("div", "ef-grid-row ef-grid-head", undefined, { role: "row" });
    this.body = make("div", "ef-grid-body", undefined, { role: "rowgroup" });
    this.space.append(this.head, this.body);
    this.view.append(this.space);
    this.space.style.width = `${this.widths.reduce((sum, width) => sum + width, 0)}px`;
    this.heads = this.columns.map((column, place) => this.headOf(column, place));
    this.head.append(...this.heads);
    element.replaceChildren(line, this.form, this.message, this.facts, this.view);
    this.fit();
  }

  headOf(column, place) {
    const cell = make("div", column.number ? "ef-grid-cell ef-grid-right" : "ef-grid-cell", undefined, {
      role: "columnheader", "aria-sort": "none",
    });
    cell.style.width = `${this.widths[place]}px`;
    const sort = make("button", "ef-grid-name", column.name, {
      type: "button", title: column.sorts ? "sort; with Shift by this column too" : "its values have no order",
    });
    sort.disabled = !column.sorts;
    sort.addEventListener("click", (event) => this.sort(place, event.shiftKey));
    const profile = make("button", "ef-grid-profile", "∑", {
      type: "button", title: "what its values are like", "aria-label": `profile of ${column.name}`,
    });
    profile.addEventListener("click", () => this.ask({ type: "stats", column: place }));
    const name = make("span", "ef-grid-line");
    name.append(sort, profile);
    cell.append(name, make("small", "", column.type));
    return cell;
  }

  listen() {
    this.onMessage = (content) => this.answer(content);
    this.model.on("msg:custom", this.onMessage);
    this.view.addEventListener("scroll", () => this.scrolled());
    this.view.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.view.addEventListener("keydown", (event) => this.key(event));
    this.halt.addEventListener("click", () => this.ask({ type: "stop" }));
    this.column.addEventListener("change", () => this.fit());
    this.operator.addEventListener("change", () => { this.value.disabled = MISSING.includes(this.operator.value); });
    this.form.addEventListener("submit", (event) => { event.preventDefault(); this.narrow(); });
    this.watch = new ResizeObserver(() => this.draw());
    this.watch.observe(this.view);
  }

  close() {
    this.model.off("msg:custom", this.onMessage);
    this.watch.disconnect();
    clearTimeout(this.timer);
  }

  ask(question) {
    this.number += 1;
    this.model.send({ ...question, id: this.number, generation: this.generation });
    if (question.type !== "stop") this.halt.hidden = false;
  }

  // -- what is wanted

  fit() {
    const operators = this.columns[Number(this.column.value) || 0]?.operators ?? [];
    this.operator.replaceChildren(...operators.map((each) => make("option", "", each, { value: each })));
    this.value.disabled = MISSING.includes(this.operator.value);
  }

  sort(column, too) {
    const old = this.sorts.find((each) => each.column === column);
    const rest = too ? this.sorts.filter((each) => each.column !== column) : [];
    const next = !old ? [{ column, descending: false }] : old.descending ? [] : [{ column, descending: true }];
    this.sorts = [...rest, ...next];
    this.anew({ type: "sort", sort: this.sorts });
  }

  narrow() {
    const operator = this.operator.value;
    const value = MISSING.includes(operator) ? null : this.value.value;
    this.wanted = [...this.conditions, { column: Number(this.column.value), operator, value }];
    this.anew({ type: "filter", filter: this.wanted });
  }

  anew(question) {
    this.generation += 1;
    this.asked.clear();
    this.ask(question);
  }

  // -- answers

  answer(content) {
    if (content.type === "idle") { this.halt.hidden = true; return; }
    if (content.type === "error") { this.failed(content); return; }
    if (content.type === "stats") { this.profile(content); return; }
    if (content.generation !== this.generation) return;
    this.message.textContent = "";
    if (content.type === "total") { this.total = content.total; this.told(); this.draw(); return; }
    if (content.type === "page") this.take(content);
  }

  failed(content) {
    this.message.textContent = content.words;
    this.asked.clear();
    if (content.generation === this.generation && content.was) {
      this.sorts = content.was.sort;
      this.wanted = content.was.filter;
      this.marks();
    }
  }

  take(page) {
    if (page.anew) {
      this.blocks.clear();
      this.asked.clear();
      this.total = null;
      this.seen = 0;
      this.sorts = page.sort;
      this.conditions = this.wanted = page.filter;
      this.marks();
      this.top = 0;
      this.view.scrollTop = 0;
    }
    for (let at = 0; at < page.rows.length; at += BLOCK) {
      const block = (page.offset + at) / BLOCK;
      this.blocks.delete(block);
      this.blocks.set(block, page.rows.slice(at, at + BLOCK));
      this.asked.delete(block);
    }
    while (this.blocks.size > KEPT) this.blocks.delete(this.blocks.keys().next().value);
    const end = page.offset + page.rows.length;
    if (end >= this.seen) this.more = page.more;
    this.seen = Math.max(this.seen, end);
    if (!page.more && (page.rows.length || !page.offset)) this.total = end;
    if (page.total !== null) this.total = page.total;
    this.told();
    this.draw();
  }

  marks() {
    this.heads.forEach((cell, place) => {
      const at = this.sorts.findIndex((each) => each.column === place);
      const found = this.sorts[at];
      cell.setAttribute("aria-sort", !found ? "none" : found.descending ? "descending" : "ascending");
      const sign = !found ? "" : ` ${found.descending ? "▼" : "▲"}${this.sorts.length > 1 ? at + 1 : ""}`;
      cell.querySelector(".ef-grid-name").textContent = this.columns[place].name + sign;
    });
    const chips = this.conditions.map((each, place) => {
      const words = `${this.columns[each.column].name} ${each.operator}${each.value === null ? "" : ` ${each.value}`}`;
      const chip = make("button", "ef-grid-chip", `${words} ×`, { type: "button", title: "take this condition away" });
      chip.addEventListener("click", () => {
        this.wanted = this.conditions.filter((_, other) => other !== place);
        this.anew({ type: "filter", filter: this.wanted });
      });
      return chip;
    });
    this.chips.replaceChildren(...chips);
  }

  told() {
    const count = this.total === null ? `more than ${Math.max(0, this.seen - 1).toLocaleString("en")}` : this.total.toLocaleString("en");
    const sampled = this.model.get("sampled");
    this.status.textContent = `${count} ${this.total === 1 ? "row" : "rows"}${sampled ? ` ${sampled}` : ""}`;
    this.view.setAttribute("aria-rowcount", this.total === null ? -1 : this.total + 1);
  }

  profile(content) {
    const close = make("button", "", "Close", { type: "button" });
    close.addEventListener("click", () => this.facts.replaceChildren());
    const head = make("div", "ef-grid-bar");
    head.append(make("b", "", content.column), make("span", "", content.kind), make("small", "", content.covers), close);
    const list = make("dl");
    for (const [word, text] of content.facts) list.append(make("dt", "", word), make("dd", "", text));
    this.facts.replaceChildren(head, ...(content.bars.length ? [histogram(content.bars)] : []), list);
  }

  // -- what is in sight

  get count() {
    return this.total ?? this.seen + (this.more ? BLOCK : 0);
  }

  get visible() {
    return Math.max(1, Math.floor((this.view.clientHeight - this.head.offsetHeight) / ROW));
  }

  get last() {
    return Math.max(0, this.count - this.visible);
  }

  get height() {
    return Math.min(TALLEST, this.count * ROW + this.head.offsetHeight + 2);
  }

  scrolled() {
    const room = this.height - this.view.clientHeight;
    if (this.still === this.view.scrollTop) return;
    this.still = this.view.scrollTop;
    const exact = this.height < TALLEST;
    this.top = exact ? Math.floor(this.view.scrollTop / ROW) : Math.round((this.view.scrollTop / room) * this.last);
    this.draw();
  }

  go(row) {
    this.top = Math.min(this.last, Math.max(0, row));
    const room = this.height - this.view.clientHeight;
    const exact = this.height < TALLEST;
    this.view.scrollTop = exact ? this.top * ROW : (this.top / Math.max(1, this.last)) * room;
    this.still = this.view.scrollTop;
    this.draw();
  }

  wheel(event) {
    if (this.height < TALLEST || !event.deltaY || event.shiftKey) return;
    event.preventDefault();
    const rows = event.deltaMode === 1 ? event.deltaY : event.deltaY / ROW;
    this.go(this.top + (Math.trunc(rows) || Math.sign(rows)));
  }

  key(event) {
    const steps = {
      ArrowDown: this.top + 1, ArrowUp: this.top - 1, PageDown: this.top + this.visible, PageUp: this.top - this.visible,
      Home: 0, End: this.last,
    };
    if (event.target !== this.view || !(event.key in steps)) return;
    event.preventDefault();
    this.go(steps[event.key]);
  }

  draw() {
    this.top = Math.min(this.top, this.last);
    this.space.style.height = `${this.height}px`;
    const end = Math.min(this.count, this.top + this.visible + 2);
    const rows = [];
    for (let row = this.top; row < end; row += 1) rows.push(this.rowAt(row));
    this.body.replaceChildren(...rows);
    this.load(this.top, end);
  }

  rowAt(number) {
    const cells = this.blocks.get(Math.floor(number / BLOCK))?.[number % BLOCK];
    const row = make("div", "ef-grid-row", undefined, { role: "row", "aria-rowindex": number + 2 });
    this.columns.forEach((column, place) => {
      const cell = make("div", column.number ? "ef-grid-cell ef-grid-right" : "ef-grid-cell", undefined, { role: "gridcell" });
      cell.style.width = `${this.widths[place]}px`;
      const text = cells?.[place];
      if (cells === undefined) cell.append(make("span", "ef-grid-wait", "…"));
      else if (text === null) cell.append(make("em", "", "NULL"));
      else if (text === "") cell.append(make("em", "", "empty"));
      else cell.append(make("bdi", "", text));
      if (text) cell.title = text;
      row.append(cell);
    });
    return row;
  }

  load(from, end) {
    const first = Math.floor(from / BLOCK);
    const last = Math.floor(Math.max(from, end - 1) / BLOCK);
    const missing = [];
    for (let block = first; block <= last; block += 1) {
      const needed = Math.min(end, (block + 1) * BLOCK) - block * BLOCK;
      if ((this.blocks.get(block)?.length ?? 0) < needed) missing.push(block);
    }
    if (!missing.length) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      if (missing.every((block) => this.asked.has(block))) return;
      this.asked = new Set(missing);
      this.ask({ type: "page", offset: missing[0] * BLOCK, limit: (missing.at(-1) - missing[0] + 1) * BLOCK });
    }, 40);
  }
}

function render({ model, el }) {
  const grid = new Grid(model, el);
  return () => grid.close();
}

export default { render };
