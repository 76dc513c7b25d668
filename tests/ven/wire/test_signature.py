"""Signatures hold for others' verifiers and ours, and for nothing but what was signed, by whom, and when."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import openleadr.messaging as theirs
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from lxml import etree  # type: ignore[import-untyped]

from certs.files import KeyType
from certs.fingerprint import openadr_fingerprint
from certs.trust import ChainTrust
from tests.ven.wire.conftest import CLOCK, Party, Pki
from ven.errors import SignatureError, WireError
from ven.wire.codec import Codec
from ven.wire.party import Poll
from ven.wire.payload import decode, encode
from ven.wire.replay import NONCE_LONGEST, ReplayGuard
from ven.wire.signature import C14N, DSIG, EXCLUSIVE_C14N, PROPERTIES, Signer, Verifier, unsigned
from ven.wire.xml import OADR

POLL = Poll(ven_id="a & b <c> \r\n \U0001f50b")
FORGED = Poll(ven_id="forged")
DS = f"{{{DSIG}}}"


def sign(party: Party, now: datetime, content: bytes | None = None) -> bytes:
    return party.signer.sign(encode(POLL) if content is None else content, now)


# --- accepted, by ours and by others' -----------------------------------------------------------------------------


def test_ours_verifies_ours(utility: Pki, party: Party) -> None:
    covered = utility.verifier().verify(sign(party, utility.now), utility.now)
    assert covered.content == encode(POLL)
    assert covered.certificate == party.chain[0]
    assert covered.fingerprint == openadr_fingerprint(party.chain[0].public_bytes(Encoding.DER))
    assert covered.signed_at == utility.now


def test_a_codec_signs_what_it_writes_and_verifies_what_it_reads(utility: Pki, party: Party) -> None:
    codec = Codec(party.signer, utility.verifier())
    assert codec.read(codec.write(POLL, utility.now), utility.now) == POLL


def test_a_codec_tells_who_signed(utility: Pki, party: Party) -> None:
    signed = sign(party, utility.now)
    fingerprint = openadr_fingerprint(party.chain[0].public_bytes(Encoding.DER))
    assert Codec(None, utility.verifier()).open(signed, utility.now) == (POLL, fingerprint)
    assert Codec(None, None).open(signed, utility.now) == (POLL, None)


def test_a_codec_without_keys_neither_signs_nor_verifies(utility: Pki, party: Party) -> None:
    codec = Codec(None, None)
    assert codec.read(codec.write(POLL, utility.now), utility.now) == POLL
    assert codec.read(sign(party, utility.now), utility.now) == POLL


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1(), ec.SECP224R1()])
def test_every_curve_that_openadr_allows(curve: ec.EllipticCurve, utility: Pki) -> None:
    key = ec.generate_private_key(curve)
    certificate = certify(key, utility.now)
    signed = Signer(key, [certificate]).sign(encode(POLL), utility.now)
    assert Verifier(ChainTrust([certificate]), ReplayGuard()).verify(signed, utility.now).content == encode(POLL)


def test_xmlsec1_verifies_ours(utility: Pki, party: Party, tmp_path: Path) -> None:
    if shutil.which("xmlsec1") is None:
        pytest.skip("xmlsec1 is not installed: run `apt-get install xmlsec1`")
    message = tmp_path / "signed.xml"
    for content, holds in (
        (sign(party, utility.now), True),
        (sign(party, utility.now).replace(b"a &amp; b", b"a &amp; c"), False),
    ):
        message.write_bytes(content)
        verified = subprocess.run(
            [
                "xmlsec1",
                "--verify",
                "--enabled-key-data",
                "x509",
                "--trusted-pem",
                utility.root_file,
                "--id-attr:Id",
                f"{OADR}:oadrSignedObject",
                "--id-attr:Id",
                f"{DSIG}:Object",
                message,
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (verified.returncode == 0) is holds, verified.stderr
        assert ("References (ok/all): 2/2" in verified.stdout + verified.stderr) is holds


def test_openleadr_verifies_ours(utility: Pki, party: Party) -> None:
    fingerprint = openadr_fingerprint(party.chain[0].public_bytes(Encoding.DER))
    theirs.validate_xml_signature(theirs.validate_xml_schema(sign(party, CLOCK.now())), fingerprint)


def test_ours_verifies_openleadr(utility: Pki, party: Party) -> None:
    message = theirs.create_message(
        "oadrPoll",
        cert=party.identity.certificate.read_bytes(),
        key=party.identity.key.read_bytes(),
        ven_id="007",
    )
    now = CLOCK.now()
    codec = Codec(None, utility.verifier())
    assert codec.read(message.encode(), now) == Poll(ven_id="007")
    with pytest.raises(SignatureError, match="is not the one that was signed"):
        codec.read(message.replace("007", "008").encode(), now)


def test_the_wire_bytes_may_be_laid_out_otherwise(utility: Pki, party: Party) -> None:
    """Quotes, empty-element tags and comments are nothing that canonicalisation keeps."""
    signed = sign(party, utility.now)
    for changed in (
        signed.replace(b'Id="signature"', b"Id='signature'"),
        re.sub(rb"<(ds:\w+)( [^<>]*)></\1>", rb"<\1\2/>", signed),
        signed.replace(b"<oadr:oadrPoll", b"<!-- hello --><oadr:oadrPoll"),
        signed.replace(b"</oadr:oadrPayload>", b"\n</oadr:oadrPayload>\n"),
    ):
        assert changed != signed
        assert utility.verifier().verify(changed, utility.now).content == encode(POLL)


def test_a_journalled_message_is_signed_anew_each_time(utility: Pki, party: Party) -> None:
    first, second = sign(party, utility.now), sign(party, utility.now)
    assert first != second
    verifier = utility.verifier()
    assert verifier.verify(first, utility.now).content == verifier.verify(second, utility.now).content


# --- refused: by whom ---------------------------------------------------------------------------------------------


def certify(key: Any, now: datetime, *, days: float = 1.0) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "self")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return builder.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else SHA256())


def refuse(verifier: Verifier, content: bytes, now: datetime, reason: str) -> None:
    with pytest.raises(SignatureError, match=reason):
        verifier.verify(content, now)


def test_a_stranger_is_refused(utility: Pki, stranger: Pki) -> None:
    for party in stranger.parties.values():
        refuse(utility.verifier(), sign(party, utility.now), utility.now, "signed by nobody we trust")


def test_a_certificate_of_another_than_the_signer_is_refused(utility: Pki, stranger: Pki, party: Party) -> None:
    for forger in stranger.parties.values():
        signed = Signer(forger.key, party.chain).sign(encode(POLL), utility.now)
        refuse(utility.verifier(), signed, utility.now, "is not taken with this key|value is not of this|bytes, not")


def test_an_expired_certificate_is_refused(utility: Pki, party: Party) -> None:
    later = party.chain[0].not_valid_after_utc + timedelta(seconds=1)
    refuse(utility.verifier(), sign(party, later), later, "signed by nobody we trust")


def test_a_certificate_that_expires_while_it_is_remembered_is_refused(utility: Pki, party: Party) -> None:
    verifier, end = utility.verifier(), party.chain[0].not_valid_after_utc
    before, after = end - timedelta(seconds=30), end + timedelta(seconds=1)
    verifier.verify(sign(party, before), before)
    refuse(verifier, sign(party, after), after, "signed by nobody we trust")


def test_a_host_that_the_certificate_does_not_name_is_refused(utility: Pki, party: Party) -> None:
    trust = ChainTrust([utility.root], host="vtn.example")
    refuse(Verifier(trust, ReplayGuard()), sign(party, utility.now), utility.now, "as vtn.example")


@pytest.mark.parametrize(
    ("generate", "reason"),
    [
        (lambda: rsa.generate_private_key(65537, 1024), "RSA key of 1024 bits"),
        (lambda: ec.generate_private_key(ec.SECP192R1()), "EC key of 192 bits"),
        (ed25519.Ed25519PrivateKey.generate, "knows RSA and EC"),
        (lambda: dsa.generate_private_key(1024), "knows RSA and EC"),
    ],
    ids=["rsa-1024", "p-192", "ed25519", "dsa"],
)
def test_a_weak_or_unknown_key_is_refused_though_it_chains(
    generate: Callable[[], Any], reason: str, utility: Pki, party: Party
) -> None:
    key = generate()
    certificate = certify(key, utility.now)
    signed = with_certificates(sign(party, utility.now), encoded(certificate))
    refuse(Verifier(ChainTrust([certificate]), ReplayGuard()), signed, utility.now, reason)


def encoded(certificate: x509.Certificate) -> bytes:
    return base64.b64encode(certificate.public_bytes(Encoding.DER))


def with_certificates(signed: bytes, *certificates: bytes) -> bytes:
    written = b"".join(b"<ds:X509Certificate>" + one + b"</ds:X509Certificate>" for one in certificates)
    return re.sub(rb"<ds:X509Data>.*</ds:X509Data>", b"<ds:X509Data>" + written + b"</ds:X509Data>", signed)


def spoilt(certificate: x509.Certificate) -> dict[str, bytes]:
    der = certificate.public_bytes(Encoding.DER)
    return {
        "not-base64": b"!!!!",
        "not-ascii": "é".encode(),
        "not-der": base64.b64encode(b"hello"),
        "cut": base64.b64encode(der[:-5]),
        "version": base64.b64encode(der.replace(bytes.fromhex("a003020102"), bytes.fromhex("a003020107"), 1)),
        "key-algorithm": base64.b64encode(
            der.replace(bytes.fromhex("2a8648ce3d0201"), bytes.fromhex("2a8648ce3d0207"))
        ),
        "curve": base64.b64encode(der.replace(bytes.fromhex("2a8648ce3d030107"), bytes.fromhex("2a8648ce3d03017f"))),
        "signature-algorithm": base64.b64encode(
            der.replace(bytes.fromhex("2a8648ce3d040302"), bytes.fromhex("2a8648ce3d04037f"))
        ),
        "extension-twice": base64.b64encode(der.replace(bytes.fromhex("551d0e"), bytes.fromhex("551d13"))),
        "padded": base64.b64encode(der) + b"!" * 100,
    }


@pytest.mark.parametrize(
    "how",
    [
        "not-base64",
        "not-ascii",
        "not-der",
        "cut",
        "version",
        "key-algorithm",
        "curve",
        "signature-algorithm",
        "extension-twice",
        "padded",
    ],
)
def test_a_certificate_that_cannot_be_read_is_refused(how: str, utility: Pki) -> None:
    party = utility.parties[KeyType.EC]
    content = with_certificates(sign(party, utility.now), spoilt(party.chain[0])[how])
    refuse(utility.verifier(), content, utility.now, "signed by nobody we trust")


def test_certificates_are_few_and_short(utility: Pki, party: Party) -> None:
    signed, own = sign(party, utility.now), encoded(party.chain[0])
    for certificates in ((), (own,) * 9, (own + b"A" * 20_000,), (own, b"A" * 20_000)):
        content = with_certificates(signed, *certificates)
        refuse(utility.verifier(), content, utility.now, "1 to 8 X509Certificates")


# --- refused: what ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "replacement", "reason"),
    [
        (b"a &amp; b", b"a &amp; c", "oadrSignedObject is not the one that was signed"),
        (b"<ei:venID>", b"<ei:venID> ", "oadrSignedObject is not the one"),
        (b"oadrPoll", b"oadrRequestReregistration", "oadrSignedObject is not the one"),
        (rb"<dsp:nonce>..", b"<dsp:nonce>zz", "Object is not the one that was signed"),
        (rb"<dsp:timestamp>2", b"<dsp:timestamp>3", "Object is not the one"),
        (rb"<ds:DigestValue>....", b"<ds:DigestValue>AAAA", "value is not of this message"),
        (rb"<ds:SignatureValue>....", b"<ds:SignatureValue>AAAA", "value is not of this message"),
        (
            rb"<ds:SignatureValue>.*</ds:SignatureValue>",
            b"<ds:SignatureValue></ds:SignatureValue>",
            "value is not|bytes",
        ),
        (rb"<ds:SignatureValue>....", b"<ds:SignatureValue>!?!?", "SignatureValue is not base64"),
        (rb"<ds:SignatureValue>", "<ds:SignatureValue>é".encode(), "cannot be read"),
        (rb"<ds:SignatureValue>.*</ds:SignatureValue>", b"", "has no SignatureValue"),
        (rb"<ds:KeyInfo>.*</ds:KeyInfo>", b"", "has no KeyInfo"),
        (rb"<ds:SignedInfo>.*</ds:SignedInfo>", b"", "has no SignedInfo"),
        (rb"<ds:Object.*</ds:Object>", b"", "has no Object"),
        (rb"(<ds:SignatureValue>.*</ds:SignatureValue>)", rb"\1\1", "SignatureValue that is not expected"),
        (rb"(<ds:Object.*</ds:Object>)", rb"\1\1", "Object that is not expected"),
        (rb"<ds:SignatureValue>", b"<ds:Manifest></ds:Manifest><ds:SignatureValue>", "Manifest that is not expected"),
        (rb"<ds:Reference .*?</ds:Reference>", b"", "not to 1|not to 0"),
        (rb"(<ds:Reference .*?</ds:Reference>)", rb"\1\1", "more than 16 elements"),
        (rb'URI="#replay"', b'URI="#oadrSignedObject"', "value is not"),
        (rb'URI="#replay"', b'URI=""', "not to ''"),
        (rb'URI="#replay"', b'URI="file:///etc/passwd"', "not to 'file"),
        (rb'URI="#replay"', b"", "not to ''"),
        (rb"<ds:Transforms>.*?</ds:Transforms>", b"", "value is not"),
    ],
)
def test_what_was_altered_is_refused(
    pattern: bytes, replacement: bytes, reason: str, utility: Pki, party: Party
) -> None:
    signed = sign(party, utility.now)
    altered = re.sub(pattern, replacement, signed)
    assert altered != signed
    refuse(utility.verifier(), altered, utility.now, reason)


def test_every_algorithm_but_those_of_openadr_is_refused_though_the_signature_holds(utility: Pki, party: Party) -> None:
    sha1, hmac = f"{DSIG}sha1", f"{DSIG}hmac-sha1"
    digests = (sha1, "http://www.w3.org/2001/04/xmlenc#sha512", "")
    methods = (f"{DSIG}rsa-sha1", hmac, "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha1", "", "none")
    transforms = ("http://www.w3.org/TR/1999/REC-xslt-19991116", f"{DSIG}enveloped-signature", f"{C14N}#WithComments")
    for old, news in (
        (b"http://www.w3.org/2001/04/xmlenc#sha256", digests),
        (re.search(rb"http://www.w3.org/2001/04/xmldsig-more#\w+-sha256", sign(party, utility.now)), methods),
        (C14N.encode(), transforms),
    ):
        before = old if isinstance(old, bytes) else old.group() if old is not None else b""
        for new in news:
            signed = resigned(party, sign(party, utility.now).replace(before, new.encode()))
            refuse(utility.verifier(), signed, utility.now, "is not taken|cannot be understood|is not the one")


def resigned(party: Party, content: bytes) -> bytes:
    """The SignatureValue made anew over whatever SignedInfo says now."""
    root = etree.fromstring(content)
    info = root.find(f"{DS}Signature/{DS}SignedInfo")
    algorithm = info.find(f"{DS}CanonicalizationMethod").get("Algorithm")
    canonical = etree.tostring(info, method="c14n", exclusive=algorithm == EXCLUSIVE_C14N, with_tail=False)
    value = party.signer._sign(canonical)
    root.find(f"{DS}Signature/{DS}SignatureValue").text = base64.b64encode(value).decode()
    written: bytes = etree.tostring(root)
    return written


def test_a_sha1_signature_is_refused_though_it_holds(utility: Pki) -> None:
    party = utility.parties[KeyType.EC]
    key = party.key
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    content = sign(party, utility.now).replace(b"#ecdsa-sha256", b"#ecdsa-sha1")
    root = etree.fromstring(content)
    info = etree.tostring(root[0][0], method="c14n", with_tail=False)
    root[0][1].text = base64.b64encode(key.sign(info, ec.ECDSA(SHA1()))).decode()
    refuse(utility.verifier(), etree.tostring(root), utility.now, "ecdsa-sha1 is not taken")


def test_exclusive_canonicalisation_is_taken(utility: Pki, party: Party) -> None:
    root = etree.fromstring(sign(party, utility.now))
    for element in root.iter(f"{DS}CanonicalizationMethod", f"{DS}Transform"):
        element.set("Algorithm", EXCLUSIVE_C14N)
    digest_anew(root)
    verified = utility.verifier().verify(resigned(party, etree.tostring(root)), utility.now)
    assert decode(verified.content) == POLL


def digest_anew(root: Any) -> None:
    """The digests made anew over what the references' Ids name now."""
    by_id = {value: element for element in root.iter() for name, value in element.attrib.items() if name.endswith("Id")}
    for reference in root.iter(f"{DS}Reference"):
        element = by_id[reference.get("URI")[1:]]
        algorithm = reference.find(f"{DS}Transforms/{DS}Transform").get("Algorithm")
        canonical = etree.tostring(element, method="c14n", exclusive=algorithm == EXCLUSIVE_C14N, with_tail=False)
        reference.find(f"{DS}DigestValue").text = base64.b64encode(sha256(canonical).digest()).decode()


def test_a_signature_that_does_not_cover_the_replay_protection_is_refused(utility: Pki, party: Party) -> None:
    root = etree.fromstring(sign(party, utility.now))
    other = etree.SubElement(root[0][3], f"{DS}SignatureProperties")
    other.set("Id", "other")
    root[0][0][3].set("URI", "#other")
    digest_anew(root)
    signed = resigned(party, etree.tostring(root))
    refuse(utility.verifier(), signed, utility.now, "covers one ReplayProtect, not 0")


def test_a_signature_with_two_replay_protections_is_refused(utility: Pki, party: Party) -> None:
    root = etree.fromstring(sign(party, utility.now))
    protected = root.find(f".//{{{PROPERTIES}}}ReplayProtect")
    protected.getparent().append(deepcopy(protected))
    digest_anew(root)
    signed = resigned(party, etree.tostring(root))
    refuse(utility.verifier(), signed, utility.now, "covers one ReplayProtect, not 2")


@pytest.mark.parametrize("name", ["nonce", "timestamp"])
def test_a_replay_protection_without_a_part_is_refused(name: str, utility: Pki, party: Party) -> None:
    root = etree.fromstring(sign(party, utility.now))
    part = root.find(f".//{{{PROPERTIES}}}{name}")
    part.getparent().remove(part)
    digest_anew(root)
    refuse(utility.verifier(), resigned(party, etree.tostring(root)), utility.now, f"has no {name}")


def test_what_is_not_signed_is_refused(utility: Pki) -> None:
    refuse(utility.verifier(), unsigned(encode(POLL)), utility.now, "not signed: have XML signatures switched on")


@pytest.mark.parametrize("name", ["oadr:oadrSignedObject", "oadr:oadrResponse", "oadr:other", "ds:Signature"])
def test_another_root_than_a_payload_is_refused(name: str, utility: Pki, party: Party) -> None:
    signed = sign(party, utility.now).replace(b"oadr:oadrPayload", name.encode())
    with pytest.raises(WireError):
        utility.verifier().verify(signed, utility.now)


# --- refused: wrapping --------------------------------------------------------------------------------------------

Wrapping = Callable[[Any, Any], None]


def second_object(root: Any, forged: Any) -> None:
    root.append(forged)


def second_object_first(root: Any, forged: Any) -> None:
    root.insert(1, forged)


def second_object_before_the_signature(root: Any, forged: Any) -> None:
    root.insert(0, forged)


def object_in_signature(root: Any, forged: Any) -> None:
    """The signed one becomes a ds:Object's content; the forged one stands where it was."""
    holder = etree.SubElement(root[0], f"{DS}Object")
    holder.append(root[1])
    root.append(forged)


def object_in_the_replay_object(root: Any, forged: Any) -> None:
    root[0].find(f"{DS}Object").append(root[1])
    root.append(forged)


def object_in_key_info(root: Any, forged: Any) -> None:
    root[0].find(f"{DS}KeyInfo").append(root[1])
    root.append(forged)


def object_in_an_extension(root: Any, forged: Any) -> None:
    holder = etree.SubElement(root, "{urn:extension}holder")
    holder.append(root[1])
    root.insert(1, forged)


def object_in_the_forged_one(root: Any, forged: Any) -> None:
    signed = root[1]
    root.append(forged)
    forged.append(signed)


def forged_without_an_id(root: Any, forged: Any) -> None:
    del forged.attrib[f"{{{OADR}}}Id"]
    object_in_the_replay_object(root, forged)


def forged_with_another_id(root: Any, forged: Any) -> None:
    forged.set(f"{{{OADR}}}Id", "other")
    object_in_the_replay_object(root, forged)


def forged_with_a_plain_id(root: Any, forged: Any) -> None:
    forged.set("Id", "oadrSignedObject")
    object_in_the_replay_object(root, forged)


def message_in_the_signed_object(root: Any, forged: Any) -> None:
    root[1].append(forged[0])


def references_swapped(root: Any, forged: Any) -> None:
    """Each Id on the other element."""
    root[1].set(f"{{{OADR}}}Id", "replay")
    root[0].find(f"{DS}Object").set("Id", "oadrSignedObject")


def payload_in_payload(root: Any, forged: Any) -> None:
    inner = deepcopy(root)
    for child in tuple(root):
        root.remove(child)
    root.append(inner)
    root.append(forged)


def two_signatures(root: Any, forged: Any) -> None:
    root.insert(0, deepcopy(root[0]))
    root.replace(root[2], forged)


def forged_replay_first(root: Any, forged: Any) -> None:
    """Another ReplayProtect where a search in the document would find it first."""
    replay = deepcopy(root[0].find(f"{DS}Object"))
    replay.find(f".//{{{PROPERTIES}}}nonce").text = "fresh"
    root[0].insert(0, replay)


@pytest.mark.parametrize(
    "wrap",
    [
        second_object,
        second_object_first,
        second_object_before_the_signature,
        object_in_signature,
        object_in_the_replay_object,
        object_in_key_info,
        object_in_an_extension,
        object_in_the_forged_one,
        forged_without_an_id,
        forged_with_another_id,
        forged_with_a_plain_id,
        message_in_the_signed_object,
        references_swapped,
        payload_in_payload,
        two_signatures,
        forged_replay_first,
    ],
)
def test_a_wrapped_signature_is_refused(wrap: Wrapping, utility: Pki, party: Party) -> None:
    root = etree.fromstring(sign(party, utility.now))
    wrap(root, etree.fromstring(encode(FORGED)))
    with pytest.raises(WireError):
        utility.verifier().verify(etree.tostring(root), utility.now)


def test_a_comment_in_an_identifier_does_not_cut_it(utility: Pki, party: Party) -> None:
    content = encode(Poll(ven_id="ven-12"))
    signed = sign(party, utility.now, content).replace(b"ven-12", b"ven-1<!-- -->2")
    codec = Codec(None, utility.verifier())
    assert codec.read(signed, utility.now) == Poll(ven_id="ven-12")
    assert decode(content.replace(b"ven-12", b"ven-1<?cut?>2")) == Poll(ven_id="ven-12")
    assert decode(content.replace(b"ven-12", b"ven-<![CDATA[1]]>2")) == Poll(ven_id="ven-12")


def test_duplicate_ids_do_not_choose_another_element(utility: Pki, party: Party) -> None:
    signed = sign(party, utility.now)
    for before, after in (
        (b'Id="signature"', b'Id="oadrSignedObject"'),
        (b'Id="replay-property"', b'Id="replay"'),
        (b"<ds:KeyInfo>", b'<ds:KeyInfo Id="oadrSignedObject">'),
    ):
        content = signed.replace(before, after)
        assert content != signed
        try:
            covered = utility.verifier().verify(content, utility.now)
        except WireError:
            continue
        assert covered.content == encode(POLL)


# --- refused: when ------------------------------------------------------------------------------------------------


def test_a_message_is_taken_once(utility: Pki, party: Party) -> None:
    verifier, signed = utility.verifier(), sign(party, utility.now)
    verifier.verify(signed, utility.now)
    for seconds in (0, 1, 59):
        refuse(verifier, signed, utility.now + timedelta(seconds=seconds), "received before")


@pytest.mark.parametrize(("seconds", "reason"), [(61, "s ago"), (86400, "s ago"), (-61, "s in the future")])
def test_a_message_is_taken_near_its_time(seconds: float, reason: str, utility: Pki, party: Party) -> None:
    moment = utility.now + timedelta(days=1)
    signed = sign(party, moment)
    refuse(utility.verifier(), signed, moment + timedelta(seconds=seconds), f"signed {abs(seconds)} {reason}")


@pytest.mark.parametrize("seconds", [-60, 60])
def test_a_message_is_taken_up_to_the_window(seconds: float, utility: Pki, party: Party) -> None:
    moment = utility.now + timedelta(days=1)
    utility.verifier().verify(sign(party, moment), moment + timedelta(seconds=seconds))


def test_a_refused_message_does_not_use_up_its_nonce(utility: Pki, party: Party) -> None:
    verifier, signed = utility.verifier(), sign(party, utility.now)
    refuse(verifier, signed.replace(b"a &amp; b", b"x"), utility.now, "not the one")
    assert verifier.verify(signed, utility.now).content == encode(POLL)


MOMENT = datetime(2026, 7, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("nonce", ["", "x" * (NONCE_LONGEST + 1)])
def test_a_nonce_has_a_sensible_length(nonce: str) -> None:
    with pytest.raises(SignatureError, match="nonce has"):
        ReplayGuard().admit(b"signer", nonce, MOMENT, MOMENT)


def test_signers_do_not_share_nonces() -> None:
    guard = ReplayGuard()
    guard.admit(b"a", "n", MOMENT, MOMENT)
    guard.admit(b"b", "n", MOMENT, MOMENT)
    assert len(guard) == 2


def test_a_nonce_is_held_until_its_message_would_be_too_old() -> None:
    guard = ReplayGuard(window_s=60.0)
    ahead = MOMENT + timedelta(seconds=60)
    guard.admit(b"a", "n", ahead, MOMENT)
    last = ahead + timedelta(seconds=60)
    with pytest.raises(SignatureError, match="received before"):
        guard.admit(b"a", "n", ahead, last)
    with pytest.raises(SignatureError, match="ago"):
        guard.admit(b"a", "n", ahead, last + timedelta(milliseconds=1))


class CountingClockwork(datetime):
    """An instant that counts how often it is compared."""

    compared = 0

    def __lt__(self, other: date) -> bool:
        CountingClockwork.compared += 1
        assert isinstance(other, datetime)
        return super().__lt__(other)


def test_the_memory_of_nonces_is_bounded_and_each_step_takes_constant_work() -> None:
    guard, count = ReplayGuard(window_s=60.0), 20_000
    CountingClockwork.compared = 0
    largest = 0
    for step in range(count):
        # Ten a second: a nonce is held for two windows, so 1,200 are at once.
        moment = CountingClockwork.fromtimestamp(MOMENT.timestamp() + step / 10, UTC)
        guard.admit(b"a", str(step), moment, moment)
        largest = max(largest, len(guard))
    assert largest <= 1202
    assert len(guard._by_expiry) == len(guard)
    # Each nonce is looked at once when it has not yet expired, and once when it has.
    assert count - 1200 < CountingClockwork.compared <= 2 * count


def test_a_burst_of_nonces_is_not_scanned() -> None:
    guard, count = ReplayGuard(), 5_000
    CountingClockwork.compared = 0
    moment = CountingClockwork.fromtimestamp(MOMENT.timestamp(), UTC)
    for step in range(count):
        guard.admit(b"a", str(step), moment, moment)
    assert len(guard) == count
    assert 0 < CountingClockwork.compared <= count


def test_remembered_chains_are_bounded(utility: Pki, party: Party, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ven.wire.signature._REMEMBERED", 3)
    verifier = utility.verifier()
    for copies in range(1, 8):
        signed = with_certificates(sign(party, utility.now), *(encoded(party.chain[0]),) * copies)
        verifier.verify(signed, utility.now)
    assert len(verifier._trusted) == 3
