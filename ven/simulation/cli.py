"""``negawatt vtn``: a utility's VTN in its own process, and what its operator asks of it.

All verbs but ``run`` talk to the admin HTTP of a running VTN and print its JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from grid.clock import SystemClock
from grid.process.config import load
from grid.process.logging import configure
from grid.process.running import run_until_stopped
from ven.simulation.client import ask
from ven.simulation.config import VtnSettings
from ven.simulation.errors import CallError
from ven.simulation.faults import FaultKind
from ven.simulation.service import run
from ven.wire.payload import Service

Verbs = Any
"""What ``add_subparsers`` returns, which argparse does not name."""


def register(parser: argparse.ArgumentParser) -> None:
    """Add the noun's verbs."""
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    serve = verbs.add_parser("run", help="serve VENs and call events")
    serve.add_argument("--config", type=Path, required=True, help="TOML file")
    serve.add_argument("--ready-file", type=Path, help="written once serving: pid, port, admin_port")
    serve.set_defaults(run=_run)
    _register_lists(verbs)
    _register_events(verbs)
    _register_reports(verbs)
    _register_faults(verbs)


def _run(arguments: argparse.Namespace) -> int:
    settings = load(arguments.config, VtnSettings)
    configure("vtn", vtn_id=settings.vtn_id)
    return run_until_stopped(run(settings, SystemClock(), arguments.ready_file))


# --- verbs of the operator


def _verb(verbs: Verbs, name: str, explain: str, act: Callable[[argparse.Namespace], Any]) -> argparse.ArgumentParser:
    verb: argparse.ArgumentParser = verbs.add_parser(name, help=explain)
    verb.add_argument("--admin", required=True, metavar="URL", help="admin HTTP of the VTN: http://127.0.0.1:PORT")

    def show(arguments: argparse.Namespace) -> int:
        print(json.dumps(act(arguments), indent=2))
        return 0

    verb.set_defaults(run=show)
    return verb


def _ask(
    arguments: argparse.Namespace,
    method: str,
    path: str,
    body: Mapping[str, Any] | None = None,
    query: Mapping[str, str] | None = None,
) -> Any:
    return ask(SystemClock(), arguments.admin, method, path, body, query or {})


def _asking(method: str, path: str) -> Callable[[argparse.Namespace], Any]:
    """Asks for ``path``, in which arguments may stand by name."""

    def act(arguments: argparse.Namespace) -> Any:
        words = {name: quote(value, safe="") for name, value in vars(arguments).items() if isinstance(value, str)}
        return _ask(arguments, method, path.format(**words))

    return act


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _register_lists(verbs: Verbs) -> None:
    for path, explain in (
        ("registrations", "VENs that are registered"),
        ("events", "events called"),
        ("opts", "opts that VENs created"),
        ("offers", "what VENs can report"),
        ("requests", "report requests and their state"),
        ("faults", "faults that are set, and how often each happened"),
    ):
        where = "/reports/requests" if path == "requests" else f"/{path}"
        _verb(verbs, path, explain, _asking("GET", where))
    intervals = _verb(
        verbs,
        "intervals",
        "every value held, with duplicates and conflicts",
        lambda a: _ask(a, "GET", "/intervals", query=_given(ven=a.ven)),
    )
    intervals.add_argument("--ven", help="name or venID")
    messages = _verb(verbs, "messages", "the last messages, newest first", _messages)
    messages.add_argument("--ven", help="venID")
    messages.add_argument("--request-id")
    messages.add_argument("--limit", type=int, default=20)
    messages.add_argument("--xml", action="store_true", help="with their content")


def _messages(arguments: argparse.Namespace) -> Any:
    query = _given(ven=arguments.ven, request_id=arguments.request_id, limit=str(arguments.limit))
    return _ask(arguments, "GET", "/messages", query={**query, "xml": str(arguments.xml).lower()})


# --- events and registrations


def _register_events(verbs: Verbs) -> None:
    event = _verb(verbs, "event", "call an event: of a share of the load, or as a JSON file says", _event)
    event.add_argument("--ven", required=True, help="name or venID")
    what = event.add_mutually_exclusive_group(required=True)
    what.add_argument("--share", type=float, help="of the power the VEN reported lately")
    what.add_argument("--file", type=Path, help="JSON with signals, duration_s, market_context, ...")
    event.add_argument("--market-context")
    for option in ("--lead-s", "--active-s", "--ramp-s"):
        event.add_argument(option, type=float)
    modify = _verb(
        verbs,
        "modify",
        "change an event as a JSON file says",
        lambda a: _ask(a, "PATCH", f"/events/{quote(a.event_id, safe='')}", _json(a.file)),
    )
    modify.add_argument("event_id")
    modify.add_argument("--file", type=Path, required=True)
    cancel = _verb(
        verbs,
        "cancel",
        "cancel an event",
        lambda a: _ask(a, "DELETE", f"/events/{quote(a.event_id, safe='')}", query=_switch("vanish", a.vanish)),
    )
    cancel.add_argument("event_id")
    cancel.add_argument("--vanish", action="store_true", help="say nothing: leave it out of what is sent from now on")
    for name, explain, method, path in (
        ("reregister", "have a VEN register again", "POST", "/registrations/{ven}/reregister"),
        ("deregister", "cancel a VEN's registration", "DELETE", "/registrations/{ven}"),
    ):
        verb = _verb(verbs, name, explain, _asking(method, path))
        verb.add_argument("ven", help="name or venID")


def _event(arguments: argparse.Namespace) -> Any:
    common = _given(ven_name=arguments.ven, market_context=arguments.market_context, lead_s=arguments.lead_s)
    if arguments.file is None:
        common |= _given(share=arguments.share, active_s=arguments.active_s, ramp_s=arguments.ramp_s)
    else:
        common = {**_json(arguments.file), **common}
    return _ask(arguments, "POST", "/events", common)


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CallError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(found, dict):
        raise CallError(f"{path} holds no JSON object")
    return found


def _switch(name: str, on: bool) -> dict[str, str]:
    return {name: "true"} if on else {}


# --- reports


def _register_reports(verbs: Verbs) -> None:
    report = _verb(verbs, "report", "ask a VEN for a report", _report)
    report.add_argument("--ven", required=True, help="name or venID")
    report.add_argument("--specifier", required=True, help="reportSpecifierID; METADATA asks for the offer again")
    report.add_argument("--rid", action="append", default=[], help="may be repeated; all of the report without")
    report.add_argument("--granularity-s", type=float)
    report.add_argument("--back-duration-s", type=float, help="0 or left out: once")
    report.add_argument("--start", help="ISO 8601 with its offset")
    report.add_argument("--duration-s", type=float)
    cancel = _verb(
        verbs,
        "cancel-report",
        "end a report request",
        lambda a: _ask(
            a,
            "DELETE",
            f"/reports/requests/{quote(a.report_request_id, safe='')}",
            query=_switch("with_update", a.with_update) | _switch("report_to_follow", a.report_to_follow),
        ),
    )
    cancel.add_argument("report_request_id")
    cancel.add_argument("--with-update", action="store_true", help="inside the answer to its next data")
    cancel.add_argument("--report-to-follow", action="store_true", help="ask for a last report")


def _report(arguments: argparse.Namespace) -> Any:
    body = _given(
        ven_name=arguments.ven,
        specifier_id=arguments.specifier,
        rids=arguments.rid,
        granularity_s=arguments.granularity_s,
        back_duration_s=arguments.back_duration_s,
        start=arguments.start,
        duration_s=arguments.duration_s,
    )
    return _ask(arguments, "POST", "/reports/requests", body)


# --- faults


def _register_faults(verbs: Verbs) -> None:
    fault = _verb(verbs, "fault", "make something go wrong", _fault)
    fault.add_argument("kind", choices=[kind.value for kind in FaultKind])
    fault.add_argument("--count", type=int)
    fault.add_argument("--probability", type=float)
    fault.add_argument("--service", choices=[service.value for service in Service])
    fault.add_argument("--ven", help="name or venID")
    fault.add_argument("--delay-s", type=float)
    clear = _verb(
        verbs,
        "clear-faults",
        "let everything work again",
        lambda a: _ask(a, "DELETE", "/faults" if a.fault_id is None else f"/faults/{quote(a.fault_id, safe='')}"),
    )
    clear.add_argument("fault_id", nargs="?", help="all without")


def _fault(arguments: argparse.Namespace) -> Any:
    body = _given(
        kind=arguments.kind,
        count=arguments.count,
        probability=arguments.probability,
        service=arguments.service,
        ven_name=arguments.ven,
        delay_s=arguments.delay_s,
    )
    return _ask(arguments, "POST", "/faults", body)
