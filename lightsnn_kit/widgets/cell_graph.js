// A cell as a graph in SVG: nodes on a line, forward edges above, backward edges (to the next step) below.
// An edge is changed by click, key, or by dragging an operation onto it; the change is told to Python, which answers
// with the new graph. Colours come from the page, so the Lab's theme holds.
const NS = "http://www.w3.org/2000/svg";
const WIDTH = 720, BOX = 40, RISE = 196, MARGIN = 64;  // units of the picture; BOX: height of a node

function svg(name, attributes, parent, text) {
  const element = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  if (parent) parent.append(element);
  return element;
}

function html(name, attributes, parent, text) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  if (parent) parent.append(element);
  return element;
}

// ---- geometry

function layout(graph) {
  const n = graph.num_nodes, step = (WIDTH - 2 * MARGIN) / (n - 1), half = Math.min(44, 0.36 * step);
  const backward = graph.edges.some((edge) => edge.source > edge.target);
  const middle = RISE + 34, height = backward ? 2 * middle : middle + BOX / 2 + 14;
  const x = (node) => MARGIN + node * step;
  // Arcs that enclose others end outside of them, so no two share a port.
  const port = (node, other) => {
    const slot = other < node ? node - 1 - other : node + n - 1 - other;
    return x(node) + 1.7 * half * ((slot + 0.5) / (n - 1) - 0.5);
  };
  const rise = (edge) => 24 + (RISE - 42) * Math.abs(edge.target - edge.source) / (n - 1);
  return { n, step, half, middle, height, x, port, rise, backward };
}

function arc(edge, rank, count, place) {
  const side = edge.source > edge.target ? 1 : -1;  // of the line of nodes; y grows downwards
  const from = place.port(edge.source, edge.target), to = place.port(edge.target, edge.source);
  const peak = place.rise(edge) + (rank - (count - 1) / 2) * Math.min(15, 34 / count);
  const foot = place.middle + (side * BOX) / 2, pull = foot + (side * peak * 4) / 3, tip = foot + side * 9;
  return {
    side, tip: [to, foot], top: [(from + to) / 2, foot + side * peak],
    path: `M${from} ${foot}C${from} ${pull} ${to} ${pull} ${to} ${tip}`,
    head: `M${to - 5.5} ${tip + side * 2}L${to + 5.5} ${tip + side * 2}L${to} ${foot + side}Z`,
  };
}

// ---- drawing

function drawNode(root, node, graph, place) {
  const dead = graph.dead.includes(node), { x, half, middle, n } = place;
  const role = node === 0 ? "input" : node === n - 1 ? "output" : "";
  const group = svg("g", { class: `node${dead ? " dead" : ""}`, "data-node": node }, root);
  const box = { x: x(node) - half, y: middle - BOX / 2, width: 2 * half, height: BOX, rx: 8 };
  svg("rect", box, group);
  svg("title", {}, group, dead ? `node ${node}: off every path from input to output` : `node ${node} ${role}`.trim());
  const words = [role, dead && half > 30 ? "dead" : ""].filter(Boolean).join(", ");
  svg("text", { x: x(node), y: middle + (words ? -3 : 5), class: "number" }, group, node);
  if (words) svg("text", { x: x(node), y: middle + 13, class: "role" }, group, words);
}

function drawOp(group, edge, [op, alive], shape, look) {
  const { colour } = look[op], none = op === "zeroize";
  const classes = ["op", none && "none", !alive && "pruned", edge.source > edge.target && "backward"];
  const part = svg("g", { class: classes.filter(Boolean).join(" "), "data-op": op, style: `--op: ${colour}` }, group);
  svg("path", { d: shape.path, class: "line" }, part);
  if (!none && alive) svg("path", { d: shape.head, class: "head" }, part);
}

function drawLabel(group, edge, shape, look, short, marked) {
  const alive = edge.ops.filter(([, on]) => on), [op] = alive[0], { colour, glyph } = look[op];
  const text = (marked ? "≠ " : "") + (short ? glyph : `${glyph} ${op}`), wide = short ? 22 + 16 * marked : 14 + 7.6 * text.length, [x, y] = shape.top;
  const chip = svg("g", { class: `chip${op === "zeroize" ? " none" : ""}`, style: `--op: ${colour}` }, group);
  svg("rect", { x: x - wide / 2, y: y - 11, width: wide, height: 22, rx: 11 }, chip);
  const label = svg("text", { x, y: y + 4.5 }, chip, marked ? "≠ " : "");
  const mark = document.createElementNS(NS, "tspan");
  mark.setAttribute("class", "glyph");
  mark.textContent = glyph;
  label.append(mark, short ? "" : ` ${op}`);
}

function drawMarks(group, edge, shapes, look) {
  edge.ops.forEach(([op, alive], rank) => {
    const [x, y] = shapes[rank].top;
    const chip = svg("g", { class: `mark${alive ? "" : " pruned"}`, style: `--op: ${look[op].colour}` }, group);
    svg("text", { x: x + (rank - (edge.ops.length - 1) / 2) * 16, y: y + 4.5 }, chip, look[op].glyph);
  });
}

function sentence(edge, marked) {
  const alive = edge.ops.filter(([, on]) => on).map(([op]) => op).join(" or ");
  const when = edge.source > edge.target ? "to the next time step" : "within a time step";
  const dead = edge.live || alive === "zeroize" ? "" : ", dead";
  return `edge ${edge.key}: ${alive}, from node ${edge.source} to node ${edge.target}, ${when}${dead}${marked ? ", differs from the other cell" : ""}`;
}

function drawEdge(root, edge, place, look, state) {
  const count = edge.ops.length, shapes = edge.ops.map((_, rank) => arc(edge, rank, count, place));
  const chosen = state.selected === edge.key, marked = edge.marked ?? false;
  const classes = ["edge", !edge.live && "dead", chosen && "selected", marked && "marked"].filter(Boolean).join(" ");
  const attributes = { class: classes, "data-key": edge.key };
  attributes["data-lm-suppress-shortcuts"] = "true";  // or the notebook would take arrows and digits for its own
  Object.assign(attributes, { role: state.editable ? "button" : "img", "aria-label": sentence(edge, marked), tabindex: 0 });
  if (state.editable) attributes["aria-pressed"] = chosen;
  const group = svg("g", attributes, root);
  svg("title", {}, group, sentence(edge, marked));
  const middle = shapes[Math.floor(count / 2)];
  svg("path", { d: middle.path, class: "halo" }, group);
  edge.ops.forEach((entry, rank) => drawOp(group, edge, entry, shapes[rank], look));
  if (count === 1) drawLabel(group, edge, shapes[0], look, place.n > 5, marked);
  else drawMarks(group, edge, shapes, look);
  svg("path", { d: middle.path, class: "reach", "stroke-width": 20 + 8 * (count - 1) }, group);
}

function drawPicture(graph, look, state) {
  const place = layout(graph);
  const live = graph.edges.filter((edge) => edge.live).length;
  const label = `Cell graph: ${graph.num_nodes} nodes, ${graph.edges.length} edges, ${live} of them in use`;
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${place.height}`, role: "group", "aria-label": label });
  svg("text", { x: 8, y: 18, class: "caption" }, picture, "within a time step");
  if (place.backward) {
    svg("text", { x: 8, y: place.height - 10, class: "caption" }, picture, "dashed: to the next time step (feedback)");
  }
  for (let node = 0; node < graph.num_nodes; node++) drawNode(picture, node, graph, place);
  graph.edges.forEach((edge) => drawEdge(picture, edge, place, look, state));  // in this order Tab goes through them
  return picture;
}

function drawPalette(root, ops, current, edge) {
  root.replaceChildren();
  html("span", { class: "lead", "aria-live": "polite" }, root, edge ? `Edge ${edge}:` : "Operations:");
  ops.forEach(({ op, colour, glyph }, index) => {
    const pressed = current === op;
    const title = edge ? `${op} on edge ${edge}` : `${op}: drag it onto an edge, or choose an edge first`;
    const button = html("button", { type: "button", "data-op": op, "aria-pressed": pressed, title }, root);
    button.style.setProperty("--op", colour);
    html("span", { class: "glyph", "aria-hidden": "true" }, button, glyph);
    html("span", {}, button, op);
    html("kbd", { "aria-hidden": "true" }, button, index + 1);
  });
}

// ---- behaviour

const PATIENCE = 5000;  // milliseconds until an edit that nobody answers is spoken of
const UNANSWERED = "⚠ The kernel has not answered yet: it is busy, or was restarted. If nothing happens, run this cell again.";
const HINT = "Click an edge to choose it, click again for the next operation, or drag an operation onto an edge. " +
  "Keys on an edge: ↑ ↓ next operation, digits choose, Enter selects.";

function render({ model, el }) {
  el.classList.add("lightsnn-graph");
  const palette = html("div", { class: "palette", role: "toolbar", "aria-label": "Operations" }, el);
  const frame = html("div", { class: "frame" }, el);  // the menu to save the picture stands in it, beside the stage
  const stage = html("div", { class: "stage" }, frame);
  const hint = html("p", { class: "hint", role: "status" }, el, HINT);
  const ghost = html("div", { class: "ghost", "aria-hidden": "true" }, el);
  const asked = {};  // edits on their way, so that fast keys build on each other
  let number = 0, draws = 0;

  let patience;

  const say = (text) => {
    if (hint.textContent !== text) hint.textContent = text;
    hint.classList.toggle("late", text !== HINT);
  };
  const ops = () => model.get("palette");
  const find = (key) => model.get("graph").edges.find((edge) => edge.key === key);
  const opOf = (key) => asked[key]?.op || find(key).ops.find(([, alive]) => alive)[0];
  const select = (key) => { model.set("selected", key); model.save_changes(); };
  const put = (key, op) => {
    if (!model.get("editable") || !op || op === opOf(key)) return;
    asked[key] = { op, number: ++number };
    clearTimeout(patience);
    patience = setTimeout(() => say(UNANSWERED), PATIENCE);
    try {
      model.send({ kind: "edit", edge: key, op, number });
    } catch { say(UNANSWERED); }  // the connection has ended
  };
  const turn = (key, by) => {
    const names = ops().map(({ op }) => op);
    put(key, names[(names.indexOf(opOf(key)) + by + names.length) % names.length]);
  };

  const draw = () => {
    const within = el.contains(document.activeElement) ? document.activeElement : null;
    const focused = within?.closest("[data-key]")?.dataset.key, pressed = within?.closest(".palette [data-op]")?.dataset.op;
    const graph = model.get("graph"), selected = model.get("selected"), editable = model.get("editable");
    if (!graph.edges) return;
    const look = Object.fromEntries(ops().map((entry) => [entry.op, entry]));
    const chosen = graph.edges.some((edge) => edge.key === selected) ? selected : "";
    stage.replaceChildren(drawPicture(graph, look, { selected: chosen, editable }));
    el.classList.toggle("editable", editable);
    const heading = model.get("heading");
    palette.hidden = !editable && !heading;
    hint.hidden = !editable;
    if (!editable) {
      ["role", "aria-label"].forEach((name) => palette.removeAttribute(name));
      palette.replaceChildren(heading);
    }
    if (editable) drawPalette(palette, ops(), chosen && opOf(chosen), chosen);
    if (focused) stage.querySelector(`[data-key="${focused}"]`)?.focus();
    if (pressed) palette.querySelector(`[data-op="${pressed}"]`)?.focus();
    el.dataset.draws = ++draws;  // what a browser test waits for
  };
  const answered = (content) => {  // taken over or refused: the graph says which
    if (content.kind !== "edited" || asked[content.edge]?.number !== content.number) return;
    delete asked[content.edge];
    if (!Object.keys(asked).length) { clearTimeout(patience); say(HINT); }
    draw();
  };

  stage.addEventListener("click", (event) => {
    const key = event.target.closest("[data-key]")?.dataset.key;
    if (!key) return model.get("selected") && select("");
    if (key === model.get("selected")) turn(key, 1); else select(key);
    stage.querySelector(`[data-key="${key}"]`)?.focus();
  });
  stage.addEventListener("keydown", (event) => {
    const key = event.target.closest("[data-key]")?.dataset.key, digit = Number(event.key);
    if (!key || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Enter" || event.key === " ") select(model.get("selected") === key ? "" : key);
    else if (event.key === "ArrowDown" || event.key === "ArrowRight") turn(key, 1);
    else if (event.key === "ArrowUp" || event.key === "ArrowLeft") turn(key, -1);
    else if (event.key === "Escape") select("");
    else if (digit >= 1 && digit <= ops().length) put(key, ops()[digit - 1].op);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });

  el.addEventListener("dragstart", (event) => event.preventDefault());  // the browser's own drag, of selected text
  // Dragging, by pointer events: the Lab has a drag and drop of its own, and touch has none.
  let drag = null;
  const under = (event) => el.getRootNode().elementFromPoint(event.clientX, event.clientY)?.closest("[data-key]");
  const target = (edge) => {
    if (drag.edge !== edge) { drag.edge?.classList.remove("target"); edge?.classList.add("target"); drag.edge = edge; }
  };
  palette.addEventListener("pointerdown", (event) => {
    const button = event.target.closest("[data-op]");
    if (!button || event.button) return;
    drag = { op: button.dataset.op, from: [event.clientX, event.clientY], moved: false, edge: null, button };
    button.setPointerCapture(event.pointerId);
  });
  palette.addEventListener("pointermove", (event) => {
    if (!drag) return;
    if (!drag.moved && Math.hypot(event.clientX - drag.from[0], event.clientY - drag.from[1]) < 5) return;
    if (!drag.moved) { ghost.replaceChildren(...[...drag.button.children].slice(0, 2).map((part) => part.cloneNode(true))); }
    drag.moved = true;
    el.classList.add("dragging");
    const box = el.getBoundingClientRect();
    ghost.style.setProperty("--op", drag.button.style.getPropertyValue("--op"));
    ghost.style.transform = `translate(${event.clientX - box.left + 10}px, ${event.clientY - box.top + 10}px)`;
    const edge = under(event);
    target(edge && stage.contains(edge) ? edge : null);
  });
  const drop = () => {
    if (!drag) return;
    const { op, edge, moved } = drag;
    target(null);
    el.classList.remove("dragging");
    setTimeout(() => { drag = null; });  // after the click that follows
    if (moved && edge) { select(edge.dataset.key); put(edge.dataset.key, op); }
  };
  palette.addEventListener("pointerup", drop);
  palette.addEventListener("pointercancel", () => { if (drag) { target(null); drag = null; el.classList.remove("dragging"); } });
  palette.addEventListener("click", (event) => {
    const op = event.target.closest("[data-op]")?.dataset.op;
    if (op && !drag?.moved && model.get("selected")) put(model.get("selected"), op);
  });

  const names = ["change:graph", "change:palette", "change:editable", "change:selected", "change:heading"];
  names.forEach((name) => model.on(name, draw));
  model.on("msg:custom", answered);
  draw();
  return () => {
    clearTimeout(patience);
    names.forEach((name) => model.off(name, draw));
    model.off("msg:custom", answered);
  };
}

export default { render };
