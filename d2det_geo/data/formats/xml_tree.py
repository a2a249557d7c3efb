"""XML from others: a tree that knows its lines, from a parser that expands nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from d2det_geo.errors import InputError


@dataclass(slots=True)
class Element:
    """An element."""

    name: str
    line: int
    """Of the file, from 1."""
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def all(self, name: str) -> Iterator[Element]:
        """Give the children of a name."""
        return (child for child in self.children if child.name == name)

    def first(self, name: str) -> Element | None:
        """Give the first child of a name, or None."""
        return next(self.all(name), None)


def read_xml(path: Path) -> Element:
    """Read the root element of a file; attributes are left out.

    Raises:
        InputError: unreadable, not XML, in an encoding expat does not know, or with a document type: it could define
            entities, which blow up or name other files.
    """
    top = Element("", 0)
    stack = [top]
    parser = expat.ParserCreate()

    def start(name: str, _: dict[str, str]) -> None:
        element = Element(name, parser.CurrentLineNumber)
        stack[-1].children.append(element)
        stack.append(element)

    def data(text: str) -> None:
        stack[-1].text += text

    def refuse(*_: object) -> None:
        raise InputError(f"{path}:{parser.CurrentLineNumber}: has a document type (DOCTYPE); remove it")

    parser.StartElementHandler = start
    parser.EndElementHandler = lambda _: stack.pop()
    parser.CharacterDataHandler = data
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(path.read_bytes(), True)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the file") from error
    except expat.ExpatError as error:
        raise InputError(f"{path}:{error.lineno}: is not whole XML ({expat.ErrorString(error.code)})") from error
    except (LookupError, ValueError) as error:  # an encoding nobody knows, or of several bytes a letter
        line = parser.CurrentLineNumber
        raise InputError(f"{path}:{line}: its encoding cannot be read ({error}); save it as UTF-8") from error
    return top.children[0]
