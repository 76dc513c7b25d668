"""Bytes to an XML tree that the schema knows, with nothing in it that could harm.

A message is refused before it is parsed when it is too large, or crowded in a way that canonicalisation would take a
time quadratic in; and after parsing when it is not UTF-8, or declared a document type: OpenADR needs none, and entities
live there. libxml2 bounds the depth; comments and processing instructions are dropped, so that a text is one text. The
schemas of OpenADR 2.0b are the ones in openleadr's wheel.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from lxml import etree  # type: ignore[import-untyped]

from ven.errors import WireError
from ven.wire.xml import Element

MAX_BYTES = 5_000_000
"""Of one message; a day of 10-second readings of one resource takes about 3 MB."""

MAX_TAGS = 300_000
"""Start and end tags of one message; 5 MB of reports have about 260,000."""
_TAG_SHORTEST = len("<a>")
MAX_ATTRIBUTES = 48
"""Of one element, namespace declarations among them; peers that declare every namespace at the root need about 20."""
MAX_NAMESPACES = 48
"""Declarations that hold in one place."""

_CROWDED_TAG = re.compile(
    rb"""<[^<>"'!?]+(?:(?:"[^"<]*"|'[^'<]*')[^<>"']*){%d}""" % (MAX_ATTRIBUTES + 1),
)
_ENCODINGS = ("UTF-8", "US-ASCII", "ASCII")

_SAFE = {
    "resolve_entities": False,
    "load_dtd": False,
    "no_network": True,
    "remove_comments": True,
    "remove_pis": True,
    "huge_tree": False,
}
_PARSER = etree.XMLParser(**_SAFE)


def parse(content: bytes) -> Element:
    """The root element. Raises WireError."""
    if len(content) > MAX_BYTES:
        raise WireError(f"a message of {len(content):,} bytes: more than {MAX_BYTES:,} are not read")
    if b"\0" in content:
        raise WireError("the message holds a null byte: OpenADR is XML in UTF-8")
    if len(content) > MAX_TAGS * _TAG_SHORTEST and content.count(b"<") > MAX_TAGS:
        raise WireError(f"a message of more than {MAX_TAGS:,} tags is not read")
    # Few messages have this many attributes in all, so a closer look is rare.
    crowded = _occurs_more_than(min(MAX_ATTRIBUTES, MAX_NAMESPACES), b"=", content)
    if crowded and _CROWDED_TAG.search(content):
        raise WireError(f"an element with more than {MAX_ATTRIBUTES} attributes is not read")
    try:
        root = etree.fromstring(content, _PARSER)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise WireError(f"not XML: {error}") from error
    if root is None:
        raise WireError("not XML: there is no element")
    facts = root.getroottree().docinfo
    if facts.doctype:
        raise WireError("the message declares a document type, which OpenADR does not")
    if facts.encoding is not None and facts.encoding.upper() not in _ENCODINGS:
        raise WireError(f"the message is in {facts.encoding}: OpenADR is XML in UTF-8")
    if crowded and content.count(b"xmlns") > MAX_NAMESPACES and _most_namespaces(root) > MAX_NAMESPACES:
        raise WireError(f"elements with more than {MAX_NAMESPACES} namespaces in scope are not read")
    return root


def _occurs_more_than(times: int, mark: bytes, content: bytes) -> bool:
    at = -1
    for _ in range(times + 1):
        at = content.find(mark, at + 1)
        if at < 0:
            return False
    return True


def _most_namespaces(root: Element) -> int:
    """How many namespace declarations hold where the most do, overridden ones included."""
    most = held = 0
    for event, _ in etree.iterwalk(root, events=("start-ns", "end-ns")):
        held += 1 if event == "start-ns" else -1
        most = max(most, held)
    return most


def canonical(element: Element, *, exclusive: bool = False) -> bytes:
    """C14N 1.0, of the element without what follows it. Raises WireError."""
    try:
        written: bytes = etree.tostring(
            element, method="c14n", exclusive=exclusive, with_comments=False, with_tail=False
        )
    except etree.C14NError as error:
        raise WireError("an element has no canonical form: its namespaces are to be absolute URIs") from error
    return written


def fault(element: Element) -> str | None:
    """Why the schema does not take the element and what is in it; None when it does."""
    if _is_large(element):
        return _fault_of_large(element)
    schema = _schema()
    if schema.validate(element):
        return None
    first = schema.error_log[0]
    return f"line {first.line}: {first.message}"


_is_large = etree.XPath("boolean(descendant::*[8000])")


def _fault_of_large(element: Element) -> str | None:
    # For every fault in a tree lxml notes its path, which takes a time linear in the siblings before it: with many
    # faults quadratic. While it parses there are no paths, and no lines either.
    parser = etree.XMLParser(schema=_schema(), **_SAFE)
    try:
        etree.fromstring(etree.tostring(element, with_tail=False), parser)
    except etree.XMLSyntaxError:
        return str(parser.error_log[0].message)
    return None


@cache
def _schema() -> etree.XMLSchema:
    # find_spec finds the wheel without running openleadr's code.
    spec = find_spec("openleadr")
    if spec is None or spec.origin is None:
        raise WireError("openleadr is not installed: its wheel holds the schemas")
    return etree.XMLSchema(etree.parse(Path(spec.origin).parent / "schema" / "oadr_20b.xsd"))
