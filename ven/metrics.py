"""What the VENs did, as Prometheus counters by enrolment: the observer of a gateway that runs alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge

from grid.events import OptType
from grid.intervals import Interval
from ven.timeline import InForce

Announce = Callable[[str, Sequence[InForce], datetime], None]


class MetricsObserver:
    """``VenObserver`` that counts."""

    def __init__(self, registry: CollectorRegistry, announce: Announce | None = None) -> None:
        """``announce`` is told what comes into force as well."""
        self._announce = announce

        def counter(name: str, help_text: str, *labels: str) -> Counter:
            return Counter(f"ven_{name}", help_text, ["enrolment_id", *labels], registry=registry)

        self._registrations = counter("registrations", "Registrations the VTN accepted")
        self._polls = counter("polls", "Polls the VTN answered")
        self._failures = counter("failures", "Times the VTN became unusable, by a new reason")
        self._alarms = counter("alarms", "Things a person should look at")
        self._opts = counter("opts_sent", "oadrCreatedEvents the VTN acknowledged", "opt")
        self._active = Gauge("ven_events_active", "Events in force", ["enrolment_id"], registry=registry)
        self._reports = counter("reports_acknowledged", "oadrUpdateReports the VTN acknowledged")

    async def registered(self, *, enrolment_id: str, ven_id: str, vtn_id: str, at: datetime) -> None:
        self._registrations.labels(enrolment_id).inc()

    async def polled(self, *, enrolment_id: str, at: datetime) -> None:
        self._polls.labels(enrolment_id).inc()

    async def failed(self, *, enrolment_id: str, why: str, at: datetime) -> None:
        self._failures.labels(enrolment_id).inc()

    async def alarmed(self, *, enrolment_id: str, what: str, at: datetime) -> None:
        self._alarms.labels(enrolment_id).inc()

    async def opt_sent(
        self, *, enrolment_id: str, event_id: str, modification_number: int, opt: OptType, at: datetime
    ) -> None:
        self._opts.labels(enrolment_id, opt.value).inc()

    async def report_acknowledged(
        self, *, enrolment_id: str, interval: Interval, resource_ids: Sequence[str], at: datetime
    ) -> None:
        self._reports.labels(enrolment_id).inc()

    async def in_force(self, *, enrolment_id: str, events: Sequence[InForce], at: datetime) -> None:
        if self._announce is not None:
            self._announce(enrolment_id, events, at)
        self._active.labels(enrolment_id).set(len(events))
