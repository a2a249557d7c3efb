"""The classes of a model as an image set and the format of its results name them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from d2det_geo.data.formats.isaid_classes import CLASSES as ISAID_CLASSES
from d2det_geo.data.formats.isaid_classes import normalised
from d2det_geo.data.formats.uavdt_sequences import CLASSES as UAVDT_CLASSES
from d2det_geo.errors import UsageError
from d2det_geo.model.bundle import Card
from d2det_geo.pipeline.predict_set_images import ImageSet


@dataclass(frozen=True, slots=True)
class Categories:
    """Classes as the results name and number them."""

    ids: tuple[int, ...]
    names: tuple[str, ...]


def categories_of(
    card: Card, wanted: Sequence[str], class_map: Mapping[str, str], found: ImageSet, format: str
) -> tuple[list[int], Categories]:
    """Find the category of each class of a model, by name; case, ``_``, ``-`` and space make no difference.

    Args:
        card: of the model.
        wanted: its classes that are; none means all.
        class_map: class of the model -> category, where they differ; an empty name drops the class.
        found: may say its categories.
        format: of the results; may have its own.

    Returns:
        The row of the category of each class, -1 for one that is not wanted; and the categories: those the set or the
        format has, or else the model's own, from 1.

    Raises:
        UsageError: a class the model does not have, or a category the set does not have; lists those there are.
    """
    for name in (*wanted, *class_map):
        if name not in card.classes:
            raise UsageError(f"class {name!r}: {card.name} does not know it; it knows {', '.join(card.classes)}")
    chosen = {name: class_map.get(name, name) for name in card.classes if not wanted or name in wanted}
    known = _known(chosen, found, format)
    rows = {name: row for row, (_, name) in reversed(list(enumerate(known)))}
    alike = {normalised(name): row for name, row in rows.items()}
    targets = [-1] * len(card.classes)
    for index, name in enumerate(card.classes):
        if not chosen.get(name):
            continue
        row = rows.get(chosen[name], alike.get(normalised(chosen[name])))
        if row is None:
            listed = ", ".join(category for _, category in known)
            raise UsageError(
                f"class {chosen[name]!r} of the model is none of the set's ({listed});"
                f" name it with --class-map {name}=..., or drop it with --class-map {name}="
            )
        targets[index] = row
    return targets, Categories(tuple(number for number, _ in known), tuple(name for _, name in known))


def unnumbered(categories: Categories, format: str) -> tuple[str, ...]:
    """Say which classes have no number in results of UAVDT, where only the pooled protocol asks for none."""
    names = [name for name in categories.names if name.lower() not in UAVDT_CLASSES]
    if format != "uavdt" or not names:
        return ()
    return (
        f"{', '.join(names)}: no class of UAVDT ({', '.join(UAVDT_CLASSES)}), written as category -1;"
        " --class-map names another",
    )


def _known(chosen: Mapping[str, str], found: ImageSet, format: str) -> list[tuple[int, str]]:
    """Number and name of each category there is."""
    if found.categories:
        return list(found.categories)
    if format == "isaid":
        return list(enumerate(ISAID_CLASSES, start=1))
    return list(enumerate(dict.fromkeys(target for target in chosen.values() if target), start=1))
