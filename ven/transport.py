"""Simple HTTP of OpenADR 2.0b (section 9): one POST per message, over mutual TLS.

VENs of one identity at one VTN share a pool of connections, which are kept between polls. Whatever goes wrong becomes
one of three answers: the VTN cannot be reached, it does not want us, or it failed on this message.
"""

from __future__ import annotations

import ssl
from typing import Protocol
from urllib.parse import quote, urlsplit

from certs.fingerprint import openadr_fingerprint
from certs.tls import check_identity, client_context
from grid.clock import Clock
from ven.config import VenSettings
from ven.errors import VtnError, VtnRefusedError, VtnUnreachableError, WireError
from ven.http.connection import ReadBuffer
from ven.http.errors import CannotConnectError, ConnectionLostError, NotHttpError, TooLongError
from ven.http.pool import Pool
from ven.http.response import Response
from ven.wire.payload import Service
from ven.wire.schema import MAX_BYTES

REQUEST_TIMEOUT_S = 15.0
KEEP_ALIVE_S = 75.0
"""Longer than usual poll intervals: a new handshake costs more than an idle connection."""
CONNECTIONS = 4
"""An identity's, to one VTN, at a time."""


class Transport(Protocol):
    """Carries signed messages to one VTN."""

    async def post(self, service: Service, content: bytes) -> bytes:
        """Send and return the answer's body, which may be empty.

        Raises VtnUnreachableError, VtnRefusedError, VtnError, WireError.
        """


class HttpsTransports:
    """Opens transports; VENs of one identity share its TLS context, those at one VTN its connections as well."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._buffer = ReadBuffer()
        self._contexts: dict[tuple[object, ...], ssl.SSLContext] = {}
        self._pools: dict[tuple[object, ...], Pool] = {}

    async def open(self, settings: VenSettings) -> HttpsTransport:
        """Raises CertificateError when our own certificate cannot stand before the VTN."""
        identity = settings.identity
        who = (identity.certificate, identity.key, identity.roots, settings.ciphers)
        if who not in self._contexts:
            check_identity(identity, self._clock)
            self._contexts[who] = client_context(identity, settings.ciphers)
        where = (*who, settings.vtn_url)
        if where not in self._pools:
            self._pools[where] = pool(settings.vtn_url, self._contexts[who], self._buffer, self._clock)
        fingerprint = openadr_fingerprint(settings.certificate.read_bytes())
        return HttpsTransport(settings.vtn_url, fingerprint, self._pools[where], self._clock)

    async def close(self) -> None:
        """Close every connection."""
        for one in self._pools.values():
            one.close()
        self._pools.clear()


def pool(url: str, tls: ssl.SSLContext | None, buffer: ReadBuffer, clock: Clock) -> Pool:
    """Connections to the host of ``url``; without ``tls`` in plain HTTP, for benchmarks."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    return Pool(
        parts.hostname,
        parts.port or (80 if tls is None else 443),
        tls,
        buffer,
        clock,
        limit=CONNECTIONS,
        keep_s=KEEP_ALIVE_S,
        body_longest=MAX_BYTES,
    )


class HttpsTransport:
    """``Transport`` over HTTP; ``HttpsTransports`` makes one."""

    def __init__(self, url: str, fingerprint: str, connections: Pool, clock: Clock) -> None:
        """``fingerprint``: our certificate's, for whoever has to have it accepted."""
        parts = urlsplit(url)
        path, host = quote(parts.path, safe="/%"), parts.netloc.rpartition("@")[2]
        self._url = url
        self._fingerprint = fingerprint
        self._connections = connections
        self._clock = clock
        self._heads = {
            service: (
                f"POST {path}/{service.value} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: negawatt\r\n"
                "Accept-Encoding: identity\r\nContent-Type: application/xml\r\nContent-Length: "
            ).encode()
            for service in Service
        }

    async def post(self, service: Service, content: bytes) -> bytes:
        request = b"%b%d\r\n\r\n%b" % (self._heads[service], len(content), content)
        # A message that comes twice is known by its requestID. A poll has none, and its lost answer is lost.
        repeatable = service is not Service.POLL
        try:
            async with self._clock.timeout(REQUEST_TIMEOUT_S):
                response = await self._connections.ask(request, repeatable=repeatable)
        except TimeoutError as error:
            raise VtnUnreachableError(f"{self._url} did not answer within {REQUEST_TIMEOUT_S:g} s") from error
        except CannotConnectError as error:
            raise VtnUnreachableError(f"cannot connect to {self._url}: {error}; check that the VTN runs") from error
        except ssl.SSLCertVerificationError as error:
            raise self._untrusted(error) from error
        except ssl.SSLError as error:
            raise self._handshake_failed(error) from error
        except ConnectionLostError as error:
            raise self._lost(error) from error
        except NotHttpError as error:
            raise VtnUnreachableError(f"{self._url} does not speak HTTP ({error}): check vtn_url") from error
        except TooLongError as error:
            raise WireError(f"{self._url}: {error}") from error
        if response.status != 200:
            raise VtnError(response.status, f"{response.reason}: {_first_line(response)}")
        return response.body

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

    def _lost(self, error: ConnectionLostError) -> VtnRefusedError | VtnUnreachableError:
        """On a connection that carried messages before, or has begun to answer, a loss is an outage.

        Under TLS 1.2 a server that refuses a client's certificate hangs up in the handshake, under 1.3 after it.
        """
        if error.carried or error.answering:
            return VtnUnreachableError(f"{self._url} closed the connection: {error}")
        return VtnRefusedError(
            f"{self._url} hung up at the TLS handshake: the VTN probably refused this certificate "
            f"(fingerprint {self._fingerprint}); have the utility accept it"
        )


def _first_line(response: Response) -> str:
    return response.body.decode("utf-8", "replace").strip().split("\n", 1)[0][:200]
