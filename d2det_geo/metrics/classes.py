"""Class names of the data become those of an evaluation: merged, dropped, or read as ignore regions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from d2det_geo.annotations import REGION, Annotations

_DROPPED = REGION - 1


@dataclass(frozen=True, slots=True)
class ClassRules:
    """What to do with each class of the truth and of the predictions. Unlisted classes keep their name."""

    class_map: Mapping[str, str] = field(default_factory=dict)
    """Class in the data -> class of the evaluation; an empty name drops the objects."""
    ignore: Sequence[str] = ()
    """Classes of the data whose objects in the truth mark regions to ignore, for every class."""

    def target(self, name: str) -> str | None:
        """Return the class of the evaluation, ``""`` for objects to drop, None for an ignore region."""
        return None if name in self.ignore else self.class_map.get(name, name)

    def unused(self, names: Iterable[str]) -> list[str]:
        """Return a notice when a rule is for a class that is not among ``names``: it may be misspelt."""
        strangers = sorted({*self.class_map, *self.ignore} - set(names))
        return [f"class rules name {', '.join(strangers)}, which neither file has"] if strangers else []


def kinds_of(objects: Annotations, targets: Sequence[str | None], classes: Sequence[str]) -> tuple[str, ...] | None:
    """Return what the classes that ``targets`` make of those of ``objects`` are kinds of.

    A class made of several kinds is a kind of its own.
    """
    if objects.supercategories is None:
        return None
    members = [set[str]() for _ in classes]
    for target, kind in zip(targets, objects.supercategories, strict=True):
        if target:
            members[classes.index(target)].add(kind)
    return tuple(kinds.pop() if len(kinds) == 1 else name for kinds, name in zip(members, classes, strict=True))


def renamed(
    truth: Annotations, predictions: Annotations, rules: ClassRules
) -> tuple[Annotations, Annotations, list[str]]:
    """Apply class rules to both sides.

    Objects of dropped classes go. Truth of an ignore class becomes regions; predictions of one go, as nothing could
    say whether they are right.

    Returns:
        Truth and predictions with the classes of the evaluation, in the order they first come up; and what was left
        out of the predictions, and rules that fit no class, one sentence each.
    """
    targets = [rules.target(name) for name in truth.classes]
    classes = tuple(dict.fromkeys(target for target in targets if target))
    codes: dict[str | None, int] = {None: REGION, "": _DROPPED}
    codes.update({name: number for number, name in enumerate(classes)})
    table = np.array([*(codes[target] for target in targets), REGION], np.int64)  # the last is of REGION itself
    notices = rules.unused(truth.classes)
    told = np.bincount(predictions.labels, minlength=len(targets))
    gone = {name: int(told[i]) for i, name in enumerate(truth.classes) if targets[i] is None and told[i]}
    if gone:
        counts = ", ".join(f"{count} of {name}" for name, count in gone.items())
        notices.append(f"predictions of classes that mean ignore region are left out: {counts}")
    kinds = kinds_of(truth, targets, classes)
    truth, predictions = (replace(side, supercategories=None) for side in (truth, predictions))
    return (
        replace(_relabelled(truth, table[truth.labels], classes, _DROPPED + 1), supercategories=kinds),
        _relabelled(predictions, table[predictions.labels], classes, REGION + 1),
        notices,
    )


def _relabelled(objects: Annotations, labels: NDArray[np.int64], classes: tuple[str, ...], least: int) -> Annotations:
    kept = labels >= least
    ignored = objects.ignored | (labels == REGION)
    ids = objects.class_ids if classes == objects.classes else None
    changed = replace(objects, labels=labels, classes=classes, ignored=ignored, class_ids=ids)
    return changed if kept.all() else changed.rows(kept)
