"""The book as JSON for the admin HTTP."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from typing import Any

from ven.endpoint import request_id_of
from ven.simulation.delivery import Delivery
from ven.simulation.faults import Fault
from ven.simulation.messages import Passed
from ven.simulation.offers import Offer
from ven.simulation.received import Received
from ven.simulation.records import CalledEvent, HeldInterval, OptRecord, OptSchedule, RequestRecord, VenRecord
from ven.wire.payload import encode, name_of


def iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def registration(ven: VenRecord, resources: dict[str, str], came_again: int) -> dict[str, Any]:
    return {
        "ven_id": ven.ven_id,
        "ven_name": ven.ven_name,
        "registered_at": ven.registered_at.isoformat(),
        "resources": list(resources.values()),
        "reports_registered": ven.reports_created_at is not None,
        "reports_created_at": iso(ven.reports_created_at),
        "duplicates": came_again,
        "registration_id": ven.registration_id,
        "fingerprint": ven.fingerprint,
        "pull": ven.pull,
        "transport_address": ven.transport_address,
        "report_only": ven.report_only,
    }


def received(ven: Received) -> dict[str, Any]:
    rows = {}
    for rid in ven.resources:
        starts = [start for found, start in ven.readings_kw if found == rid]
        rows[rid] = {"intervals": len(starts), "latest": iso(max(starts, default=None))}
    return rows


def event(called: CalledEvent, now: datetime) -> dict[str, Any]:
    return {
        "event_id": called.event.event_id,
        "ven_id": called.ven_id,
        "status": called.status(now).value,
        "dtstart": called.event.start.isoformat(),
        "requested_kw": called.requested_kw,
        "modification_number": called.event.modification_number,
        "duration_s": called.event.duration_s,
        "market_context": called.event.market_context,
        "priority": called.event.priority,
        "test_event": called.event.test_event,
        "response_required": called.event.response_required,
        "vanished": called.vanished,
        "cancelled_at": iso(called.cancelled_at),
    }


def answer(record: OptRecord) -> dict[str, Any]:
    return {**asdict(record), "at": record.at.isoformat()}


def delivery(result: Delivery) -> dict[str, Any]:
    by_resource = {
        resource_id: {**asdict(part), "missing": [start.isoformat() for start in part.missing]}
        for resource_id, part in result.by_resource.items()
    }
    return {**asdict(result), "complete_until": iso(result.complete_until), "by_resource": by_resource}


def offer(found: Offer) -> list[dict[str, Any]]:
    return [
        {
            "specifier_id": one.specifier_id,
            "report_name": one.report_name,
            "rid": one.rid,
            "resource_id": one.resource_id,
            "measure": one.measure_name,
            "report_type": one.description.report_type,
            "reading_type": one.description.reading_type,
        }
        for one in found.rids
    ]


def request(record: RequestRecord) -> dict[str, Any]:
    asked = record.request
    return {
        "report_request_id": asked.request_id,
        "ven_id": record.ven_id,
        "state": record.state.value,
        "asked_at": record.asked_at.isoformat(),
        "specifier_id": asked.specifier_id,
        "rids": list(asked.rids),
        "granularity_s": asked.granularity_s,
        "back_duration_s": asked.back_duration_s,
        "start": iso(asked.period.start) if asked.period else None,
        "duration_s": asked.period.duration_s if asked.period else None,
    }


def interval(held: HeldInterval) -> dict[str, Any]:
    return {
        **asdict(held),
        "start": held.start.isoformat(),
        "received_at": held.received_at.isoformat(),
        "value": json.loads(held.value),
    }


def opt(schedule: OptSchedule) -> dict[str, Any]:
    message = schedule.message
    about = message.event
    return {
        "opt_id": message.opt_id,
        "ven_id": message.ven_id,
        "opt": message.opt.value,
        "reason": message.reason,
        "market_context": message.market_context,
        "event_id": None if about is None else about.event_id,
        "modification_number": None if about is None else about.modification_number,
        "availability": None
        if message.availability is None
        else [{"start": one.start.isoformat(), "duration_s": one.duration_s} for one in message.availability],
        "resource_ids": list(message.target.resource_ids),
        "created_at": message.created_at.isoformat(),
        "received_at": schedule.received_at.isoformat(),
        "cancelled_at": iso(schedule.cancelled_at),
    }


def fault(found: Fault) -> dict[str, Any]:
    return asdict(found)


def passed(entry: Passed, *, xml: bool) -> dict[str, Any]:
    row = {
        "at": entry.at.isoformat(),
        "direction": entry.direction.value,
        "service": entry.service.value,
        "ven_id": entry.ven_id,
        "message": name_of(entry.message),
        "request_id": request_id_of(entry.message),
    }
    response = getattr(entry.message, "response", None)
    if response is not None:
        row["response_code"] = response.code
        row["answers"] = response.request_id
    return {**row, "xml": encode(entry.message).decode()} if xml else row
