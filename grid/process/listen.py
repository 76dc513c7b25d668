"""Binding a TCP port, with the error a person needs when it is taken."""

from __future__ import annotations

import ssl

from aiohttp import web

from grid.errors import AddressInUseError


async def listen(runner: web.AppRunner, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
    """Serve ``runner`` at host:port (0: any free one); returns the port. Raises AddressInUseError."""
    await runner.setup()
    site = web.TCPSite(runner, host, port, ssl_context=tls)
    try:
        await site.start()
    except OSError as error:
        await runner.cleanup()
        raise AddressInUseError(
            f"cannot listen on {host}:{port}: {error.strerror}; stop what uses it or configure another port"
        ) from error
    bound: int = runner.addresses[-1][1]
    return bound
