"""Model cards as text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from d2det_cli.tables import table

if TYPE_CHECKING:
    from pathlib import Path

    from d2det_geo.model.bundle import Card

HEADLINE = ("ap50", "ap75", "f1")
"""The held-out scores a list of models shows; a card shows all."""


def cards_table(cards: dict[Path, Card]) -> str:
    """Lay out one model a row."""
    header = ("NAME", "CLASSES", "GSD", "SIZE", "SCORES")
    rows = [
        (card.name, ", ".join(card.classes), _gsd(card), f"{path.stat().st_size / 1e6:.1f} MB", _scores(card, HEADLINE))
        for path, card in cards.items()
    ]
    return table([header, *rows])


def card_text(card: Card) -> str:
    """Lay out all a user should know of one model."""
    rows = [
        ("model", card.name),
        ("about", card.description),
        ("classes", ", ".join(card.classes)),
        ("GSD", _gsd(card)),
        ("input", f"{', '.join(card.bands)}, {card.dtype}, chips of {card.chip_size} px sharing {card.overlap} px"),
        ("score", f"{card.score:g} unless --score says otherwise"),
        ("held out", _scores(card, card.scores)),
        *(("data", line) for line in card.data),
        *((f"training {key}", str(value)) for key, value in card.training.items()),
        ("revision", card.git_revision),
    ]
    return table([row for row in rows if row[1]])


def _gsd(card: Card) -> str:
    if card.gsd_m is None:
        return "any"
    span = f" ({card.gsd_range_m[0]:g} to {card.gsd_range_m[1]:g})" if card.gsd_range_m else ""
    return f"{card.gsd_m:g} m/px{span}"


def _scores(card: Card, names: Iterable[str]) -> str:
    return ", ".join(f"{name} {card.scores[name]:.3f}" for name in names if name in card.scores) or "not measured"
