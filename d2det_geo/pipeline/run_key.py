"""What makes two runs the same: scene, model, settings and version, and the words for what differs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class RunKey:
    """All that the result of a run depends on: two runs of one key write the same bytes."""

    scene: dict[str, str | int]
    """``raster.fingerprint.fingerprint`` of the scene"""
    model: dict[str, str | int]
    """name and content of the bundle"""
    settings: dict[str, Any]
    """options by the name the user knows (``--score``), as JSON-able values"""
    version: str
    """of d2det"""
    stamps: dict[str, str] = field(default_factory=dict)
    """``raster.fingerprint.stamps``: no part of the run id, but a run does not go on under others"""

    @property
    def run_id(self) -> str:
        """16 hex digits that differ whenever anything but the stamps does."""
        content = {name: value for name, value in asdict(self).items() if name != "stamps"}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def changes(old: RunKey, new: RunKey) -> Iterator[str]:
    """Say what differs between two runs, from what to what."""
    if old.version != new.version:
        yield f"d2det was {old.version} and is {new.version}"
    for subject in ("scene", "model"):
        yield from _changed_content(subject, getattr(old, subject), getattr(new, subject))
    for name, before, after in _differences(old.settings, new.settings):
        yield f"{name} was {before} and is {after}"
    for name, before, after in _differences(old.stamps, new.stamps):
        if before != "absent" != after and old.scene == new.scene:
            yield f"the scene may have changed ({name} was {before} and is {after})"


def _changed_content(subject: str, old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    differences = list(_differences(old, new))
    told = [f"{name} was {before} and is {after}" for name, before, after in differences if name != "sha256"]
    if differences:
        yield f"the {subject} changed ({', '.join(told) or 'other content of the same size'})"


def _differences(old: dict[str, Any], new: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    for name in [*old, *(name for name in new if name not in old)]:
        before, after = (json.dumps(part[name]) if name in part else "absent" for part in (old, new))
        if before != after:
            yield name, _short(before), _short(after)


def _short(text: str) -> str:
    text = text.strip('"')
    return text if len(text) <= 60 else f"{text[:57]}..."
