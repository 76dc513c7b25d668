"""Random harm to XML messages: to their bytes, and to their trees in the ways that signature wrapping takes."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from random import Random
from typing import Any

from lxml import etree  # type: ignore[import-untyped]

TOKENS = (
    b"<!DOCTYPE a>",
    b"<![CDATA[",
    b"]]>",
    b"<!--",
    b"-->",
    b"&amp;",
    b"&#0;",
    b"&#x110000;",
    b"<?x?>",
    b'xmlns="urn:x"',
    b"xmlns:oadr=''",
    b' Id="oadrSignedObject"',
    b"</oadr:oadrSignedObject>",
    b"<oadr:oadrSignedObject>",
    b"\0",
    b"\xff\xfe",
    b"\xc0\x80",
    b" ",
    b"\r\n",
)
TEXTS = (
    "",
    " ",
    "-1",
    "0",
    "1e400",
    "NaN",
    "-INF",
    "true",
    "none",
    "far",
    "\u0661",
    "9" * 30,
    "9" * 5000,
    "P1Y",
    "PT",
    "P99999999999D",
    "-PT1S",
    "2026-02-29T00:00:00Z",
    "2026-06-30T24:00:00Z",
    "-0001-01-01T00:00:00Z",
    "9999-12-31T24:00:00Z",
    "0000-01-01T00:00:00",
    "x-own",
    "oadrSignedObject",
    "#replay",
    "AAAA",
    "=",
    "é",
    "\U0001f50b",
)

Change = Callable[[Random, Any, list[Any]], None]


def mutate(content: bytes, dice: Random) -> bytes:
    """One to four changes; a message that is no XML any more is changed as bytes."""
    for _ in range(dice.choice((1, 1, 1, 1, 2, 3, 4))):
        if dice.random() < 0.4:
            content = mutate_bytes(content, dice)
            continue
        try:
            root = etree.fromstring(content, etree.XMLParser(resolve_entities=False, no_network=True))
        except (etree.XMLSyntaxError, ValueError):
            content = mutate_bytes(content, dice)
            continue
        content = mutate_tree(root, dice)
    return content


def mutate_bytes(content: bytes, dice: Random) -> bytes:
    """One change of bytes."""
    place = dice.randrange(len(content) + 1)
    end = min(len(content), place + dice.choice((1, 1, 2, 8, 64)))
    piece = content[place:end]
    kind = dice.randrange(5)
    if kind == 0 and piece:
        changed = bytes((piece[0] ^ (1 << dice.randrange(8)),)) + piece[1:]
    elif kind == 1:
        changed = b""
    elif kind == 2:
        changed = piece * 2
    elif kind == 3:
        changed = dice.choice(TOKENS) + piece
    else:
        changed = dice.randbytes(len(piece))
    return content[:place] + changed + content[end:]


def mutate_tree(root: Any, dice: Random) -> bytes:
    """One change of the tree."""
    elements = [element for element in root.iter() if isinstance(element.tag, str)]
    dice.choice(CHANGES)(dice, root, elements)
    written: bytes = etree.tostring(root)
    return written


def _without_root(root: Any, elements: list[Any]) -> list[Any]:
    return [element for element in elements if element is not root] or [etree.SubElement(root, "x")]


def duplicate(dice: Random, root: Any, elements: list[Any]) -> None:
    element = dice.choice(_without_root(root, elements))
    element.addnext(deepcopy(element))


def remove(dice: Random, root: Any, elements: list[Any]) -> None:
    element = dice.choice(_without_root(root, elements))
    element.getparent().remove(element)


def move(dice: Random, root: Any, elements: list[Any]) -> None:
    element = dice.choice(_without_root(root, elements))
    inside = set(element.iter())
    places = [place for place in elements if place not in inside]
    parent = dice.choice(places)
    parent.insert(dice.randint(0, len(parent)), element)


def copy_elsewhere(dice: Random, root: Any, elements: list[Any]) -> None:
    parent = dice.choice(elements)
    parent.insert(dice.randint(0, len(parent)), deepcopy(dice.choice(_without_root(root, elements))))


def swap_names(dice: Random, root: Any, elements: list[Any]) -> None:
    one, other = dice.choice(elements), dice.choice(elements)
    one.tag, other.tag = other.tag, one.tag


def wrap(dice: Random, root: Any, elements: list[Any]) -> None:
    element = dice.choice(_without_root(root, elements))
    holder = etree.Element(dice.choice(elements).tag)
    element.getparent().replace(element, holder)
    holder.append(element)


def change_attribute(dice: Random, root: Any, elements: list[Any]) -> None:
    named = [element for element in elements if element.attrib]
    element = dice.choice(named or elements)
    values = [value for each in named for value in each.attrib.values()]
    if element.attrib and dice.random() < 0.3:
        del element.attrib[dice.choice(list(element.attrib))]
    elif element.attrib:
        element.set(dice.choice(list(element.attrib)), dice.choice([*values, *TEXTS[:12]]))
    else:
        element.set("Id", "oadrSignedObject")


def move_attribute(dice: Random, root: Any, elements: list[Any]) -> None:
    named = [element for element in elements if element.attrib]
    if named:
        name, value = dice.choice(list(dice.choice(named).attrib.items()))
        dice.choice(elements).set(name, value)


def change_text(dice: Random, root: Any, elements: list[Any]) -> None:
    dice.choice(elements).text = dice.choice(TEXTS)


def swap_texts(dice: Random, root: Any, elements: list[Any]) -> None:
    one, other = dice.choice(elements), dice.choice(elements)
    one.text, other.text = other.text, one.text


def comment_in_text(dice: Random, root: Any, elements: list[Any]) -> None:
    element = dice.choice([element for element in elements if element.text] or elements)
    text = element.text or ""
    place = dice.randint(0, len(text))
    comment = etree.Comment("c")
    element.text = text[:place]
    element.insert(0, comment)
    comment.tail = text[place:]


CHANGES: tuple[Change, ...] = (
    duplicate,
    remove,
    move,
    copy_elsewhere,
    swap_names,
    wrap,
    change_attribute,
    move_attribute,
    change_text,
    change_text,
    swap_texts,
    comment_in_text,
)
