"""``python -m tests.ven.conformance.mutated_ven MUTATION -- ven run ...``: negawatt with something switched off."""

from __future__ import annotations

import sys

from grid.process.cli import main
from tests.ven.conformance.mutations import switch_off


def run(words: list[str]) -> int:
    mutation, dashes, *command = words
    assert dashes == "--", f"MUTATION -- ven run ..., not {words}"
    switch_off(mutation)
    return main(command)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
