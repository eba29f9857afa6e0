"""What axe-core finds wrong with parts of a page by WCAG 2, levels A and AA."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Locator

_RUN = """async (root) => {
    const rules = {type: 'tag', values: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa']};
    const {violations} = await axe.run(root, {runOnly: rules, resultTypes: ['violations'], preload: false});
    return violations.flatMap(({id, help, nodes}) =>
        nodes.map(node => `${id} (${help}): ${node.html.slice(0, 200)} at ${node.target.join(' ')}`));
}"""


def findings(parts: Locator) -> list[str]:
    """One line for each breach of a rule in these parts; axe comes from a package, so that nothing is fetched."""
    from axe_playwright_python.base import AXE_SCRIPT

    if not parts.page.evaluate("() => window.axe !== undefined"):
        parts.page.evaluate(AXE_SCRIPT)
    return parts.evaluate_all(_RUN)
