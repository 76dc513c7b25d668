"""``negawatt audit``: write the audit chain to a file, and verify such a file."""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path

from aggregator.audit.export import write_export, write_public_key
from aggregator.portfolio.config import AggregatorSettings, read_config
from aggregator.storage.store import open_for_reading
from certs.signing import open_signing_key
from grid.audit import public_key_from_text, verify
from grid.errors import AuditError, ConfigError


def register(parser: argparse.ArgumentParser) -> None:
    """Add ``export`` and ``verify``."""
    verbs = parser.add_subparsers(metavar="VERB", required=True)

    export = verbs.add_parser("export", help="write the aggregator's audit chain as JSON lines")
    export.add_argument("--config", type=Path, required=True, help="the aggregator's TOML file")
    export.add_argument("--out", type=Path, required=True, help="where the chain goes")
    export.add_argument("--public-key", type=Path, required=True, help="where the key that verifies it goes")
    export.set_defaults(run=_export)

    check = verbs.add_parser("verify", help="verify an exported chain")
    check.add_argument("file", type=Path, help="a file `negawatt audit export` wrote")
    check.add_argument("--public-key", type=Path, required=True, help="the writer's public key")
    check.set_defaults(run=_verify)


def _export(arguments: argparse.Namespace) -> int:
    settings = read_config(arguments.config)
    if not settings.database.exists():
        raise ConfigError(f"there is no database {settings.database}: run the aggregator first")
    lines = asyncio.run(_write(settings, arguments.out, arguments.public_key))
    print(json.dumps({"lines": lines, "out": str(arguments.out), "public_key": str(arguments.public_key)}))
    return 0


async def _write(settings: AggregatorSettings, out: Path, public_key: Path) -> int:
    key = open_signing_key(settings.aggregator.audit_key_file)
    async with open_for_reading(settings.database) as store:
        write_public_key(key, public_key)
        return await write_export(store, out)


def _verify(arguments: argparse.Namespace) -> int:
    try:
        key = public_key_from_text(arguments.public_key.read_text("ascii"))
        with arguments.file.open(encoding="utf-8", newline="\n") as lines:
            held = verify(lines, key)
    except (OSError, UnicodeDecodeError) as error:
        raise AuditError(f"cannot read the export or its public key: {error}") from error
    print(json.dumps({"chain": held.chain, "entries": held.entries, "heads": held.heads, "verified": True}))
    return 0
