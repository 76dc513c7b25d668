"""What a poll costs a VEN and its VTN, and what a VEN weighs, beside openleadr.

``python -m tests.benchmarks.ven_polls`` prints JSON rows, each with ``ours_us``, ``openleadr_us``, ``floor_us`` and
``ratio`` (openleadr's over ours), or the same in KiB:

- client: CPU time of the VEN's process for one poll of a stock openleadr VTN in another process. Ours is a whole
  gateway (session, journal, exchange, transport), openleadr's is ``OpenADRClient`` with the scheduler's own job; both
  verify what is signed. The floor posts the same bytes over one kept connection by a blocking socket, signs where
  that is asked for, and does nothing with the answer.
- memory: growth of the resident set for each VEN that has registered, offered reports, polled twice and keeps its
  connection, with a certificate each, or one for all (``shared``, which openleadr's client cannot).
- server: wall time of one poll of our VTN and of openleadr's under one and the same load (``_per_s``: polls a
  second), and CPU time of the server (``_cpu_us``). The floor is a bare asyncio server with fixed bytes.

Contenders take turns, many short ones each, and the best turn counts, so that other work on the machine matters little.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

from certs.tls import Identity
from tests.benchmarks.ven_polls import servers
from tests.benchmarks.ven_polls.modes import Domain, Mode, write_identities
from tests.benchmarks.ven_polls.servers import Server
from tests.benchmarks.ven_polls.turns import worker

CLIENT_POLLS = {Mode.PLAIN: 100, Mode.MTLS: 100, Mode.EC_SIGNED: 50, Mode.RSA_SIGNED: 5}
SERVER_POLLS = {Mode.PLAIN: 400, Mode.MTLS: 400, Mode.EC_SIGNED: 80}
SERVED = (Mode.PLAIN, Mode.MTLS, Mode.EC_SIGNED)
CPU_GOAL, MEMORY_GOAL = 2.0, 2.0
"""How many times less than openleadr."""
SHARED_GOAL_KB = 60.0


class Bench:
    """One run."""

    def __init__(self, folder: Path, turns: int) -> None:
        self._folder = folder
        self._turns = turns
        self._domain = Domain.create(folder)

    async def client(self, mode: Mode) -> dict[str, Any]:
        async with AsyncExitStack() as stack:
            vtn = self._domain.vtn(mode.key_type)
            server = await stack.enter_async_context(servers.openleadr(vtn, mode, self._folder))
            workers = {
                name: await stack.enter_async_context(self._worker(name, mode, server, vtn))
                for name in ("ours", "theirs", "floor")
            }
            for one in workers.values():
                await one.hear("ready")
            best = dict.fromkeys(workers, float("inf"))
            # openleadr's RSA signatures take their time.
            for _ in range(self._turns // 3 if mode is Mode.RSA_SIGNED else self._turns):
                for name, one in workers.items():
                    best[name] = min(best[name], (await one.turn(CLIENT_POLLS[mode])).cpu_us)
        return {
            "what": "client",
            "mode": mode.value,
            **_us(best["ours"], best["theirs"], best["floor"]),
            "goal": CPU_GOAL,
        }

    async def server(self, mode: Mode) -> dict[str, Any]:
        vtn, bare = self._domain.vtn(mode.key_type), Mode.MTLS if mode.signed else mode
        async with AsyncExitStack() as stack:
            found = {
                "ours": (mode, await stack.enter_async_context(servers.ours(vtn, mode, self._folder))),
                "theirs": (mode, await stack.enter_async_context(servers.openleadr(vtn, mode, self._folder))),
                "floor": (bare, await stack.enter_async_context(servers.echo(vtn, bare, self._folder))),
            }
            loads = {
                name: await stack.enter_async_context(self._worker("load", spoken, server, vtn))
                for name, (spoken, server) in found.items()
            }
            for one in loads.values():
                await one.hear("ready")
            wall = dict.fromkeys(loads, float("inf"))
            cpu_s = dict.fromkeys(loads, 0.0)
            polls = SERVER_POLLS[mode]
            for _ in range(self._turns):
                for name, one in loads.items():
                    _, server = found[name]
                    before_s = server.cpu_s()
                    wall[name] = min(wall[name], (await one.turn(polls)).wall_us)
                    cpu_s[name] += server.cpu_s() - before_s
        # The kernel counts in hundredths of a second, so this is of all turns together.
        cpu = {name: used_s / (self._turns * polls) * 1e6 for name, used_s in cpu_s.items()}
        return {
            "what": "server",
            "mode": mode.value,
            **_us(wall["ours"], wall["theirs"], wall["floor"]),
            "ours_per_s": round(1e6 / wall["ours"]),
            "openleadr_per_s": round(1e6 / wall["theirs"]),
            "floor_per_s": round(1e6 / wall["floor"]),
            "ours_cpu_us": round(cpu["ours"]),
            "openleadr_cpu_us": round(cpu["theirs"]),
            "floor_cpu_us": round(cpu["floor"]),
        }

    async def memory(self, mode: Mode, ours: int, theirs: int) -> dict[str, Any]:
        """``ours``, ``theirs``: how many VENs of each."""
        identities = [self._domain.ven(f"ven-{number}") for number in range(ours + 1)]
        ours_kb = await self._weigh("ours", mode, identities)
        theirs_kb = await self._weigh("theirs", mode, identities[: theirs + 1])
        return {
            "what": "memory",
            "mode": mode.value,
            "vens": ours,
            "openleadr_vens": theirs,
            "ours_kb": round(ours_kb, 1),
            "openleadr_kb": round(theirs_kb, 1),
            "ratio": round(theirs_kb / ours_kb, 2),
            "goal": MEMORY_GOAL,
        }

    async def shared(self, vens: int) -> dict[str, Any]:
        one = self._domain.ven("ven-0")
        ours_kb = await self._weigh("ours", Mode.MTLS, [one] * (vens + 1))
        return {
            "what": "memory, shared identity",
            "mode": Mode.MTLS.value,
            "vens": vens,
            "ours_kb": round(ours_kb, 1),
            "goal_kb": SHARED_GOAL_KB,
        }

    async def _weigh(self, module: str, mode: Mode, identities: Sequence[Identity]) -> float:
        """KiB a VEN."""
        vtn = self._domain.vtn(mode.key_type)
        path = self._folder / "identities"
        write_identities(path, identities)
        async with (
            servers.ours(vtn, mode, self._folder, poll_interval_s=5, request_reports=False) as server,
            self._worker(module, mode, server, vtn, "--identities", path) as one,
        ):
            kb: float = (await one.hear("weighed"))["kb"]
        return kb

    def _worker(self, module: str, mode: Mode, server: Server, vtn: Identity, *more: str | Path) -> Any:
        ven = self._domain.ven("ven", mode.key_type)
        options = ["--mode", mode.value, "--url", server.url, "--certificate", ven.certificate, "--key", ven.key]
        options += ["--roots", ven.roots, "--vtn", vtn.certificate, *more]
        return worker(module, options, self._folder / f"{module}.log")


def _us(ours: float, theirs: float, floor: float) -> dict[str, float]:
    return {
        "ours_us": round(ours, 1),
        "openleadr_us": round(theirs, 1),
        "floor_us": round(floor, 1),
        "ratio": round(theirs / ours, 2),
    }


async def measure(folder: Path, turns: int, vens: int, openleadr_vens: int) -> dict[str, Any]:
    bench = Bench(folder, turns)
    rows = [await bench.client(mode) for mode in Mode]
    rows += [await bench.server(mode) for mode in SERVED]
    rows.append(await bench.memory(Mode.MTLS, vens, openleadr_vens))
    rows.append(await bench.memory(Mode.EC_SIGNED, openleadr_vens, openleadr_vens))
    rows.append(await bench.shared(vens))
    return {
        "openleadr": version("openleadr"),
        "aiohttp": version("aiohttp"),
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {platform.system()}",
        "rows": rows,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.ven_polls", description=__doc__)
    parser.add_argument("--turns", type=int, default=12)
    parser.add_argument("--vens", type=int, default=1000, help="of ours, to weigh")
    parser.add_argument("--openleadr-vens", type=int, default=100, help="of openleadr's, to weigh")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        facts = asyncio.run(measure(Path(folder), chosen.turns, chosen.vens, chosen.openleadr_vens))
    sys.stdout.write(json.dumps(facts, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
