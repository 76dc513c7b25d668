"""The page in a real browser: figures, unknowns, the table, and a lost connection.

Skips where Debian's chromium is not installed; ``make tests`` installs it when root. Waits on DOM attributes and
text only: the page's Content-Security-Policy forbids evaluating strings.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Page, async_playwright

from aggregator.board import EventView
from grid.events import OptType
from tests.aggregator.console.conftest import Console

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium: run `apt-get install chromium`")

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture
async def tab(console: Console) -> AsyncIterator[Page]:
    """The page, live; fails the test on any error or refusal the browser logged."""
    complaints: list[str] = []
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        tab = await browser.new_page(timezone_id="America/Chicago", viewport={"width": 390, "height": 800})
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        await tab.goto(console.url)
        await tab.wait_for_selector('body[data-connection="live"]')
        yield tab
        await browser.close()
    assert complaints == []


async def text(tab: Page, part: str, field: str) -> str:
    found: str = await tab.inner_text(f"[data-part='{part}'] [data-field='{field}']")
    return found


async def push(console: Console, tab: Page) -> None:
    """Let the board tell its subscribers, and wait until the page shows that second."""
    await console.clock.advance(1.0)
    shown = console.clock.now().isoformat()[:19]
    await tab.wait_for_selector(f"[data-field='clock'][datetime^='{shown}']", state="attached")


async def test_an_event_in_its_hold(console: Console, tab: Page) -> None:
    console.hold_event()
    for site_id in ("north", "south"):
        console.sample(site_id, 79.0)
    await push(console, tab)
    assert await text(tab, "event", "phase") == "Hold"
    assert await text(tab, "event", "committed") == "40.0 kW"
    assert await text(tab, "event", "requested") == "40.0 kW"
    assert await text(tab, "event", "committed") == "40.0 kW"
    assert await text(tab, "event", "baseline") == "200.0 kW"
    assert await text(tab, "event", "baseline-note") == "fixed at the start"
    assert await text(tab, "event", "delivered") == "42.0 kW"
    assert await text(tab, "event", "delivered-note") == "105.0 % of the commitment"
    assert await text(tab, "event", "opt") == "Opted in"
    assert await text(tab, "portfolio", "target_kw") == "160.0 kW"
    north = tab.locator("[data-site='north']")
    assert await north.locator("[data-field='margin']").inner_text() == "1.0 kW under limit"
    assert await north.locator("[data-field='reduction']").inner_text() == "21.0 of 20.0 kW"
    assert await north.locator("canvas").count() == 1
    assert await tab.title() == "Hold · Negawatt"
    width = await tab.locator("html").evaluate("root => root.scrollWidth")
    assert width == 390  # a phone scrolls one way


async def test_an_event_we_opted_out_of_says_what_was_asked(console: Console, tab: Page) -> None:
    now = console.clock.now()
    refused = EventView(
        enrolment_id="portfolio", event_id="evt-2", opt=OptType.OPT_OUT, reason="60.5 kW asked, 60 kW deliverable",
        start=now, hold_start=now, hold_end=now, release_end=now, requested_kw=60.5,
    )  # fmt: skip
    console.board.event(refused)
    await push(console, tab)
    assert await text(tab, "event", "requested") == "60.5 kW"
    assert await text(tab, "event", "committed") == "nothing"
    assert not await tab.is_visible("[data-part='event'] [data-field='baseline-item']")


async def test_the_latest_statement(console: Console, tab: Page) -> None:
    names = {"commitment_id": "c-1", "enrolment_id": "portfolio", "event_id": "evt-1", "status": "preliminary"}
    statement = {**names, "programme_id": "demo-dispatch", "programme_verified": False}
    figures = {"committed_kwh": "1.000", "delivered_kwh": "0.950", "performance_ratio": "0.950000"}
    for version, payment in ((1, "0.10"), (2, "1234.50")):
        row = {**statement, **figures, "version": version, "payment_usd": payment, "missing_intervals": 2}
        console.board.settlement(row)
    await push(console, tab)
    assert await text(tab, "settlement", "payment") == "$1,234.50"
    assert await text(tab, "settlement", "committed") == "1.000 kWh"
    assert await text(tab, "settlement", "performance") == "95.0 %"
    assert await text(tab, "settlement", "missing") == "2 site intervals missing: nothing is counted for them"
    assert await text(tab, "settlement", "which") == "Event evt-1 · portfolio · version 2, preliminary"
    unverified = "Unverified: nobody has checked the rules of programme demo-dispatch against their source"
    assert await text(tab, "settlement", "rules") == unverified
    console.board.settlement({**row, "version": 3, "programme_verified": True})
    await push(console, tab)
    assert await text(tab, "settlement", "rules") == "The rules of programme demo-dispatch are verified"


async def test_simulated_sites_are_called_so(console: Console, tab: Page) -> None:
    assert not await tab.is_visible("[data-field='simulation']")
    console.board.link("north", connected=True, simulated=True)
    console.board.link("south", connected=True, simulated=False)
    await push(console, tab)
    assert "1 of 2 sites is simulated" in await tab.inner_text("[data-field='simulation']")
    assert await tab.is_visible("[data-site='north'] [data-field='simulated']")
    assert not await tab.is_visible("[data-site='south'] [data-field='simulated']")
    console.board.link("south", connected=True, simulated=True)
    await push(console, tab)
    assert "Every site is simulated" in await tab.inner_text("[data-field='simulation']")


async def test_what_is_not_known_is_called_unknown(console: Console, tab: Page) -> None:
    console.hold_event()
    console.sample("north", 79.0)
    await push(console, tab)
    assert await text(tab, "event", "delivered") == "unknown"
    assert await text(tab, "event", "delivered-note") == "21.0 kW at the 1 of 2 sites that report"
    assert await text(tab, "portfolio", "site_kw") == "unknown"
    assert await tab.inner_text("[data-site='south'] [data-field='site_kw']") == "unknown"


async def test_the_table_says_what_the_charts_say(console: Console, tab: Page) -> None:
    console.sample("north", 90.0)
    console.sample("south", 60.5)
    await tab.click("summary")
    await push(console, tab)
    head = await tab.locator("[data-part='twin'] thead th").all_inner_texts()
    assert head[:3] == ["Time (GMT-6)", "Portfolio metered", "Portfolio target"]
    row = tab.locator("[data-part='twin'] tbody tr").first
    assert await row.locator("th, td").all_inner_texts() == [
        "08:00:00",
        "150.5",
        "none",
        "90.0",
        "none",
        "60.5",
        "none",
    ]


async def test_a_lost_connection_leaves_nothing_shown_as_live(console: Console, tab: Page) -> None:
    console.sample("north", 90.0)
    console.sample("south", 60.0)
    await push(console, tab)
    assert await text(tab, "portfolio", "site_kw") == "150.0 kW"
    await console.runner.cleanup()
    await tab.wait_for_selector('body[data-connection="lost"]')
    assert await text(tab, "portfolio", "site_kw") == "unknown"
    assert await tab.inner_text("[data-site='north'] [data-field='link']") == "Link unknown"
    assert "has not been heard since 08:00:01" in await tab.inner_text("[data-field='alert']")
