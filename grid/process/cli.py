"""The one command, ``negawatt NOUN VERB``.

Every package registers its nouns in the entry-point group ``negawatt.commands``; only the noun that was asked for
is imported. An error of ours prints as one line and sets the exit code; anything else is a defect and shows its
traceback.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points, version
from typing import cast

from grid.errors import NegawattError

GROUP = "negawatt.commands"

Register = Callable[[argparse.ArgumentParser], None]
"""Adds a noun's verbs; each verb sets ``run``, a callable from its arguments to an exit code."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the script and of ``python -m grid.process.cli``."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    nouns = {point.name: point for point in entry_points(group=GROUP)}
    parser = argparse.ArgumentParser(
        prog="negawatt", description="OpenADR virtual power plant gateway for AI factories"
    )
    parser.add_argument("--version", action="version", version=f"negawatt {version('negawatt')}")
    commands = parser.add_subparsers(metavar="NOUN", required=True)
    for name, point in sorted(nouns.items()):
        noun = commands.add_parser(name, help=f"negawatt {name} --help")
        if name in words[:1]:
            cast(Register, point.load())(noun)
    parsed = parser.parse_args(words)
    if not hasattr(parsed, "run"):
        parser.parse_args([*words, "--help"])
    try:
        return int(parsed.run(parsed))
    except NegawattError as error:
        print(f"negawatt: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
