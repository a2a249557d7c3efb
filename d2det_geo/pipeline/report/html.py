"""Markup from values: every text is escaped unless it is markup already."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from typing import TypeAlias


class Html(str):
    """Text that is markup."""

    __slots__ = ()


Content: TypeAlias = "str | int | float"
"""Markup, text to be escaped, or a number to be formatted."""

_VOID = frozenset({"meta", "img", "br", "col"})
UNDEFINED = "n/a"
MANY = 25
"""Rows of a table, beyond which it is long."""
LONG = "long"
"""Class of tables that scroll by themselves, under a head that stays."""


def element(name: str, *content: Content, **attributes: object) -> Html:
    """Build an element.

    Args:
        name: of the element.
        content: what it holds.
        attributes: underscores stand for hyphens, and one at the end for nothing (``class_``); None and False leave an
            attribute out, True gives it no value.
    """
    told = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _VOID:
        return Html(f"<{name}{told}>")
    return Html(f"<{name}{told}>{joined(content)}</{name}>")


def joined(content: Iterable[Content]) -> Html:
    """Put contents one after the other."""
    return Html("".join(_shown(item) for item in content))


def number(value: float, digits: int = 3) -> str:
    """Format a number: whole ones in full with thin spaces, others with ``digits`` decimals, NaN as ``n/a``."""
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\u202f")
    if math.isnan(value):
        return UNDEFINED
    return f"{value:.{digits}f}" if math.isfinite(value) else ("∞" if value > 0 else "-∞")


def table(
    caption: str, head: Sequence[str], rows: Iterable[Sequence[Content]], *, sortable: bool = False, class_: str = ""
) -> Html:
    """Build a table that scrolls sideways where the page is narrow.

    Args:
        caption: what it shows.
        head: names of the columns.
        rows: one cell per column; the first of a row is its heading.
        sortable: a click on a heading sorts by it.
        class_: for the style.
    """
    rows = list(rows)
    headings = [
        element(
            "th",
            element("button", name, type="button") if sortable else name,
            scope="col",
            class_="text" if place == 0 or any(_is_text(row[place]) for row in rows) else None,
        )
        for place, name in enumerate(head)
    ]
    body = [
        element("tr", element("th", first, scope="row", **_value(first)), *(_cell(item) for item in rest))
        for first, *rest in rows
    ]
    inner = element(
        "table",
        element("caption", caption),
        element("thead", element("tr", *headings)),
        element("tbody", *body),
        class_=" ".join(filter(None, ("sortable" if sortable else "", class_))) or None,
    )
    return element("div", inner, class_="scroll", tabindex="0", role="region", aria_label=caption)


def long(rows: Sequence[object]) -> str:
    """Return the class of a table of so many rows."""
    return LONG if len(rows) > MANY else ""


def section(title: str, name: str, *content: Content) -> Html:
    """Build a part of the page with a heading that can be linked to."""
    return element("section", element("h2", title, id=name), *content, aria_labelledby=name)


def details(summary: str, *content: Content) -> Html:
    """Build a part that is folded away at first."""
    return element("details", element("summary", summary), *content)


def paragraph(*content: Content, class_: str | None = None) -> Html:
    """Build a paragraph."""
    return element("p", *content, class_=class_)


def _is_text(value: Content) -> bool:
    return isinstance(value, str) and not isinstance(value, Html)


def _cell(value: Content) -> Html:
    if isinstance(value, Html):
        return element("td", value)
    if isinstance(value, str):
        return element("td", value, class_="text")
    return element("td", value, **_value(value))


def _value(value: Content) -> dict[str, object]:
    """Keep the number behind a rounded one, for sorting and for whoever copies it."""
    return {"data_value": repr(value)} if isinstance(value, (int, float)) and not math.isnan(value) else {}


def _shown(item: Content) -> str:
    if isinstance(item, Html):
        return item
    return html.escape(item if isinstance(item, str) else number(item))


def _attribute(key: str, value: object) -> str:
    name = key.rstrip("_").replace("_", "-")
    if value is None or value is False:
        return ""
    return f" {name}" if value is True else f' {name}="{html.escape(str(value))}"'
