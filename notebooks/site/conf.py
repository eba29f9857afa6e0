"""Settings of the site: Sphinx with MyST; formulas as MathML, so that a page needs neither fonts nor the network."""

from __future__ import annotations

import re

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

import lightsnn_kit

project = "lightsnn_kit"
author = copyright = "the authors of lightsnn_kit"
version = release = lightsnn_kit.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc"]
source_suffix = {".rst": "restructuredtext", ".md": "myst-nb", ".ipynb": "myst-nb"}
exclude_patterns = ["explorer.html"]
nitpicky = False
default_role = "py:obj"  # single backticks in docstrings name things of the kit
suppress_warnings = ["myst.header"]  # notebooks may skip a level of headings
highlight_language = "none"  # what names no language is a formula or an output
pygments_style = "xcode"

nb_merge_streams = True
nb_execution_mode = "off"  # what is executed was executed before: see site_build.py
nb_render_image_options = {"alt": "picture of the output"}
nb_mime_priority_overrides = [("html", "text/html", 0)]
myst_enable_extensions = ["dollarmath", "amsmath", "deflist", "colon_fence", "html_admonition", "html_image"]
myst_dmath_allow_digits = False
myst_dmath_allow_space = False
myst_update_mathjax = False
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_mock_imports = ["triton"]  # which a CPU-only torch lacks
autodoc_inherit_docstrings = False  # torch's and spikingjelly's link to pages of theirs
autodoc_default_options = {"members": True, "ignore-module-all": True}  # a package describes what it defines
python_use_unqualified_type_names = True
add_module_names = False

html_theme = "sphinx_book_theme"
html_context = {"default_mode": "auto"}  # light or dark as the reader's system
html_title = "lightsnn_kit"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["save_menu.js"]
html_show_sourcelink = False
html_show_search_summary = False  # it would ask for the pages found, which a page from a file may not
html_copy_source = False
html_theme_options = {
    "navbar_persistent": [],  # the search stands in the side bar
    "use_download_button": False,
    "use_fullscreen_button": False,
    "show_toc_level": 2,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_math_renderer = "mathml"


def _inline(page: object, node: nodes.math) -> None:
    page.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def _block(page: object, node: nodes.math_block) -> None:
    focus = 'tabindex="0" role="group" aria-label="formula"'  # it scrolls where a page is narrow, by keys, too
    page.body.append(f'<div class="math" {focus}>{tex2mathml(node.astext(), as_block=True)}</div>')
    raise nodes.SkipNode


def _keep_bars(*event: object) -> None:
    """Docstrings write |x| and mean it: no substitution of reStructuredText."""
    lines, inside = event[-1], False
    if lines and lines[0].startswith("Alias for field number"):  # of a named tuple: its class says what it holds
        lines.clear()
    for at, line in enumerate(lines):
        inside = line.lstrip().startswith(">>>") or (inside and line.strip() != "")  # an example and what it gives
        if not inside:
            parts = line.split("``")  # texts and code take turns
            lines[at] = "``".join(part if n % 2 else part.replace("|", r"\|") for n, part in enumerate(parts))


def _short_names(*event: object) -> tuple[object, object]:
    """Annotations that autodoc could not read, since a default is a function, are shortened as the others are."""
    signature, returns = event[-2:]
    return re.sub(r"~(?:\w+\.)+(?=\w)", "", re.sub(r"<f[^<>]*(?:<\w+>)?>", "…", signature or "")) or None, returns


def setup(app: object) -> None:
    """Register the renderer of formulas, and what is done to docstrings and signatures."""
    app.connect("autodoc-process-signature", _short_names)
    app.connect("autodoc-process-docstring", _keep_bars)
    app.add_html_math_renderer("mathml", inline_renderers=(_inline, None), block_renderers=(_block, None))
