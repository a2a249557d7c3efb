"""`d2det models`: the packaged models and their cards."""

from __future__ import annotations

from typing import Annotated

import typer

from d2det_cli.cards import card_text, cards_table
from d2det_cli.options import AsJson
from d2det_cli.say import print_json


def models(
    name: Annotated[str | None, typer.Argument(metavar="[NAME|PATH]", help="Show the card of this model.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """List the packaged models, or show the card of one.

    Example: d2det models buildings
    """
    from d2det_geo.model.bundle import packaged_bundles, read_card

    if name is not None:
        card = read_card(name)
        print_json(card.model_dump(mode="json")) if as_json else typer.echo(card_text(card))
        return
    cards = {path: read_card(path) for path in packaged_bundles().values()}
    if as_json:
        print_json([{**card.model_dump(mode="json"), "bytes": path.stat().st_size} for path, card in cards.items()])
    else:
        typer.echo(cards_table(cards))
