"""``negawatt demo``: a utility, the aggregator and three AI factories on this machine."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aggregator.demo.errors import StoppedError
from aggregator.demo.plan import Kill
from aggregator.demo.run import DemoOptions, check, run_demo
from grid.clock import SystemClock
from grid.errors import ConfigError
from grid.process.running import run_until_stopped


def register(parser: argparse.ArgumentParser) -> None:
    """The noun is its own verb."""
    parser.description = "Runs one utility event from the VTN to a settled statement. Every figure is simulated."
    parser.add_argument("--once", action="store_true", help="run one event, then stop everything and exit")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the summary here")
    parser.add_argument("--kill", type=_kill, metavar="SITE@SECONDS", help="SIGKILL a site's agent after dtstart")
    parser.add_argument("--arrivals", type=Path, metavar="FILE", help="recorded LLM requests one site's load follows")
    parser.add_argument("--seed", type=int, default=2026, help="seed of the simulated sites (default %(default)s)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="work in this new folder and keep it")
    parser.add_argument("--console-host", default="127.0.0.1", help="address of the console (default %(default)s)")
    parser.add_argument("--console-port", type=int, default=0, help="port of the console (default: any free one)")
    parser.set_defaults(run=_run)


def _kill(text: str) -> Kill:
    found = re.fullmatch(r"([\w.-]+)@(\d+(?:\.\d+)?)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not SITE@SECONDS, e.g. tempe@40")
    return Kill(site_id=found[1], after_s=float(found[2]))


def _run(arguments: argparse.Namespace) -> int:
    options = DemoOptions(
        once=arguments.once or not sys.stdout.isatty(),
        json_file=arguments.json,
        kill=arguments.kill,
        arrivals=arguments.arrivals,
        seed=arguments.seed,
        console_host=arguments.console_host,
        console_port=arguments.console_port,
    )
    check(options)
    with _workplace(arguments.keep) as folder:
        return run_until_stopped(run_demo(folder, options, SystemClock(), _say))


@contextmanager
def _workplace(keep: Path | None) -> Iterator[Path]:
    """A folder for the demo; one nobody named outlives it only as the evidence of a failure."""
    if keep is not None:
        try:
            keep.mkdir(parents=True)
        except FileExistsError as error:
            raise ConfigError(f"{keep} exists already: name a new folder for --keep") from error
        except OSError as error:
            raise ConfigError(f"--keep: cannot make {keep}: {error.strerror}; name another folder") from error
        yield keep.resolve()
        return
    folder = Path(tempfile.mkdtemp(prefix="negawatt-demo-"))
    try:
        yield folder
    except StoppedError:
        shutil.rmtree(folder)
        raise
    except BaseException:
        _say(f"logs and data of this run are kept in {folder}")
        raise
    shutil.rmtree(folder)


def _say(line: str) -> None:
    print(line, flush=True)
