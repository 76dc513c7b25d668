"""The page as a document: landmarks, names, escaping, and colours that can be told apart."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import aiohttp
import pytest

import aggregator.console
from tests.aggregator.console.conftest import SITES, Console

STYLES = Path(aggregator.console.__file__).parent / "static" / "now.css"


class Document(HTMLParser):
    """Every start tag with its attributes, and the text inside headings."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.headings: list[str] = []
        self._in_heading = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag in ("h1", "h2", "h3"):
            self._in_heading = True
            self.headings.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("h1", "h2", "h3"):
            self._in_heading = False

    def handle_data(self, data: str) -> None:
        if self._in_heading:
            self.headings[-1] += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


async def page(http: aiohttp.ClientSession) -> tuple[str, Document]:
    async with http.get("/") as answer:
        text = await answer.text()
    return text, Document(text)


async def test_site_names_are_text_and_never_markup(console: Console, http: aiohttp.ClientSession) -> None:
    text, document = await page(http)
    assert "<script>alert" not in text
    assert [heading for heading in document.headings if heading in SITES.values()] == list(SITES.values())


async def test_landmarks_and_names(console: Console, http: aiohttp.ClientSession) -> None:
    _, document = await page(http)
    assert document.all("html")[0]["lang"] == "en"
    assert [len(document.all(tag)) for tag in ("header", "main", "footer", "h1")] == [1, 1, 1, 1]
    ids = [attributes["id"] for _, attributes in document.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for section in document.all("section"):
        assert section["aria-labelledby"] in ids
    assert document.all("a")[0]["href"].removeprefix("#") in ids  # the skip link comes first
    charts = [attributes for _, attributes in document.tags if attributes.get("role") == "img"]
    assert len(charts) == 1 + len(SITES) + 1  # portfolio, each site, and the card kept for later sites
    assert all(chart["aria-label"] for chart in charts)


async def test_the_charts_have_a_table_twin(console: Console, http: aiohttp.ClientSession) -> None:
    _, document = await page(http)
    twin = next(i for i, (_, attributes) in enumerate(document.tags) if attributes.get("data-part") == "twin")
    inside = [tag for tag, _ in document.tags[twin : twin + 8]]
    assert inside[:2] == ["details", "summary"]
    assert {"table", "caption", "thead", "tbody"} <= set(inside)


async def test_no_inline_script(console: Console, http: aiohttp.ClientSession) -> None:
    _, document = await page(http)
    assert document.all("script")
    assert all(script.get("src", "").startswith("/static/") for script in document.all("script"))
    assert not [name for _, attributes in document.tags for name in attributes if name.startswith("on")]


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb (WCAG 2.2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_contrast_is_at_least_wcag_aa(scheme: int) -> None:
    block = re.findall(r":root \{(.*?)\}", STYLES.read_text(), flags=re.DOTALL)[scheme]
    palette = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))
    for text in ("ink", "ink-2", "ink-3", "accent", "ok", "warn", "bad"):
        for surface in ("bg", "surface", "sunken"):
            assert contrast(palette[text], palette[surface]) >= 4.5, (text, surface)
    assert contrast(palette["ink"], palette["alert-bg"]) >= 4.5
    for line in ("metered", "limit", "baseline"):
        assert contrast(palette[line], palette["surface"]) >= 3.0, line
