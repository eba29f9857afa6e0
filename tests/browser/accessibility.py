"""What axe-core finds wrong with a part of a page by WCAG 2, levels A and AA."""

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


def findings(part: Locator) -> list[str]:
    """One line for each part of the page that breaks a rule; axe comes from a package, so that nothing is fetched."""
    from axe_playwright_python.base import AXE_SCRIPT

    if not part.page.evaluate("() => window.axe !== undefined"):
        part.page.evaluate(AXE_SCRIPT)
    return part.evaluate(_RUN)
