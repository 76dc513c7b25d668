"""Bytes to an XML tree that the schema knows, with nothing in it that could harm.

A message is refused before it is read when it is too large, and after parsing when it declared a document type:
OpenADR needs none, and entities live there. libxml2 bounds the depth; comments and processing instructions are
dropped, so that a text is one text. The schemas of OpenADR 2.0b are the ones in openleadr's wheel.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

from lxml import etree  # type: ignore[import-untyped]

from ven.errors import WireError
from ven.wire.xml import Element

MAX_BYTES = 5_000_000
"""Of one message; a day of 10-second readings of one resource takes about 3 MB."""

_PARSER = etree.XMLParser(
    resolve_entities=False,
    load_dtd=False,
    no_network=True,
    remove_comments=True,
    remove_pis=True,
    huge_tree=False,
    remove_blank_text=False,
)


def parse(content: bytes) -> Element:
    """The root element. Raises WireError."""
    if len(content) > MAX_BYTES:
        raise WireError(f"a message of {len(content):,} bytes: more than {MAX_BYTES:,} are not read")
    try:
        root = etree.fromstring(content, _PARSER)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise WireError(f"not XML: {error}") from error
    if root is None:
        raise WireError("not XML: there is no element")
    if root.getroottree().docinfo.doctype:
        raise WireError("the message declares a document type, which OpenADR does not")
    return root


def fault(element: Element) -> str | None:
    """Why the schema does not take the element and what is in it; None when it does."""
    schema = _schema()
    if schema.validate(element):
        return None
    first = schema.error_log[0]
    return f"line {first.line}: {first.message}"


@cache
def _schema() -> etree.XMLSchema:
    # find_spec finds the wheel without running openleadr's code.
    spec = find_spec("openleadr")
    if spec is None or spec.origin is None:
        raise WireError("openleadr is not installed: its wheel holds the schemas")
    return etree.XMLSchema(etree.parse(Path(spec.origin).parent / "schema" / "oadr_20b.xsd"))
