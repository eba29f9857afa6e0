function label(root) {
  for (const handle of root.querySelectorAll(".noUi-handle:not([aria-label])")) {
    const slider = handle.closest(".widget-slider"), pair = slider.querySelectorAll(".noUi-handle").length > 1;
    const end = pair ? (handle.matches(".noUi-handle-lower") ? ", from" : ", to") : "";
    handle.setAttribute("aria-label", slider.querySelector(".widget-label").textContent + end);
  }
  for (const player of root.querySelectorAll(".widget-play"))
    player.querySelectorAll("button:not([aria-label])").forEach((button, i) => {
      button.setAttribute("aria-label", ["Play or pause", "Stop", "Repeat"][i]);
    });
}
const GONE = "⚠ The kernel that drew this was restarted or has ended: nothing here answers any more. "
  + "Run this cell again, after those before it.";
function render({ model, el }) {
  const gone = document.createElement("p");
  gone.setAttribute("role", "alert");
  gone.className = "lightsnn-gone-note";
  const alive = () => {  // ipywidgets marks the views of a model that has lost its kernel
    const lost = el.closest(".jupyter-widgets-disconnected") !== null, root = el.closest(".lightsnn");
    if (root?.parentElement.closest(".lightsnn")) return;  // a view inside a view: once is enough
    gone.textContent = lost ? GONE : "";
    root?.classList.toggle("lightsnn-gone", lost);
  };
  el.append(gone);
  model.on("comm_live_update", alive);
  const send = () => {
    const light = document.body.dataset.jpThemeLight;
    model.set("theme", light === "false" ? "dark" : "light");
    model.save_changes();
  };
  const watch = new MutationObserver(send);
  watch.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
  if (document.body.dataset.jpThemeLight) send();
  const keep = ({ target }) => {
    const typed = target.matches("textarea, input:not([type=checkbox], [type=radio], [type=range])");
    if (target.closest(".lightsnn") && !typed) target.dataset.lmSuppressShortcuts = "true";
  };
  document.addEventListener("focusin", keep);
  let frame;
  const labels = new MutationObserver(([{ target }]) => label(target.closest(".lightsnn") ?? target));
  const attach = () => {  // parts come one by one
    const root = el.closest(".lightsnn");
    if (!root) return frame = requestAnimationFrame(attach);
    label(root);
    labels.observe(root, { childList: true, subtree: true });
  };
  attach();
  return () => {
    model.off("comm_live_update", alive);
    watch.disconnect();
    labels.disconnect();
    cancelAnimationFrame(frame);
    document.removeEventListener("focusin", keep);
  };
}
export default { render };
