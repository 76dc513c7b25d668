"""One demo from an empty folder to a summary, and everything stopped after it.

The summary is written whatever it says. A stop before it is an error, a stop of a console that stays up is not; the
verdict on the event stands in both cases.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aggregator.demo.children import Children
from aggregator.demo.collect import collect
from aggregator.demo.director import Director
from aggregator.demo.errors import DemoError, StoppedError
from aggregator.demo.http import Http, session
from aggregator.demo.plan import Kill, event_plan
from aggregator.demo.scene import SITE_IDS, Scene, SceneOptions, set_scene
from aggregator.demo.summary import Summary
from grid.clock import Clock
from grid.errors import ConfigError
from grid.process.listen import cannot_listen

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """What the person asked for."""

    once: bool
    """Stop after one event instead of leaving the console up."""
    json_file: Path | None
    kill: Kill | None
    arrivals: Path | None
    seed: int
    console_host: str
    console_port: int

    @property
    def scene(self) -> SceneOptions:
        return SceneOptions(
            seed=self.seed,
            arrivals=self.arrivals.resolve() if self.arrivals else None,
            console_host=self.console_host,
            console_port=self.console_port,
        )


async def run_demo(folder: Path, options: DemoOptions, clock: Clock, say: Say) -> None:
    """Run the demo in ``folder``. Raises StoppedError, and DemoError when the event falls short of its promises."""
    summary: Summary | None = None
    say(f"simulated sites, seed {options.seed}")
    try:
        async with Children(clock) as children:
            scene = await set_scene(folder, options.scene, children, clock, say)
            say(f"console: {scene.console_url}/")
            summary = await _event(scene, options, children, clock, say)
            _tell(summary, options.json_file, say)
            if not options.once:
                await _stay_up(scene, children, clock, say)
    except asyncio.CancelledError as stop:
        if summary is None:
            raise StoppedError("stopped before the event was settled") from stop
    if shortcomings := summary.shortcomings():
        raise DemoError(f"the event fell short: {'; '.join(shortcomings)}")
    say("everything is stopped")


def check(options: DemoOptions) -> None:
    """Refuse at once what could only fail at the end. Raises ConfigError, AddressInUseError."""
    if options.kill is not None:
        _check_kill(options.kill)
    if options.arrivals is not None and not options.arrivals.is_file():
        raise ConfigError(f"--arrivals: there is no file {options.arrivals}")
    if options.json_file is not None:
        _check_writable(options.json_file)
    _check_console(options.console_host, options.console_port)


def _check_kill(kill: Kill) -> None:
    plan = event_plan()
    if kill.site_id not in SITE_IDS:
        raise ConfigError(f"--kill names no site {kill.site_id!r}: choose one of {', '.join(SITE_IDS)}")
    if kill.after_s >= plan.active_s:
        raise ConfigError(f"--kill comes after the event: choose less than {plan.active_s:.0f} seconds")


def _check_writable(path: Path) -> None:
    existed = path.exists()
    try:
        path.open("a").close()
    except OSError as error:
        raise ConfigError(f"--json: cannot write {path}: {error.strerror}; name a file in a folder of yours") from error
    if not existed:
        path.unlink()


def _check_console(host: str, port: int) -> None:
    if not 0 <= port <= 65535:
        raise ConfigError(f"--console-port {port} is no port: choose one from 1 to 65535, or 0 for any free one")
    try:
        family, kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen()
    except OSError as error:
        raise cannot_listen(host, port, error) from error


async def _event(scene: Scene, options: DemoOptions, children: Children, clock: Clock, say: Say) -> Summary:
    async with session() as asking:
        http = Http(asking, scene.name_of, children.check_all)
        director = Director(scene, children, http, clock, say)
        return await collect(scene, director, http, await director.run(options.kill))


async def _stay_up(scene: Scene, children: Children, clock: Clock, say: Say) -> None:
    """Until a stop signal cancels it. Raises DemoError when a process ends by itself."""
    say(f"the console stays up at {scene.console_url}/ until Ctrl-C")
    while True:
        children.check_all()
        await clock.sleep(1.0)


def _tell(summary: Summary, json_file: Path | None, say: Say) -> None:
    for line in _in_words(summary):
        say(line)
    if json_file is not None:
        json_file.write_text(summary.model_dump_json(indent=2) + "\n")


def _in_words(summary: Summary) -> list[str]:
    statement, audit = summary.settlement, summary.audit
    return [
        f"asked {summary.requested_kw:.1f} kW, answered {summary.opt}; simulated sites, seed {summary.seed}",
        *(
            f"  {site.site_id:9} {site.status:4} baseline {_figure(site.baseline_kw)} kW, held {site.mean_kw:.1f} of "
            f"{_figure(site.limit_kw)} kW, RMSE {_figure(site.tracking_rmse_pct, 2)}%, "
            f"caps gave {_share(site.caps_share)}, {_share(site.reduction_share)} of the reduction, "
            f"caps {'restored' if site.caps_restored else 'NOT restored'}"
            for site in summary.sites
        ),
        f"utility: {summary.utility_intervals_received} of {summary.utility_intervals_expected} intervals, "
        f"{summary.utility_delivered_kwh:.3f} of {summary.requested_kwh:.3f} kWh delivered over the hold",
        "statement: none"
        if statement is None
        else f"statement: {statement.delivered_kwh} of {statement.committed_kwh} kWh, {statement.payment_usd} USD"
        f"{'' if statement.programme_verified else ' by unverified rules'}, for simulated sites",
        f"audit: {audit.entries} entries {'verified' if audit.verified else 'NOT verified'}",
        *(f"fell short: {line}" for line in summary.shortcomings()),
    ]


def _figure(value: float | None, places: int = 1) -> str:
    return "none" if value is None else f"{value:.{places}f}"


def _share(value: float | None) -> str:
    return "none" if value is None else f"{value:.0%}"
