"""Binding a TCP port, with the error a person needs when that is not possible."""

from __future__ import annotations

import errno
import os
import ssl

from aiohttp import web

from grid.errors import AddressInUseError, ConfigError, NegawattError


async def listen(runner: web.AppRunner, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
    """Serve ``runner`` at host:port (0: any free one); returns the port. Raises AddressInUseError, ConfigError."""
    await runner.setup()
    site = web.TCPSite(runner, host, port, ssl_context=tls)
    try:
        await site.start()
    except OSError as error:
        await runner.cleanup()
        raise cannot_listen(host, port, error) from error
    bound: int = runner.addresses[-1][1]
    return bound


def cannot_listen(host: str, port: int, error: OSError) -> NegawattError:
    """What to tell a person of a failed bind."""
    where = f"cannot listen on {host}:{port}"
    match error.errno:
        case errno.EADDRINUSE:
            return AddressInUseError(
                f"{where}: {os.strerror(errno.EADDRINUSE)}; stop what uses it or configure another port"
            )
        case errno.EACCES:
            return ConfigError(f"{where}: {os.strerror(errno.EACCES)}; configure a port above 1023")
        case _:
            return ConfigError(f"{where}: {error.strerror}; configure a host name or address of this machine")
