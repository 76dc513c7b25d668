"""The coverage-guided half of ``tests.campaigns.wire_fuzz``; libFuzzer ends this process, so it has one of its own."""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random

import atheris

with atheris.instrument_imports(include=["ven.wire"]):
    from tests.campaigns.mutation import mutate
    from tests.campaigns.wire_fuzz import CORPUS, CPU_LIMIT_S, check_of

LONGEST = 20_000


def harm(content: bytes, most: int, seed: int) -> bytes:
    """One of ours, or one of libFuzzer's that knows nothing of XML."""
    dice = Random(seed)
    if dice.random() < 0.7:
        return mutate(content, dice)[:most]
    changed: bytes = atheris.Mutate(content, most)
    return changed


def main(folder: Path, rounds: int, seed: int) -> None:
    check = check_of(folder)

    def try_one(content: bytes) -> None:
        check(content)

    atheris.Setup(
        [
            sys.argv[0],
            f"-runs={rounds}",
            f"-seed={seed}",
            f"-max_len={LONGEST}",
            f"-timeout={CPU_LIMIT_S * 2:.0f}",
            "-rss_limit_mb=2000",
            f"-artifact_prefix={folder}/",
            str(folder / CORPUS),
        ],
        try_one,
        custom_mutator=harm,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
