// JupyterLab draws a stored plotly figure in the colours that it was made with, which are those of a light page. In the dark
// theme this style turns light and dark around at once, without a reload, and keeps the hues; photographs stay as they are.
(() => {
  const here = document.currentScript.src;
  const light = '.jp-RenderedPlotly > .plot-container:has(.main-svg[style*="rgb(255, 255, 255)"])';
  const turned = "filter: invert(1) hue-rotate(180deg)";
  const style = document.createElement("style");
  style.textContent = `
    body[data-jp-theme-light="false"] ${light} { filter: invert(0.93) hue-rotate(180deg); }
    body[data-jp-theme-light="false"] ${light} .imagelayer image { ${turned}; }
    @media print { body ${light}, body ${light} .imagelayer image { filter: none !important; } }`;
  const activate = () => {
    const menu = document.createElement("script");
    menu.src = new URL("save_menu.js", here);
    document.head.append(style, menu);
  };
  const plugin = { id: "lightsnn-kit:figures", autoStart: true, activate };
  // What JupyterLab looks for in a prebuilt extension: a container of modules.
  (window._JUPYTERLAB ??= {})["lightsnn-kit"] = { init: () => {}, get: async () => () => ({ __esModule: true, default: plugin }) };
})();
