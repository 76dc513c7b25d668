"""Simple HTTP of OpenADR 2.0b (section 9): one POST per message, over mutual TLS.

One connector per identity and VTN keeps its connections alive between polls. Whatever goes wrong becomes one of three
answers: the VTN cannot be reached, it does not want us, or it failed on this message.
"""

from __future__ import annotations

import ssl
from types import SimpleNamespace
from typing import Protocol

import aiohttp

from certs.fingerprint import openadr_fingerprint
from certs.tls import check_identity, client_context
from grid.clock import Clock
from ven.config import VenSettings
from ven.errors import VtnError, VtnRefusedError, VtnUnreachableError
from ven.wire.payload import Service

REQUEST_TIMEOUT_S = 15.0
KEEP_ALIVE_S = 75.0
"""Longer than usual poll intervals: a new handshake costs more than an idle connection."""
CONNECTIONS = 4
"""An identity's, to one VTN, at a time."""


class Transport(Protocol):
    """Carries signed messages to one VTN."""

    async def post(self, service: Service, content: bytes) -> bytes:
        """Send and return the answer's body, which may be empty.

        Raises VtnUnreachableError, VtnRefusedError, VtnError.
        """


class HttpsTransports:
    """Opens transports; VENs of one identity share its TLS context, those at one VTN its connections as well."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._contexts: dict[tuple[object, ...], ssl.SSLContext] = {}
        self._sessions: dict[tuple[object, ...], aiohttp.ClientSession] = {}

    async def open(self, settings: VenSettings) -> HttpsTransport:
        """Raises CertificateError when our own certificate cannot stand before the VTN."""
        identity = settings.identity
        who = (identity.certificate, identity.key, identity.roots, settings.ciphers)
        if who not in self._contexts:
            check_identity(identity, self._clock)
            self._contexts[who] = client_context(identity, settings.ciphers)
        where = (*who, settings.vtn_url)
        if where not in self._sessions:
            self._sessions[where] = _session(self._contexts[who])
        fingerprint = openadr_fingerprint(settings.certificate.read_bytes())
        return HttpsTransport(settings.vtn_url, fingerprint, self._sessions[where], self._clock)

    async def close(self) -> None:
        """Close every connection."""
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()


def _session(context: ssl.SSLContext) -> aiohttp.ClientSession:
    trace = aiohttp.TraceConfig()
    trace.on_connection_reuseconn.append(_note_reuse)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=context, limit=CONNECTIONS, keepalive_timeout=KEEP_ALIVE_S),
        timeout=aiohttp.ClientTimeout(total=None),
        trace_configs=[trace],
    )


class HttpsTransport:
    """``Transport`` over aiohttp; ``HttpsTransports`` makes one."""

    def __init__(self, url: str, fingerprint: str, session: aiohttp.ClientSession, clock: Clock) -> None:
        self._url = url
        self._fingerprint = fingerprint
        self._session = session
        self._clock = clock

    async def post(self, service: Service, content: bytes) -> bytes:
        connection = SimpleNamespace(reused=False)
        try:
            async with (
                self._clock.timeout(REQUEST_TIMEOUT_S),
                self._session.post(
                    f"{self._url}/{service}",
                    data=content,
                    headers={"Content-Type": "application/xml"},
                    allow_redirects=False,
                    trace_request_ctx=connection,
                ) as response,
            ):
                body = await response.read()
                if response.status != 200:
                    raise VtnError(response.status, f"{response.reason}: {_first_line(body)}")
                return body
        except TimeoutError as error:
            raise VtnUnreachableError(f"{self._url} did not answer within {REQUEST_TIMEOUT_S:g} s") from error
        except aiohttp.ClientConnectorCertificateError as error:
            raise self._untrusted(error) from error
        except aiohttp.ClientConnectorSSLError as error:
            raise self._handshake_failed(error) from error
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, ConnectionResetError):
                raise self._hung_up() from error
            raise VtnUnreachableError(
                f"cannot connect to {self._url}: {error.os_error.strerror or error}; check that the VTN runs"
            ) from error
        except (aiohttp.ClientError, ssl.SSLError, ConnectionError) as error:
            raise self._lost(error, reused=connection.reused) from error

    def _untrusted(self, error: Exception) -> VtnRefusedError:
        return VtnRefusedError(
            f"the certificate of {self._url} is not one of the imported roots for that host ({error}): "
            "check vtn_url and vtn_roots"
        )

    def _handshake_failed(self, error: Exception) -> VtnRefusedError:
        return VtnRefusedError(
            f"TLS with {self._url} failed ({error}): the VTN probably refused this certificate "
            f"(fingerprint {self._fingerprint}); have the utility accept it"
        )

    def _lost(self, error: Exception, *, reused: bool) -> VtnRefusedError | VtnUnreachableError:
        """On a connection that carried messages before, a loss is an outage."""
        if reused:
            return VtnUnreachableError(f"{self._url} closed the connection: {error!r}")
        return self._hung_up()

    def _hung_up(self) -> VtnRefusedError:
        """Under TLS 1.2 a server that refuses a client's certificate hangs up in the handshake, under 1.3 after it."""
        return VtnRefusedError(
            f"{self._url} hung up at the TLS handshake: the VTN probably refused this certificate "
            f"(fingerprint {self._fingerprint}); have the utility accept it"
        )


async def _note_reuse(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
    context.trace_request_ctx.reused = True


def _first_line(body: bytes) -> str:
    return body.decode("utf-8", "replace").strip().split("\n", 1)[0][:200]
