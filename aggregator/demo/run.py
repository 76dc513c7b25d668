"""One demo from an empty folder to a summary, and everything stopped after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from aggregator.demo.children import Children
from aggregator.demo.collect import collect
from aggregator.demo.director import Director, Kill
from aggregator.demo.errors import DemoError
from aggregator.demo.scene import SITE_IDS, SceneOptions, set_scene
from aggregator.demo.summary import Summary
from grid.clock import Clock
from grid.errors import ConfigError


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


async def run_demo(folder: Path, options: DemoOptions, clock: Clock, say: Callable[[str], None]) -> None:
    """Run the demo in ``folder``. Raises DemoError when the event falls short of what it promises."""
    _check(options)
    async with Children(clock) as children, aiohttp.ClientSession() as http:
        scene = await set_scene(
            folder,
            SceneOptions(
                seed=options.seed,
                arrivals=options.arrivals.resolve() if options.arrivals else None,
                console_host=options.console_host,
                console_port=options.console_port,
            ),
            children,
            clock,
            say,
        )
        say(f"console: {scene.console_url}/")
        director = Director(scene, children, http, clock, say)
        summary = await collect(scene, director, await director.run(options.kill))
        for line in _in_words(summary):
            say(line)
        if options.json_file is not None:
            options.json_file.write_text(summary.model_dump_json(indent=2) + "\n")
        if shortcomings := summary.shortcomings():
            raise DemoError(f"the event fell short: {'; '.join(shortcomings)}")
        if not options.once:
            say(f"the console stays up at {scene.console_url}/ until Ctrl-C")
            while True:
                children.check_all()
                await clock.sleep(1.0)
    say("everything is stopped")


def _check(options: DemoOptions) -> None:
    """Refuse at once what could only fail at the end."""
    if options.kill is not None and options.kill.site_id not in SITE_IDS:
        raise ConfigError(f"--kill names no site {options.kill.site_id!r}: choose one of {', '.join(SITE_IDS)}")
    if options.arrivals is not None and not options.arrivals.is_file():
        raise ConfigError(f"--arrivals: there is no file {options.arrivals}")
    if options.json_file is not None and not options.json_file.resolve().parent.is_dir():
        raise ConfigError(f"--json: there is no folder {options.json_file.resolve().parent}")


def _in_words(summary: Summary) -> list[str]:
    return [
        f"asked {summary.requested_kw:.1f} kW, answered {summary.opt}; simulated sites, seed {summary.seed}",
        *(
            f"  {site.site_id:9} {site.status:4} baseline {site.baseline_kw:6.1f} kW, held {site.mean_kw:6.1f} of "
            f"{site.limit_kw:6.1f} kW, RMSE {site.tracking_rmse_pct:.2f}%, caps gave {site.caps_share:.0%}, "
            f"{site.reduction_share:.0%} of the reduction, caps {'restored' if site.caps_restored else 'NOT restored'}"
            for site in summary.sites
        ),
        f"utility: {summary.utility_intervals_received} of {summary.utility_intervals_expected} intervals, "
        f"{summary.utility_delivered_kwh:.3f} of {summary.requested_kwh:.3f} kWh delivered over the hold",
        f"statement: {summary.settlement.delivered_kwh} of {summary.settlement.committed_kwh} kWh, "
        f"{summary.settlement.payment_usd} USD; audit: {summary.audit.entries} entries verified",
    ]
