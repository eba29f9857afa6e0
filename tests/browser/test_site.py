"""The site as ``make site`` built it, opened from files: nothing is asked from the network, and all of it works."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from .accessibility import findings
from .conftest import required
from .lab import PICTURES, ROOT, Lab

pytestmark = pytest.mark.browser
SITE = Path(os.environ.get("LIGHTSNN_SITE", ROOT / "runs" / "site"))
MISSING = "needs the site: make site"
PAGES = {
    "index": "index.html",
    "play": "play.html",
    "lesson": "notebooks/lessons/1_neuron.html",
    "league": "notebooks/lessons/9_league.html",
    "notebook": "notebooks/00_start_here.html",
    "glossary": "glossary.html",
    "settings": "settings.html",
    "module": "api/fast.html",
    "results": "results.html",
    "tables": "data/results/README.html",
    "search": "search.html",
}


@pytest.fixture(scope="module")
def site(lab: Lab) -> Iterator[Page]:
    """The browser's page, with the site to be opened."""
    if not (SITE / "index.html").is_file():
        pytest.fail(MISSING) if required() else pytest.skip(MISSING)
    yield lab.page
    lab.page.emulate_media(color_scheme="light")


def opened(lab: Lab, place: str) -> Page:
    """A page of the site, loaded."""
    lab.page.goto(f"{SITE.as_uri()}/{place}")
    lab.page.wait_for_load_state("load")
    return lab.page


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_whole_and_open_to_all(lab: Lab, site: Page, name: str) -> None:
    """No error, no request, no finding of axe, nothing wider than the window; in both themes, wide and narrow."""
    for theme in ("light", "dark"):
        with lab.watched(f"site-{name}-{theme}"):
            site.emulate_media(color_scheme=theme)
            page = opened(lab, PAGES[name])
            assert page.locator("html").get_attribute("data-theme") == theme
            assert page.locator("article h1").count() == (name != "search")
            for width in (1280, 700, 400):
                page.set_viewport_size({"width": width, "height": 1000})
                page.wait_for_timeout(300)
                page.screenshot(path=PICTURES / f"site-{name}-{theme}-{width}.png")
                assert page.evaluate("() => document.scrollingElement.scrollWidth") <= width
            page.set_viewport_size({"width": 1280, "height": 1000})
            page.wait_for_timeout(600)  # the theme finds which tables scroll 300 ms after the last change of size
            assert not (found := findings(page.locator("html"))), found


def test_figures_and_formulas_are_drawn(lab: Lab, site: Page) -> None:
    with lab.watched("site-figures"):
        page = opened(lab, PAGES["results"])
        assert len(lab.check_plots(exactly=page.locator(".figure").count())) >= 4
        for name, least in (("lesson", 3), ("notebook", 5)):
            page = opened(lab, PAGES[name])
            assert len(lab.check_plots(exactly=page.locator(".figure").count())) >= least
        site.emulate_media(color_scheme="dark")
        grounds = page.locator(".text_html:has(.figure)").evaluate_all(
            "all => all.map(e => getComputedStyle(e).background)"
        )
        assert all(ground.startswith("rgba(0, 0, 0, 0)") for ground in grounds), grounds  # the page's own
        site.emulate_media(color_scheme="light")
        page = opened(lab, PAGES["glossary"])
        boxes = [formula.bounding_box() for formula in page.locator(".math math").all()]
        assert len(boxes) >= 3
        assert all(box["width"] > 100 and box["height"] > 20 for box in boxes)


def test_search_finds(lab: Lab, site: Page) -> None:
    with lab.watched("site-search"):
        page = opened(lab, "search.html?q=Hamming")
        page.locator("#search-results li a", has_text="lossary").first.wait_for()  # results come one after the other


def test_words_lead_to_the_glossary(lab: Lab, site: Page) -> None:
    with lab.watched("site-terms"):
        page = opened(lab, PAGES["lesson"])
        page.locator("a.reference[href*='glossary.html#term-']").first.click()
        page.wait_for_url("**/glossary.html#term-*")
        assert page.locator("dt:target").count() == 1


def test_pages_follow_the_reading_order(lab: Lab, site: Page) -> None:
    with lab.watched("site-next"):
        page = opened(lab, PAGES["notebook"])
        page.locator("a.right-next").click()
        page.wait_for_url("**/lessons/1_neuron.html")


def test_an_operation_is_pulled_onto_an_edge(lab: Lab, site: Page) -> None:
    """By mouse, by key, and undone; every edit is answered with other numbers."""
    with lab.watched("site-play"):
        page = opened(lab, PAGES["play"])
        cell = page.locator("#lightsnn-play")
        page.locator('[data-show="convs"]').click()
        assert cell.get_attribute("data-cell") == "222222"
        score, rates = page.locator("#play-facts .score").text_content(), page.locator("#play-rates").text_content()
        op = page.locator('#play-graph .palette [data-op="zeroize"]').bounding_box()
        chip = page.locator('#play-graph [data-key="1<-0"] .chip').bounding_box()
        page.mouse.move(op["x"] + 20, op["y"] + 10)
        page.mouse.down()
        page.mouse.move(op["x"] + 60, op["y"] + 60)
        page.mouse.move(chip["x"] + chip["width"] / 2, chip["y"] + chip["height"] / 2, steps=5)
        page.mouse.up()
        assert cell.get_attribute("data-cell") == "022222"
        assert page.locator("#play-facts .score").text_content() != score
        assert page.locator("#play-rates").text_content() != rates
        edge = page.locator('#play-graph [data-key="1<-0"]')
        edge.press("2")
        assert cell.get_attribute("data-cell") == "122222"
        assert "skip" in edge.get_attribute("aria-label")
        page.locator('[data-show="undo"]').press("Enter")
        page.locator('[data-show="undo"]').press("Enter")
        assert cell.get_attribute("data-cell") == "222222"
        assert page.locator("#play-facts .score").text_content() == score
        page.wait_for_timeout(5500)  # longer than the script waits for a kernel
        assert "not answered" not in page.locator("#play-graph .hint").text_content()


def test_a_search_is_stepped_through(lab: Lab, site: Page) -> None:
    with lab.watched("site-steps"):
        page = opened(lab, PAGES["play"])
        words, take = page.locator("#search-words"), page.locator('[data-move="take"]')
        assert "nothing is pruned yet; 729 cells left" in words.text_content()
        page.locator('[data-move="1"]').click()
        assert "decision 1 of 12, round 1" in words.text_content()
        assert page.locator("#search-scores tbody tr").count() == 3
        page.locator("#search-at").press("ArrowRight")
        assert "decision 2 of 12" in words.text_content()
        assert take.is_disabled()
        page.locator("#search-at").press("End")
        assert "1 cells left" in words.text_content()
        assert (SITE / "play.html").stat().st_size < 2_000_000
        page.locator('[data-show="convs"]').click()
        take.click()
        assert page.locator("#lightsnn-play").get_attribute("data-cell") != "222222"


HEIGHTS = """() => Reveal.getSlides().map(one => {
    Reveal.slide(Reveal.getIndices(one).h, 0, 9);
    return one.scrollHeight;
})"""


def test_slides_open(lab: Lab, site: Page) -> None:
    names = sorted(path.stem for path in (SITE / "slides").glob("*.html"))
    assert names == sorted(path.stem for path in (ROOT / "notebooks" / "lessons").glob("[0-9]*.ipynb"))
    for name in names:
        with lab.watched(f"slides-{name}"):
            page = opened(lab, f"slides/{name}.html")
            page.locator("section.present h1").wait_for()
            total = page.evaluate("() => Reveal.getTotalSlides()")
            page.keyboard.press("ArrowRight")
            page.wait_for_function("() => Reveal.getSlidePastCount() === 1")
            figures = page.evaluate("() => Reveal.getSlides().findIndex(one => one.querySelector('.js-plotly-plot'))")
            page.evaluate("at => Reveal.slide(at)", figures)
            page.wait_for_timeout(400)
            page.screenshot(path=PICTURES / f"slides-{name}.png")
            assert total >= 10
            plot = page.locator("section.present .js-plotly-plot .main-svg").first.bounding_box()
            assert plot["width"] > 300
            assert plot["height"] > 200
            assert 0 < plot["y"] < plot["y"] + plot["height"] < 1000  # on the screen
            heights = page.evaluate(HEIGHTS)
            assert max(heights) <= page.evaluate("() => Reveal.getConfig().height"), heights
        assert findings(page.locator("html")) == []
