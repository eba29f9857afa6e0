// A menu on every figure of a page, plotly's and cell graphs: its picture as SVG or PNG, and what it shows as CSV or JSON. It
// is made here from the figure itself: nothing is asked of a kernel or of the network. Widgets, reports and JupyterLab all load this one file.
(() => {
  if (globalThis.__lightsnn_save_menu) return;
  globalThis.__lightsnn_save_menu = true;
  const COLUMNS = ["x", "y", "z", "text"];
  const style = document.createElement("style");
  style.textContent = `
    .lightsnn-saves { position: relative; }
    .lightsnn-save { position: absolute; right: 2px; bottom: 2px; z-index: 10; font: 12px/1.4 sans-serif; opacity: 0.55; }
    .lightsnn-save:hover, .lightsnn-save:focus-within { opacity: 1; }
    .lightsnn-save button { min-width: 24px; min-height: 24px; padding: 2px 6px; cursor: pointer; text-align: left;
      border: 1px solid var(--jp-border-color1, #bbb); border-radius: 2px; font: inherit;
      background: var(--jp-layout-color1, #fff); color: var(--jp-ui-font-color0, #111); }
    .lightsnn-save [role=menu] { position: absolute; right: 0; bottom: 26px; display: grid; width: 120px; }
    .frame > .lightsnn-save { top: 2px; bottom: auto; }
    .frame > .lightsnn-save [role=menu] { top: 26px; bottom: auto; }
    .lightsnn-save [role=menu][hidden] { display: none; }
    @media print { .lightsnn-save { display: none; } }`;

  const plain = (values) => (values == null || typeof values !== "object" ? values : Array.from(values, plain));
  const titleOf = (plot) => {
    const text = plot.layout?.title?.text ?? plot.layout?.title ?? "";
    return typeof text === "string" ? text.replace(/<br>.*/s, "").replace(/<[^>]*>/g, "").trim() : "";
  };

  function traces(plot) {  // _fullData holds the numbers where data holds them encoded
    return plot._fullData.map((trace) => {
      const found = { type: trace.type, name: trace.name };
      for (const column of COLUMNS) if (trace[column] != null && trace[column].length) found[column] = plain(trace[column]);
      return found;
    });
  }

  function rows(plot) {
    const all = [["trace", "name", ...COLUMNS]];
    traces(plot).forEach((trace, number) => {
      const add = (x, y, z, text) => all.push([number, trace.name, x, y, z, text]);
      if (Array.isArray(trace.z?.[0])) {
        trace.z.forEach((row, i) => row.forEach((z, j) => add(trace.x?.[j] ?? j, trace.y?.[i] ?? i, z, trace.text?.[i]?.[j])));
        return;
      }
      const lists = COLUMNS.map((column) => trace[column]);
      const count = Math.max(0, ...lists.map((list) => (Array.isArray(list) ? list.length : 0)));
      for (let i = 0; i < count; i++) add(...lists.map((list) => (Array.isArray(list) ? list[i] : list)));
    });
    return table(all);
  }

  function table(all) {
    const cell = (value) => {
      const text = value == null ? "" : String(value);
      return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
    };
    return all.map((row) => row.map(cell).join(",") + "\n").join("");
  }

  function give(blob, name) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  // ---- cell graphs

  const LOOKS = ["fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-linecap", "opacity", "paint-order", "font-family",
    "font-size", "font-weight", "text-anchor"];

  function standalone(picture) {  // with the looks that the page's styles give it
    const copy = picture.cloneNode(true), { width, height } = picture.viewBox.baseVal;
    const parts = copy.querySelectorAll("*");
    picture.querySelectorAll("*").forEach((part, index) => {
      const looks = getComputedStyle(part);
      parts[index].setAttribute("style", LOOKS.map((name) => `${name}:${looks.getPropertyValue(name)}`).join(";"));
    });
    const paper = document.createElementNS(copy.namespaceURI, "rect");
    const colour = getComputedStyle(picture).getPropertyValue("--paper") || "#fff";
    for (const [key, value] of Object.entries({ width, height, fill: colour })) paper.setAttribute(key, value);
    copy.prepend(paper);
    for (const [key, value] of Object.entries({ xmlns: copy.namespaceURI, width, height })) copy.setAttribute(key, value);
    return new Blob([new XMLSerializer().serializeToString(copy)], { type: "image/svg+xml" });
  }

  async function saveGraph(frame, kind) {
    const picture = frame.querySelector("svg"), name = `cell-graph.${kind}`;
    const edges = [...picture.querySelectorAll(".edge[data-key]")].map((edge) => ({
      edge: edge.dataset.key, ops: [...edge.querySelectorAll(".op:not(.pruned)")].map((op) => op.dataset.op),
      live: !edge.classList.contains("dead"),
    }));
    if (kind === "csv") {
      const all = [["edge", "ops", "live"], ...edges.map(({ edge, ops, live }) => [edge, ops.join(" "), live])];
      return give(new Blob([table(all)], { type: "text/csv" }), name);
    }
    if (kind === "json") {
      const text = JSON.stringify({ title: picture.getAttribute("aria-label"), edges }, null, 1) + "\n";
      return give(new Blob([text], { type: "application/json" }), name);
    }
    const drawn = standalone(picture);
    if (kind === "svg") return give(drawn, name);
    const image = new Image(), { width, height } = picture.viewBox.baseVal, canvas = document.createElement("canvas");
    image.src = URL.createObjectURL(drawn);
    await image.decode();
    Object.assign(canvas, { width: 2 * width, height: 2 * height });
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    URL.revokeObjectURL(image.src);
    canvas.toBlob((blob) => give(blob, name));
  }

  // ---- the menu

  function download(plot, kind) {
    const name = titleOf(plot).toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "").slice(0, 60) || "figure";
    if (kind === "svg" || kind === "png") {  // plotly's own button for a picture, told which
      const button = plot.querySelector('.modebar-btn[data-title^="Download"]');
      const before = plot._context.toImageButtonOptions;
      plot._context.toImageButtonOptions = { format: kind, filename: name, scale: kind === "png" ? 2 : 1 };
      button?.click();
      plot._context.toImageButtonOptions = before;
      return;
    }
    const text = kind === "csv" ? rows(plot) : JSON.stringify({ title: titleOf(plot), traces: traces(plot) }, null, 1) + "\n";
    give(new Blob([text], { type: kind === "csv" ? "text/csv" : "application/json" }), `${name}.${kind}`);
  }

  function attach(host, save) {
    const part = document.createElement("div");
    part.className = "lightsnn-save";
    part.dataset.lmSuppressShortcuts = "true";  // Enter is for the button, not for the notebook
    part.innerHTML = `<div role="menu" aria-label="Save this figure" hidden></div>
      <button type="button" aria-haspopup="menu" aria-expanded="false" aria-label="Save this figure" title="Save this figure">⤓</button>`;
    const [menu, button] = part.children;
    const open = (shown) => {
      menu.hidden = !shown;
      button.setAttribute("aria-expanded", shown);
    };
    for (const [kind, label] of [["svg", "Picture: SVG"], ["png", "Picture: PNG"], ["csv", "Table: CSV"], ["json", "Values: JSON"]]) {
      const item = document.createElement("button");
      item.type = "button";
      item.setAttribute("role", "menuitem");
      item.dataset.kind = kind;
      item.textContent = label;
      item.onclick = () => { save(kind); open(false); button.focus(); };
      menu.append(item);
    }
    button.onclick = () => { open(menu.hidden); if (!menu.hidden) menu.firstChild.focus(); };
    part.onkeydown = (event) => {
      if (event.key === "Escape") { open(false); button.focus(); }
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (!step || menu.hidden) return;
      const items = [...menu.children], at = items.indexOf(document.activeElement);
      items[(at + step + items.length) % items.length].focus();
      event.preventDefault();
    };
    part.addEventListener("focusout", (event) => { if (!part.contains(event.relatedTarget)) open(false); });
    host.classList.add("lightsnn-saves");
    host.append(part);
  }

  let waiting;
  const look = () => {
    waiting = undefined;
    for (const plot of document.querySelectorAll(".js-plotly-plot:not([data-lightsnn-save])")) {
      // plotly puts a copy right into the body while it makes a picture: that is none to save from
      if (!plot._fullData || !plot.parentElement || plot.parentElement === document.body) continue;
      plot.dataset.lightsnnSave = "";
      attach(plot.matches(".jp-RenderedPlotly") ? plot : plot.parentElement, (kind) => download(plot, kind));
    }
    for (const frame of document.querySelectorAll(".lightsnn-graph .frame:not(.lightsnn-saves)")) {
      attach(frame, (kind) => saveGraph(frame, kind));
    }
  };
  const begin = () => {
    document.head.append(style);
    new MutationObserver(() => { waiting ??= setTimeout(look, 200); }).observe(document.body, { childList: true, subtree: true });
    look();
  };
  if (document.body) begin();
  else document.addEventListener("DOMContentLoaded", begin);
})();
