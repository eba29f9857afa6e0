// The page without a kernel: what Python does for the widget, done from a table (this text follows cell_graph.js).
const table = JSON.parse(document.getElementById("lightsnn-table").textContent);
const part = (id) => document.getElementById(id);
const names = table.palette.map(({ op }) => op);
const looks = Object.fromEntries(table.palette.map((entry) => [entry.op, entry]));

// As much of anywidget's model as the script uses; `answer` stands for the kernel.
class Model {
  constructor(state, answer = () => {}) { Object.assign(this, { state, answer, listeners: {} }); }
  get(name) { return this.state[name]; }
  set(name, value) {
    if (this.state[name] === value) return;
    this.state[name] = value;
    this.tell(`change:${name}`);
  }
  on(name, call) { (this.listeners[name] ??= []).push(call); }
  off(name, call) { this.listeners[name] = (this.listeners[name] ?? []).filter((other) => other !== call); }
  tell(name, ...content) { for (const call of this.listeners[name] ?? []) call(...content); }
  save_changes() {}
  send(content) { this.answer(content); }
}

const minus = (text) => String(text).replace("-", "−");
const thousands = (value) => value.toLocaleString("en");
function element(name, attributes, ...inside) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...inside);
  return made;
}
function rows(head, body, attributes = {}) {
  const heading = element("tr", {}, ...head.map((text) => element("th", { scope: "col" }, text)));
  return element("table", attributes, ...(head.length ? [element("thead", {}, heading)] : []), element("tbody", {}, ...body));
}

// ---- the cell

const places = Object.fromEntries(table.edges.map(({ key }, at) => [key, at]));
const ranked = Object.values(table.cells).map(({ score }) => score).filter((score) => score !== null).sort((a, b) => b - a);
const before = [];  // cells shown earlier
let shown = table.found;

const graphOf = (cell) => ({
  num_nodes: table.num_nodes,
  dead: table.cells[cell].dead,
  edges: table.edges.map((edge, at) => ({
    ...edge, ops: [[names[cell[at]], true]], live: table.cells[cell].live[at] === 1,
  })),
});

function facts(cell, earlier) {
  const now = table.cells[cell], past = earlier === undefined ? null : table.cells[earlier].score;
  const by = now.score === null || past === null ? "" : (now.score - past).toFixed(2);
  const change = by === "" ? "" : `${by > 0 ? "▲" : by < 0 ? "▼" : "="} ${Math.abs(by).toFixed(2)}`;
  const rank = now.score === null ? "none: two images look the same everywhere" : `${1 + ranked.indexOf(now.score)} of ${table.count}`;
  const lines = [
    ["score (SAHD)", now.score === null ? "−∞" : minus(now.score.toFixed(2)), "score"],
    ["change by the last edit", change || "–", "count"],
    ["rank by score", rank, "count"],
    ["parameters", thousands(now.parameters), "count"],
    ["convolutions in use", now.convs, "count"],
    ["convolutions on a path", now.paths ? now.paths.join(" to ") : "no path", "count"],
    ["SynOps per image", thousands(now.synops), "count"],
  ];
  const line = ([name, value, kind]) =>
    element("tr", {}, element("th", { scope: "row" }, name), element("td", { class: kind }, String(value)));
  part("play-facts").replaceChildren(rows([], lines.map(line), { class: "facts" }));
}

function rates(cell) {
  const found = table.cells[cell].rates, steps = Object.values(found)[0].map((_, step) => `t = ${step + 1}`);
  const tint = (rate) => `background: color-mix(in srgb, var(--play-accent) ${Math.min(45, rate / 12)}%, transparent)`;
  const cellOf = (rate) => element("td", { style: tint(rate) }, (rate / 10).toFixed(1));
  const body = Object.entries(found).map(([layer, values]) =>
    element("tr", {}, element("th", { scope: "row" }, table.layers[layer]), ...values.map(cellOf)));
  part("play-rates").replaceChildren(rows(["layer", ...steps], body, { class: "numbers" }));
}

function kernel(cell) {
  const distances = table.cells[cell].distances, count = table.labels.length, size = 20, edge = 18;
  const least = Math.min(...distances), most = Math.max(...distances), span = most - least || 1;
  const [from, to] = [least, most].map((distance) => (distance / 1000).toFixed(3));
  const label = `Distances of ${count} images, from ${from} (pale) to ${to} (strong)`;
  const whole = edge + count * size;
  const picture = svg("svg", { viewBox: `0 0 ${whole} ${whole}`, role: "img", "aria-label": label });
  let at = 0;
  for (let i = 0; i < count; i++) {
    svg("text", { x: edge / 2, y: edge + (i + 0.7) * size }, picture, table.labels[i]);
    svg("text", { x: edge + (i + 0.5) * size, y: edge - 5 }, picture, table.labels[i]);
    for (let j = i + 1; j < count; j++, at++) {
      for (const [x, y] of [[i, j], [j, i]]) {
        const place = { x: edge + x * size, y: edge + y * size, width: size - 1, height: size - 1 };
        const square = svg("rect", { ...place, "fill-opacity": 0.1 + (0.9 * (distances[at] - least)) / span }, picture);
        svg("title", {}, square, `a ${table.labels[x]} and a ${table.labels[y]}: ${(distances[at] / 1000).toFixed(3)}`);
      }
    }
  }
  part("play-kernel").replaceChildren(picture, element("p", { class: "small" }, `${label}. Labels are the digits shown.`));
}

function show(cell, { keep = true } = {}) {
  const earlier = shown === cell ? undefined : shown;
  if (keep && earlier !== undefined) before.push(shown);
  shown = cell;
  graph.set("graph", graphOf(cell));
  facts(cell, earlier);
  rates(cell);
  kernel(cell);
  document.querySelector('[data-show="undo"]').disabled = !before.length;
  part("lightsnn-play").dataset.cell = cell;
}

const graph = new Model({ graph: graphOf(shown), palette: table.palette, selected: "", editable: true, heading: "" }, (asked) => {
  const ops = [...shown];
  ops[places[asked.edge]] = names.indexOf(asked.op);
  show(ops.join(""));
  graph.tell("msg:custom", { ...asked, kind: "edited" });
});

table.count = Object.keys(table.cells).length;
part("play-settings").textContent = `Measured on ${table.settings}. Scores of other settings do not compare with these.`;
render({ model: graph, el: part("play-graph") });
const others = {
  undo: () => before.length && show(before.pop(), { keep: false }),
  found: () => show(table.found),
  best: () => show(table.best),
  convs: () => show(String(names.indexOf("conv3x3")).repeat(table.edges.length)),
  random: () => show(Object.keys(table.cells)[Math.floor(Math.random() * table.count)]),
};
document.querySelectorAll("[data-show]").forEach((button) => button.addEventListener("click", others[button.dataset.show]));
show(shown);

// ---- the search

const slider = part("search-at");
slider.max = table.search.length - 1;
const left = new Model({ graph: table.search[0].graph, palette: table.palette, selected: "", editable: false, heading: "Operations left" });
render({ model: left, el: part("search-graph") });

function bars({ scores, pruned, edge }) {
  const values = Object.values(scores), low = Math.min(...values), span = Math.max(...values) - low || 1;
  const line = ([op, score]) => {
    const width = 15 + (85 * (score - low)) / span;
    const bar = element("div", { class: "bar", style: `width: ${width}%; background: ${looks[op].colour}`, "aria-hidden": "true" });
    const mark = op === pruned ? " ← pruned" : "";
    return element("tr", {}, element("th", { scope: "row" }, `${looks[op].glyph} ${op}`),
      element("td", {}, minus(score.toFixed(2)), element("b", {}, mark)), element("td", { class: "wide" }, bar));
  };
  const caption = element("caption", {}, `Edge ${edge}: the score that is left without each operation`);
  const made = rows(["operation", "score", "bar"], Object.entries(scores).map(line), { class: "numbers scores" });
  made.prepend(caption);
  part("search-scores").replaceChildren(made);
}

function go(at) {
  at = Math.max(0, Math.min(table.search.length - 1, at));
  const now = table.search[at];
  slider.value = at;
  slider.setAttribute("aria-valuetext", now.words);
  left.set("graph", now.graph);
  left.set("selected", now.edge);
  part("search-words").textContent = now.words;
  bars(now);
  const done = at === table.search.length - 1;
  document.querySelector('[data-move="take"]').disabled = !done;
  part("lightsnn-search").dataset.at = at;
}

left.on("change:selected", () => {  // an edge was chosen: to the next decision on it
  const now = table.search[Number(slider.value)], key = left.get("selected");
  if (!key || key === now.edge) return;
  const later = table.search.findIndex(({ edge }, at) => at > Number(slider.value) && edge === key);
  go(later > 0 ? later : table.search.findIndex(({ edge }, at) => at > 0 && edge === key));
});
slider.addEventListener("input", () => go(Number(slider.value)));
document.querySelectorAll("[data-move]").forEach((button) => button.addEventListener("click", () => {
  if (button.dataset.move === "take") { show(table.found); part("lightsnn-play").scrollIntoView(); }
  else go(Number(slider.value) + Number(button.dataset.move));
}));
go(0);
