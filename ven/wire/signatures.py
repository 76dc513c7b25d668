"""XML signatures of OpenADR 2.0b: made with our key, checked against the utility's roots.

A signature covers the oadrSignedObject and a ReplayProtect (time and nonce), both by reference, SHA-256 with ECDSA
or RSA as the key is. A message is signed when it is sent, not when it is journalled: the journalled bytes never
change, the time and nonce around them must. openleadr checks the signature's arithmetic with whatever certificate
the message brings; that this certificate chains to the imported roots and names the VTN's host is checked here.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import BasicConstraints, SubjectAlternativeName
from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store, VerificationError
from lxml import etree  # type: ignore[import-untyped]
from openleadr.messaging import validate_xml_signature
from signxml import methods
from signxml.algorithms import CanonicalizationMethod, SignatureMethod
from signxml.exceptions import SignXMLException
from signxml.signer import XMLSigner

from certs.files import read_certificates, read_leaf_key
from certs.tls import Identity
from ven.errors import WireError

_PROPERTIES = "http://openadr.org/oadr-2.0b/2012/07/xmldsig-properties"
_OADR = "http://openadr.org/oadr-2.0b/2012/07"
_DSIG = "{http://www.w3.org/2000/09/xmldsig#}"
_SIGNED_OBJECT = b"<oadr:oadrSignedObject"


class Signer:
    """Signs what we send. Reads the key once. Raises CertificateError when it cannot."""

    def __init__(self, identity: Identity) -> None:
        self._key = read_leaf_key(identity.key)
        leaf, *_ = read_certificates(identity.certificate)
        self._certificate = leaf.public_bytes(Encoding.PEM).decode("ascii")
        elliptic = isinstance(self._key, EllipticCurvePrivateKey)
        self._method = SignatureMethod.ECDSA_SHA256 if elliptic else SignatureMethod.RSA_SHA256

    def sign(self, payload: bytes, now: datetime) -> bytes:
        """The unsigned oadrPayload with a signature in front of its signed object, which stays byte for byte."""
        head, found, rest = payload.partition(_SIGNED_OBJECT)
        if not found:
            raise WireError("there is no oadrSignedObject to sign")
        signed_object, _, _ = (found + rest).rpartition(b"</oadr:oadrPayload>")
        signer = XMLSigner(
            method=methods.detached,
            signature_algorithm=self._method,
            c14n_algorithm=CanonicalizationMethod.CANONICAL_XML_1_0,
        )
        signer.namespaces["oadr"] = _OADR
        signature = signer.sign(
            etree.fromstring(signed_object),
            key=self._key,
            cert=self._certificate,
            reference_uri="#oadrSignedObject",
            signature_properties=_replay_protect(now),
        )
        signature_xml: bytes = etree.tostring(signature)
        return head + signature_xml + found + rest


class Verifier:
    """Checks what the VTN sends. Raises CertificateError when the roots cannot be read."""

    def __init__(self, identity: Identity, vtn_host: str) -> None:
        self._store = Store(read_certificates(identity.roots))
        self._host = _host(vtn_host)

    def verify(self, tree: Any, now: datetime) -> None:
        """Raise WireError unless the VTN signed ``tree`` (an lxml element), recently and never seen before."""
        certificates = [node.text for node in tree.iterfind(f".//{_DSIG}X509Certificate")]
        if not certificates:
            raise WireError("the VTN's message is not signed: have XML signatures switched on at the VTN")
        try:
            validate_xml_signature(tree)
        except (SignXMLException, ValueError, AttributeError) as error:
            raise WireError(f"the signature of the VTN's message does not hold: {error}") from error
        self._check_signer([_certificate(text) for text in certificates], now)

    def _check_signer(self, chain: Sequence[x509.Certificate], now: datetime) -> None:
        authorities = ExtensionPolicy.permit_all().require_present(BasicConstraints, Criticality.AGNOSTIC, None)
        leaves = ExtensionPolicy.permit_all().require_present(SubjectAlternativeName, Criticality.AGNOSTIC, None)
        builder = (
            PolicyBuilder().store(self._store).time(now).extension_policies(ca_policy=authorities, ee_policy=leaves)
        )
        try:
            builder.build_server_verifier(self._host).verify(chain[0], list(chain[1:]))
        except VerificationError as error:
            raise WireError(
                f"the VTN's message is signed by {chain[0].subject.rfc4514_string()}, "
                "who is not the VTN by the imported roots"
            ) from error


def _replay_protect(now: datetime) -> Any:
    properties = etree.Element(
        f"{{{_PROPERTIES}}}ReplayProtect", nsmap={"dsp": _PROPERTIES}, attrib={"Id": "replay", "Target": "#signature"}
    )
    etree.SubElement(properties, f"{{{_PROPERTIES}}}timestamp").text = f"{now:%Y-%m-%dT%H:%M:%S.%f}Z"
    etree.SubElement(properties, f"{{{_PROPERTIES}}}nonce").text = secrets.token_hex(16)
    return properties


def _certificate(text: str | None) -> x509.Certificate:
    body = "".join((text or "").split())
    try:
        return x509.load_pem_x509_certificate(
            f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n".encode("ascii")
        )
    except ValueError as error:
        raise WireError(f"the VTN's message carries an unreadable certificate: {error}") from error


def _host(name: str) -> x509.DNSName | x509.IPAddress:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
