// Draws a plotly figure with the one copy of plotly.js that all figures of a page share.
const PAGE = "__lightsnn_plotly";  // anywidget loads this module once per model: only globalThis is common to them

function ask(model) {
  return new Promise((resolve, reject) => {
    const answer = (content, buffers) => {
      if (content.kind !== "plotly.js") return;
      model.off("msg:custom", answer);
      try {
        const bundle = { exports: {} };
        new Function("module", "exports", new TextDecoder().decode(buffers[0])).call(globalThis, bundle, bundle.exports);
        resolve(bundle.exports);
      } catch (error) { reject(error); }
    };
    model.on("msg:custom", answer);
    model.send({ kind: "plotly.js" });
  });
}

function plotly(model) {
  // The one that asked first may be gone before its kernel answers: after a while everyone asks for itself.
  if (!globalThis[PAGE]) globalThis[PAGE] = ask(model);
  const alone = new Promise((resolve) => setTimeout(resolve, 20000)).then(() => globalThis[PAGE + "_done"] || ask(model));
  return Promise.race([globalThis[PAGE], alone]).then((found) => {
    globalThis[PAGE + "_done"] = found;
    globalThis[PAGE] = Promise.resolve(found);
    return found;
  });
}

function pointed(kind, event) {
  const point = event.points[0];
  const index = point.pointNumber ?? point.pointIndex ?? null;
  return { kind, curve: point.curveNumber, point: index, x: point.x, y: point.y, customdata: point.customdata ?? null };
}

// Lines of a title are made for 600 pixels: where a plot is narrower they are broken, and the plot grows by as much.
function wrap(line, most) {
  const lines = [];
  let room = 0;
  for (const word of line.split(/ (?![^<]*>)/)) {  // not at spaces inside of tags
    const length = word.replace(/<[^>]*>/g, "").length + 1;
    if (lines.length && length <= room) lines[lines.length - 1] += ` ${word}`;
    else { lines.push(word); room = most; }
    room -= length;
  }
  return lines;
}

function fit(layout, width) {
  if (!width || !layout.height || !layout.title?.text || layout.margin?.t === undefined) return layout;
  const lines = layout.title.text.split("<br>"), most = (width - 32) / 5.8;
  const broken = lines.flatMap((line) => wrap(line, line.includes("font-size:16px") ? 0.75 * most : most));
  const more = 16 * (broken.length - lines.length), { title, margin, height } = layout;
  return { ...layout, title: { ...title, text: broken.join("<br>") }, margin: { ...margin, t: margin.t + more }, height: height + more };
}

function render({ model, el }) {
  el.classList.add("lightsnn-plot");
  const plot = document.createElement("div");
  plot.setAttribute("role", "figure");  // no image: those hide what is in them, and this one has buttons
  el.append(plot);
  let gone = false, drawing = Promise.resolve(), draws = 0;
  let waiting, spec, title;
  const hover = (event) => {  // told where the pointer rests, not all the way there
    clearTimeout(waiting);
    waiting = setTimeout(() => model.send(pointed("hover", event)), 80);
  };
  const label = () => plot.setAttribute("aria-label", model.get("label"));
  const draw = () => {
    // Only the newest figure is drawn, however many came while one was being drawn.
    drawing = drawing.then(async () => {
      const text = model.get("spec");
      if (gone || !text) return;
      const Plotly = await plotly(model);
      if (gone || text !== model.get("spec")) return;
      spec = JSON.parse(text);
      const layout = fit(spec.layout, plot.clientWidth);
      title = layout.title?.text;
      plot.style.height = `${layout.height ?? 450}px`;  // or a plot that is resized takes the height of what is in it
      await Plotly.react(plot, spec.data, { autosize: true, ...layout }, { displaylogo: false, showSendToCloud: false });
      if (!draws) plot.on("plotly_click", (event) => model.send(pointed("click", event)));
      if (!draws && model.get("hovers")) plot.on("plotly_hover", hover);
      el.dataset.draws = ++draws;  // what a browser test waits for
    }).catch((error) => console.error("lightsnn_kit: a figure could not be drawn:", error));
  };
  const sized = new ResizeObserver(() => {
    if (!draws || !plot.clientWidth) return;
    if (fit(spec.layout, plot.clientWidth).title?.text !== title) return draw();
    globalThis[PAGE].then((Plotly) => gone || Plotly.Plots.resize(plot));
  });
  sized.observe(el);
  model.on("change:spec", draw);
  model.on("change:label", label);
  label();
  draw();
  return () => {
    gone = true;
    clearTimeout(waiting);
    sized.disconnect();
    model.off("change:spec", draw);
    model.off("change:label", label);
    if (draws) globalThis[PAGE].then((Plotly) => Plotly.purge(plot));
  };
}

export default { render };
