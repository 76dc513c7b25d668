"""Starts ``negawatt`` so that it SIGKILLs itself at the moment an oadrCreatedEvent would leave for the VTN.

A script for ``test_crash_between_journal_and_created``: the fault is injected here, in front of the VEN's transport,
and nowhere in the product.
"""

from __future__ import annotations

import os
import signal
import sys

from grid.process.cli import main
from ven.transport import HttpsTransport
from ven.wire.payload import Service

_post = HttpsTransport.post


async def _post_or_die(self: HttpsTransport, service: Service, content: bytes) -> bytes:
    if b"oadrCreatedEvent" in content:
        os.kill(os.getpid(), signal.SIGKILL)
    return await _post(self, service, content)


if __name__ == "__main__":
    HttpsTransport.post = _post_or_die  # type: ignore[method-assign]
    sys.exit(main())
