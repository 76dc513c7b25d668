"""Two trust domains: what is issued, what is refused, and who can read a key."""

from __future__ import annotations

import asyncio
import ssl
import stat
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from certs.authority import Authority
from certs.errors import CertificateError
from certs.files import KeyType, read_leaf_key
from certs.fingerprint import openadr_fingerprint
from certs.identity import site_of_peer
from certs.issuance import Role, issue
from certs.signing import open_signing_key, signing_key
from certs.tls import Identity, check_identity, client_context, server_context
from grid.clock import SystemClock, VirtualClock
from grid.process.cli import main

CLOCK = SystemClock()


@pytest.fixture
def site_pki(tmp_path: Path) -> Authority:
    return Authority.create(tmp_path / "site-pki", name="site PKI", clock=CLOCK)


@pytest.fixture
def utility_pki(tmp_path: Path) -> Authority:
    return Authority.create(tmp_path / "utility-pki", name="utility PKI", clock=CLOCK)


async def handshake(server: Identity, client: Identity) -> str | None:
    """Connect once over loopback; the site the server saw. Raises what either side's TLS raises."""
    seen: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.set_result(site_of_peer(writer.get_extra_info("ssl_object").getpeercert()))
        writer.write(b"!")
        writer.close()
        await writer.wait_closed()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_context(server))
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client_context(client))
        try:
            if await reader.read(1) != b"!":
                raise ConnectionResetError("closed after the handshake")
        finally:
            writer.close()
    return await seen


async def test_a_site_certificate_names_its_site_to_the_gateway(site_pki: Authority, tmp_path: Path) -> None:
    gateway = issue(site_pki, role=Role.GATEWAY, name="gateway", folder=tmp_path, clock=CLOCK)
    site = issue(site_pki, role=Role.SITE, name="phoenix-1", folder=tmp_path, clock=CLOCK)
    assert await handshake(gateway, site) == "phoenix-1"


async def test_the_other_domain_is_refused_both_ways(
    site_pki: Authority, utility_pki: Authority, tmp_path: Path
) -> None:
    gateway = issue(site_pki, role=Role.GATEWAY, name="gateway", folder=tmp_path, clock=CLOCK)
    ven = issue(utility_pki, role=Role.VEN, name="ven", folder=tmp_path, clock=CLOCK)
    with pytest.raises(ssl.SSLCertVerificationError):
        await handshake(gateway, ven)
    posing = Identity(certificate=ven.certificate, key=ven.key, roots=gateway.roots)
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        await handshake(gateway, posing)


def test_keys_are_readable_by_their_owner_only(site_pki: Authority, tmp_path: Path) -> None:
    identity = issue(site_pki, role=Role.SITE, name="a", folder=tmp_path, clock=CLOCK)
    signing_key(tmp_path / "audit.key")
    for key in (identity.key, tmp_path / "audit.key", tmp_path / "site-pki" / "ca.key"):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
    identity.key.chmod(0o644)
    with pytest.raises(CertificateError, match="chmod 600"):
        check_identity(identity, CLOCK)


def test_a_signing_key_that_a_chain_needs_is_never_made_anew(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match="restore it from a backup"):
        open_signing_key(tmp_path / "audit.key")
    assert list(tmp_path.iterdir()) == []
    made = signing_key(tmp_path / "audit.key")
    assert open_signing_key(tmp_path / "audit.key").public_key() == made.public_key()


def test_a_key_is_never_overwritten(site_pki: Authority, tmp_path: Path) -> None:
    issue(site_pki, role=Role.SITE, name="a", folder=tmp_path, clock=CLOCK)
    with pytest.raises(CertificateError, match="never overwritten"):
        issue(site_pki, role=Role.SITE, name="a", folder=tmp_path, clock=CLOCK)


@pytest.mark.parametrize("role", list(Role))
def test_our_own_chain_is_checked_before_connecting(
    role: Role, site_pki: Authority, utility_pki: Authority, tmp_path: Path
) -> None:
    identity = issue(site_pki, role=role, name="a", folder=tmp_path / "ours", clock=CLOCK)
    other = issue(utility_pki, role=role, name="a", folder=tmp_path / "theirs", clock=CLOCK)
    check_identity(identity, CLOCK)
    with pytest.raises(CertificateError, match="does not chain to the roots"):
        check_identity(Identity(certificate=identity.certificate, key=identity.key, roots=other.roots), CLOCK)
    with pytest.raises(CertificateError, match="is not the key of"):
        check_identity(Identity(certificate=identity.certificate, key=other.key, roots=identity.roots), CLOCK)
    with pytest.raises(CertificateError, match="have it renewed"):
        check_identity(identity, VirtualClock(CLOCK.now() + timedelta(days=400)))


def test_fingerprint_is_the_tail_of_the_sha256_of_the_der_form(site_pki: Authority, tmp_path: Path) -> None:
    identity = issue(site_pki, role=Role.VEN, name="ven", folder=tmp_path, clock=CLOCK)
    pem = identity.certificate.read_text()
    der = ssl.PEM_cert_to_DER_cert(pem)
    assert openadr_fingerprint(pem.encode()) == openadr_fingerprint(der)
    assert len(openadr_fingerprint(der).split(":")) == 10
    with pytest.raises(CertificateError):
        openadr_fingerprint(b"nonsense")


def test_command_line_makes_a_domain_and_a_certificate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pki = str(tmp_path / "pki")
    issue_site = ["certs", "issue", "--dir", pki, "--role", "site", "--name", "s1", "--out", str(tmp_path)]
    assert main(issue_site) == CertificateError.exit_code
    assert "run `negawatt certs init` first" in capsys.readouterr().err
    assert main(["certs", "init", "--dir", pki, "--name", "site PKI"]) == 0
    assert main(issue_site) == 0
    assert "OpenADR fingerprint" in capsys.readouterr().out
    check_identity(
        Identity(certificate=tmp_path / "s1.pem", key=tmp_path / "s1.key", roots=tmp_path / "s1-roots.pem"),
        CLOCK,
    )
    assert main([*issue_site[:-3], "bad name!", *issue_site[-2:]]) == CertificateError.exit_code


@pytest.mark.parametrize("authority_key", list(KeyType))
@pytest.mark.parametrize("leaf_key", list(KeyType))
async def test_authorities_and_leaves_have_the_kind_of_key_that_was_asked_for(
    authority_key: KeyType, leaf_key: KeyType, tmp_path: Path
) -> None:
    Authority.create(tmp_path / "pki", name="utility PKI", clock=CLOCK, key_type=authority_key)
    authority = Authority.open(tmp_path / "pki")
    gateway = issue(authority, role=Role.GATEWAY, name="gateway", folder=tmp_path, clock=CLOCK, key_type=leaf_key)
    site = issue(authority, role=Role.SITE, name="s1", folder=tmp_path, clock=CLOCK, key_type=leaf_key)
    kinds = {KeyType.EC: EllipticCurvePrivateKey, KeyType.RSA: RSAPrivateKey}
    assert isinstance(authority.key, kinds[authority_key])
    key = read_leaf_key(site.key)
    assert isinstance(key, kinds[leaf_key])
    assert key.key_size == {KeyType.EC: 256, KeyType.RSA: 2048}[leaf_key]
    check_identity(site, CLOCK)
    assert await handshake(gateway, site) == "s1"


def test_an_rsa_leaf_can_speak_the_suite_that_openadr_requires(site_pki: Authority, tmp_path: Path) -> None:
    identity = issue(site_pki, role=Role.GATEWAY, name="g", folder=tmp_path, clock=CLOCK, key_type=KeyType.RSA)
    client = issue(site_pki, role=Role.SITE, name="s", folder=tmp_path, clock=CLOCK, key_type=KeyType.RSA)
    context, connects = server_context(identity), client_context(client)
    for each in (context, connects):
        each.maximum_version = ssl.TLSVersion.TLSv1_2
        each.set_ciphers("AES128-SHA256")
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(to_server, to_client, server_side=True)
    outgoing = connects.wrap_bio(to_client, to_server, server_hostname="127.0.0.1")
    for end in (outgoing, server, outgoing, server):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    cipher = server.cipher()
    assert cipher is not None
    assert cipher[0] == "AES128-SHA256"


def test_command_line_issues_rsa_keys(tmp_path: Path) -> None:
    pki, out = str(tmp_path / "pki"), str(tmp_path)
    assert main(["certs", "init", "--dir", pki, "--name", "PKI", "--key-type", "rsa"]) == 0
    issue_ven = ["certs", "issue", "--dir", pki, "--role", "ven", "--name", "v1", "--out", out]
    assert main([*issue_ven, "--key-type", "rsa"]) == 0
    assert isinstance(read_leaf_key(tmp_path / "v1.key"), RSAPrivateKey)
    assert isinstance(Authority.open(tmp_path / "pki").key, RSAPrivateKey)
