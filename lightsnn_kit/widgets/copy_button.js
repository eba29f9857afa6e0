function copy(text) {
  if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");  // an insecure page has no clipboard
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done ? Promise.resolve() : Promise.reject();
}
function render({ model, el }) {
  const button = document.createElement("button");
  button.className = "jupyter-button";
  Object.assign(button.style, { width: "auto", margin: "2px" });
  const show = (word) => { button.textContent = word; };
  const draw = () => {
    button.disabled = !model.get("text");
    button.title = model.get("text");
    show(model.get("label"));
  };
  button.addEventListener("click", () => copy(model.get("text"))
    .then(() => show("Copied ✓"), () => show("No clipboard here"))
    .then(() => setTimeout(draw, 1500)));
  el.append(button);
  model.on("change:text", draw);
  draw();
  return () => model.off("change:text", draw);
}
export default { render };
