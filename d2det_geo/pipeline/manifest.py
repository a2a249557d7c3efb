"""The record of a run beside its output: what went in, what was decided, what came out.

It holds no times and no dates: the same run writes the same bytes.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from d2det_geo.vector.output import atomic_path

SCHEMA = "d2det-manifest/1"


def manifest_path(out: Path) -> Path:
    """Say where the record of an output is."""
    return out.with_name(f"{out.name}.manifest.json")


def write_manifest(out: Path, content: dict[str, Any]) -> None:
    """Write the record of an output, replacing an earlier one. Numbers JSON has not become ``"nan"`` and ``"inf"``.

    Raises:
        D2DetError: it cannot be written.
    """
    text = json.dumps(_finite({"schema": SCHEMA, **content}), indent=2, ensure_ascii=False, allow_nan=False)
    with atomic_path(manifest_path(out)) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_manifest(out: Path) -> dict[str, Any] | None:
    """Read the record of an output; None where there is no output, or no record of it."""
    try:
        content = json.loads(manifest_path(out).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if out.exists() and isinstance(content, dict) and content.get("schema") == SCHEMA else None


def _finite(content: Any) -> Any:
    match content:
        case dict():
            return {key: _finite(value) for key, value in content.items()}
        case list() | tuple():
            return [_finite(value) for value in content]
        case float() if not math.isfinite(content):
            return str(float(content))
    return content
