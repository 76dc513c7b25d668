"""XML signatures of OpenADR 2.0b (section on XML signatures; XML-DSig, C14N 1.0, SHA-256 with RSA or ECDSA).

A signature covers the oadrSignedObject and a ReplayProtect, each by reference. Ours is written as canonical text, so
nothing is parsed to sign; it is made when a message is sent, not when it is journalled: the journalled bytes never
change, the time and nonce around them must.

What is read of a signed message are the bytes the signature covers, and nothing else of it: references are never
looked up in the document, they must name the one oadrSignedObject where it belongs and the one ReplayProtect in the
signature itself. So there is nowhere to wrap another object into.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import (
    Certificate,
    DuplicateExtension,
    InvalidVersion,
    UnsupportedGeneralNameType,
    load_der_x509_certificate,
)

from certs.errors import CertificateError
from certs.files import LeafKey
from certs.fingerprint import openadr_fingerprint
from certs.trust import Trust
from ven.errors import SignatureError, WireError
from ven.wire.payload import PAYLOAD, SIGNED_OBJECT, SIGNED_OBJECT_ID
from ven.wire.replay import ReplayGuard
from ven.wire.schema import canonical, parse
from ven.wire.xml import OADR, Element, as_instant, children, instant, local

DSIG = "http://www.w3.org/2000/09/xmldsig#"
PROPERTIES = "http://openadr.org/oadr-2.0b/2012/07/xmldsig-properties"
C14N = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"
EXCLUSIVE_C14N = "http://www.w3.org/2001/10/xml-exc-c14n#"
SHA256_DIGEST = "http://www.w3.org/2001/04/xmlenc#sha256"
RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
ECDSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"

_HEAD = f'<?xml version="1.0" encoding="UTF-8"?>\n<oadr:oadrPayload xmlns:oadr="{OADR}">'.encode()
_TAIL = b"</oadr:oadrPayload>"


def unsigned(signed_object: bytes) -> bytes:
    """The oadrPayload around what ``encode`` made."""
    return _HEAD + signed_object + _TAIL


# --- signing ------------------------------------------------------------------------------------------------------

_SCOPE = f' xmlns:ds="{DSIG}" xmlns:oadr="{OADR}"'
_REPLAY_ID = "replay"


class Signer:
    """Signs as one identity."""

    def __init__(self, key: LeafKey, chain: Sequence[Certificate]) -> None:
        """``chain``: our certificate first, then the intermediates."""
        self._key = key
        if isinstance(key, EllipticCurvePrivateKey):
            self._algorithm, self._width = ECDSA_SHA256, (key.curve.key_size + 7) // 8
        else:
            self._algorithm, self._width = RSA_SHA256, 0
        certificates = "".join(
            f"<ds:X509Certificate>{base64.b64encode(one.public_bytes(Encoding.DER)).decode()}</ds:X509Certificate>"
            for one in chain
        )
        self._key_info = f"<ds:KeyInfo><ds:X509Data>{certificates}</ds:X509Data></ds:KeyInfo>"

    def sign(self, signed_object: bytes, now: datetime) -> bytes:
        """The signed oadrPayload around what ``encode`` made."""
        replay = (
            "<ds:SignatureProperties>"
            f'<ds:SignatureProperty Id="{_REPLAY_ID}-property" Target="#signature">'
            f'<dsp:ReplayProtect xmlns:dsp="{PROPERTIES}"><dsp:timestamp>{instant(now)}</dsp:timestamp>'
            f"<dsp:nonce>{secrets.token_hex(16)}</dsp:nonce></dsp:ReplayProtect></ds:SignatureProperty>"
            "</ds:SignatureProperties></ds:Object>"
        )
        replay_signed = f'<ds:Object{_SCOPE} Id="{_REPLAY_ID}">{replay}'.encode()
        signed_info = (
            f'<ds:CanonicalizationMethod Algorithm="{C14N}"></ds:CanonicalizationMethod>'
            f'<ds:SignatureMethod Algorithm="{self._algorithm}"></ds:SignatureMethod>'
            f"{_reference(SIGNED_OBJECT_ID, signed_object)}"
            f"{_reference(_REPLAY_ID, replay_signed)}</ds:SignedInfo>"
        )
        value = base64.b64encode(self._sign(f"<ds:SignedInfo{_SCOPE}>{signed_info}".encode())).decode()
        signature = (
            f'<ds:Signature xmlns:ds="{DSIG}" Id="signature"><ds:SignedInfo>{signed_info}'
            f"<ds:SignatureValue>{value}</ds:SignatureValue>{self._key_info}"
            f'<ds:Object Id="{_REPLAY_ID}">{replay}</ds:Signature>'
        )
        return b"".join((_HEAD, signature.encode(), signed_object, _TAIL))

    def _sign(self, content: bytes) -> bytes:
        if isinstance(self._key, RSAPrivateKey):
            return self._key.sign(content, PKCS1v15(), SHA256())
        r, s = decode_dss_signature(self._key.sign(content, ECDSA(SHA256())))
        return r.to_bytes(self._width, "big") + s.to_bytes(self._width, "big")


def _reference(identifier: str, content: bytes) -> str:
    digest = base64.b64encode(sha256(content).digest()).decode()
    return (
        f'<ds:Reference URI="#{identifier}"><ds:Transforms><ds:Transform Algorithm="{C14N}"></ds:Transform>'
        f'</ds:Transforms><ds:DigestMethod Algorithm="{SHA256_DIGEST}"></ds:DigestMethod>'
        f"<ds:DigestValue>{digest}</ds:DigestValue></ds:Reference>"
    )


# --- verifying ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Covered:
    """What a signature vouches for."""

    content: bytes
    """The oadrSignedObject in canonical form."""
    certificate: Certificate
    """Of the signer."""
    fingerprint: str
    """The signer's, in OpenADR's form."""
    signed_at: datetime


def _ds(name: str) -> str:
    return f"{{{DSIG}}}{name}"


_EXCLUSIVE = {C14N: False, EXCLUSIVE_C14N: True}
_TRUSTED_FOR = timedelta(minutes=10)
_REMEMBERED = 4096
_CHAIN_LONGEST = 8
_CERTIFICATE_LONGEST = 16_384
_UNREADABLE_CERTIFICATE = (UnsupportedAlgorithm, InvalidVersion, DuplicateExtension, UnsupportedGeneralNameType)
_SIGNED_INFO_LARGEST = 16
"""Elements of a SignedInfo; what OpenADR asks for takes 13."""


class Verifier:
    """Checks who signed a message, that it was for now, and that it was not here before."""

    def __init__(self, trust: Trust, guard: ReplayGuard) -> None:
        self._trust = trust
        self._guard = guard
        self._trusted: OrderedDict[tuple[str, ...], tuple[Certificate, str, datetime]] = OrderedDict()

    def verify(self, content: bytes, now: datetime) -> Covered:
        """Raises WireError when it is no payload, SignatureError when the signature does not hold."""
        root = parse(content)
        signature, signed_object = _parts(root)
        try:
            parts = _SignatureParts(signature, signed_object)
            leaf, fingerprint = self._signer(parts.certificates, now)
            parts.check_value(leaf)
            covered = parts.check_object()
            nonce, signed_at = parts.check_replay_protect()
        except (IndexError, TypeError, ValueError) as error:
            raise SignatureError(f"the signature cannot be read: {error!r}") from error
        self._guard.admit(leaf.signature, nonce, signed_at, now)
        return Covered(content=covered, certificate=leaf, fingerprint=fingerprint, signed_at=signed_at)

    def _signer(self, encoded: tuple[str, ...], now: datetime) -> tuple[Certificate, str]:
        known = self._trusted.get(encoded)
        if known is not None and now < known[2]:
            self._trusted.move_to_end(encoded)
            return known[:2]
        if not 0 < len(encoded) <= _CHAIN_LONGEST or max(map(len, encoded)) > _CERTIFICATE_LONGEST:
            raise SignatureError(
                f"a signature carries 1 to {_CHAIN_LONGEST} X509Certificates, "
                f"each of at most {_CERTIFICATE_LONGEST} characters"
            )
        try:
            chain = [load_der_x509_certificate(base64.b64decode(one, validate=True)) for one in encoded]
            self._trust.check(chain, now)
        except (ValueError, CertificateError, *_UNREADABLE_CERTIFICATE) as error:
            raise SignatureError(f"the message is signed by nobody we trust: {error}") from error
        fingerprint = openadr_fingerprint(chain[0].public_bytes(Encoding.DER))
        until = min(now + _TRUSTED_FOR, *(one.not_valid_after_utc for one in chain))
        self._trusted[encoded] = (chain[0], fingerprint, until)
        if len(self._trusted) > _REMEMBERED:
            self._trusted.popitem(last=False)
        return chain[0], fingerprint


def _parts(root: Element) -> tuple[Element, Element]:
    """The signature and the one signed object, each where it belongs and nowhere else."""
    if root.tag != PAYLOAD:
        raise WireError(f"{local(root.tag)} is not an oadrPayload, and so is not signed")
    tags = [child.tag for child in root]
    if tags == [SIGNED_OBJECT]:
        raise SignatureError("the message is not signed: have XML signatures switched on at the sender")
    if tags != [_ds("Signature"), SIGNED_OBJECT] or root.attrib:
        raise SignatureError("a signed oadrPayload holds one Signature and one oadrSignedObject, and nothing else")
    return root[0], root[1]


class _SignatureParts:
    """A ds:Signature taken apart, strictly: an element that is not expected is refused."""

    def __init__(self, signature: Element, signed_object: Element) -> None:
        if set(signature.attrib) - {"Id"}:
            raise SignatureError("a Signature has no attribute but Id")
        self._object = signed_object
        by_name: dict[str, Element] = {}
        for child in signature:
            name = local(child.tag) if child.tag == _ds(local(child.tag)) else ""
            if name not in ("SignedInfo", "SignatureValue", "KeyInfo", "Object") or name in by_name:
                raise SignatureError(f"a Signature with a {local(child.tag)} that is not expected there")
            by_name[name] = child
        try:
            self._info, self._value, key_info, self._replay = (
                by_name[name] for name in ("SignedInfo", "SignatureValue", "KeyInfo", "Object")
            )
        except KeyError as error:
            raise SignatureError(f"the Signature has no {error.args[0]}") from None
        self.certificates = tuple(
            "".join((certificate.text or "").split())
            for data in children(key_info, _ds("X509Data"))
            for certificate in children(data, _ds("X509Certificate"))
        )
        if sum(1 for _ in self._info.iter()) > _SIGNED_INFO_LARGEST:
            raise SignatureError(f"a SignedInfo of more than {_SIGNED_INFO_LARGEST} elements")
        self._canonicalization, self._method, *references = self._info
        if len(references) != 2:
            raise SignatureError(
                f"a signature refers to the signed object and a ReplayProtect, not to {len(references)}"
            )
        self._references = {_target(reference): reference for reference in references}

    def check_value(self, leaf: Certificate) -> None:
        """The signature's value over SignedInfo, by the signer's key."""
        signed = _canonical(self._info, _algorithm(self._canonicalization, "CanonicalizationMethod"))
        value = _decoded(self._value)
        method = _algorithm(self._method, "SignatureMethod")
        key = leaf.public_key()
        try:
            if isinstance(key, RSAPublicKey) and method == RSA_SHA256:
                key.verify(value, signed, PKCS1v15(), SHA256())
            elif isinstance(key, EllipticCurvePublicKey) and method == ECDSA_SHA256:
                width = (key.curve.key_size + 7) // 8
                if len(value) != 2 * width:
                    raise SignatureError(f"an ECDSA signature of {len(value)} bytes, not {2 * width}")
                r, s = int.from_bytes(value[:width], "big"), int.from_bytes(value[width:], "big")
                key.verify(encode_dss_signature(r, s), signed, ECDSA(SHA256()))
            else:
                raise SignatureError(f"the signature method {method} is not taken with this key")
        except InvalidSignature as error:
            raise SignatureError("the signature's value is not of this message") from error

    def check_object(self) -> bytes:
        """The signed object's digest; returns the bytes that were digested."""
        identifier = self._object.get(f"{{{OADR}}}Id") or self._object.get("Id")
        return self._check_digest(identifier, self._object)

    def check_replay_protect(self) -> tuple[str, datetime]:
        """The ReplayProtect's digest; returns its nonce and time, from the bytes that were digested."""
        for element in self._replay.iter():
            identifier = element.get("Id")
            if identifier in self._references:
                covered = parse(self._check_digest(identifier, element))
                found = list(covered.iter(f"{{{PROPERTIES}}}ReplayProtect"))
                if len(found) != 1:
                    raise SignatureError(f"a signature covers one ReplayProtect, not {len(found)}")
                values = {child.tag: child.text or "" for child in found[0]}
                try:
                    nonce = values[f"{{{PROPERTIES}}}nonce"].strip()
                    return nonce, as_instant(values[f"{{{PROPERTIES}}}timestamp"])
                except KeyError as error:
                    raise SignatureError(f"the ReplayProtect has no {local(error.args[0])}") from None
        raise SignatureError("the signature does not cover its ReplayProtect")

    def _check_digest(self, identifier: str | None, element: Element) -> bytes:
        reference = self._references.pop(identifier or "", None)
        if reference is None:
            raise SignatureError(f"the signature does not cover the {local(element.tag)}")
        *transforms, method, value = reference
        covered = _canonical(element, _transform(transforms))
        if _algorithm(method, "DigestMethod") != SHA256_DIGEST:
            raise SignatureError(f"the digest method {method.get('Algorithm')} is not taken: SHA-256 is")
        if value.tag != _ds("DigestValue") or not hmac.compare_digest(_decoded(value), sha256(covered).digest()):
            raise SignatureError(f"the {local(element.tag)} is not the one that was signed")
        return covered


def _target(reference: Element) -> str:
    uri = reference.get("URI") or ""
    if reference.tag != _ds("Reference") or not uri.startswith("#") or len(uri) < 2:
        raise SignatureError(f"a signature refers to elements of its message, not to {uri!r}")
    return uri[1:]


def _transform(transforms: Sequence[Element]) -> str:
    """The canonicalisation of a reference: the one transform there may be, C14N 1.0 where there is none."""
    found = [transform for group in transforms for transform in group]
    if not found:
        return C14N
    if len(found) > 1:
        raise SignatureError("a reference is canonicalised and not transformed otherwise")
    return _algorithm(found[0], "Transform")


def _algorithm(element: Element, name: str) -> str:
    algorithm = element.get("Algorithm")
    if element.tag != _ds(name) or algorithm is None or len(element):
        raise SignatureError(f"a {name} that cannot be understood")
    return str(algorithm)


def _canonical(element: Element, algorithm: str) -> bytes:
    if algorithm not in _EXCLUSIVE:
        raise SignatureError(f"the canonicalisation {algorithm} is not taken: {C14N} is")
    return canonical(element, exclusive=_EXCLUSIVE[algorithm])


def _decoded(element: Element) -> bytes:
    try:
        return base64.b64decode("".join((element.text or "").split()), validate=True)
    except binascii.Error as error:
        raise SignatureError(f"the {local(element.tag)} is not base64") from error
