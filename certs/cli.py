"""``negawatt certs``: make an authority, issue certificates from it."""

from __future__ import annotations

import argparse
from pathlib import Path

from certs.authority import CERTIFICATE_FILE, Authority
from certs.files import KeyType
from certs.fingerprint import openadr_fingerprint
from certs.issuance import Role, issue
from grid.clock import SystemClock


def register(parser: argparse.ArgumentParser) -> None:
    """Add ``init`` and ``issue``."""
    verbs = parser.add_subparsers(metavar="VERB", required=True)

    init = verbs.add_parser("init", help="make a certificate authority (a trust domain)")
    init.add_argument("--dir", type=Path, required=True, help="folder for the authority's certificate and key")
    init.add_argument("--name", required=True, help="common name of the root, e.g. 'Negawatt site PKI'")
    _add_key_type(init)
    init.set_defaults(run=_init)

    leaf = verbs.add_parser("issue", help="issue a certificate and its key")
    leaf.add_argument("--dir", type=Path, required=True, help="folder of the authority")
    leaf.add_argument("--role", type=Role, choices=list(Role), required=True, help="what its holder is")
    leaf.add_argument("--name", required=True, help="site id, VEN name or server name")
    leaf.add_argument("--host", action="append", help="where the holder answers (repeatable; a VEN: in push mode)")
    leaf.add_argument("--out", type=Path, required=True, help="folder for the certificate, its key and the roots")
    _add_key_type(leaf)
    leaf.set_defaults(run=_issue)


def _add_key_type(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--key-type", type=KeyType, choices=list(KeyType), default=KeyType.EC, help="kind of key (default: ec)"
    )


def _init(arguments: argparse.Namespace) -> int:
    Authority.create(arguments.dir, name=arguments.name, clock=SystemClock(), key_type=arguments.key_type)
    print(f"authority {arguments.name!r} made: {arguments.dir / CERTIFICATE_FILE}")
    return 0


def _issue(arguments: argparse.Namespace) -> int:
    identity = issue(
        Authority.open(arguments.dir),
        role=arguments.role,
        name=arguments.name,
        folder=arguments.out,
        clock=SystemClock(),
        hosts=arguments.host,
        key_type=arguments.key_type,
    )
    print(f"certificate {identity.certificate}")
    print(f"OpenADR fingerprint {openadr_fingerprint(identity.certificate.read_bytes())}")
    return 0
