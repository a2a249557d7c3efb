"""Class names of the data become those of an evaluation: merged, dropped, or read as ignore regions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field


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
