"""The live view as Prometheus metrics, in base units; what is unknown has no sample."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from aggregator.board import NowBoard
from grid.units import W_PER_KW


class BoardMetrics(Collector):
    """Reads the board whenever it is scraped."""

    def __init__(self, board: NowBoard) -> None:
        self._board = board

    def collect(self) -> Iterator[Metric]:
        now = self._board.snapshot()
        power = GaugeMetricFamily("negawatt_site_power_watts", "Metered power of a site", labels=["site"])
        target = GaugeMetricFamily("negawatt_dispatch_target_watts", "Ceiling a site must hold", labels=["site"])
        for site in now["sites"]:
            for family, name in ((power, "site_kw"), (target, "limit_kw")):
                if site[name] is not None:
                    family.add_metric([site["site_id"]], site[name] * W_PER_KW)
        polls = GaugeMetricFamily(
            "negawatt_ven_last_poll_timestamp_seconds", "When a VTN last answered a poll", labels=["enrolment"]
        )
        for ven in now["vens"]:
            if ven["last_poll"] is not None:
                polls.add_metric([ven["enrolment_id"]], datetime.fromisoformat(ven["last_poll"]).timestamp())
        yield from (power, target, polls)
