"""Which scenes a user means: files, addresses, folders, patterns and lists."""

from __future__ import annotations

import glob
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path

from d2det_geo.errors import InputError, UsageError
from d2det_geo.raster.source import is_address

SCENE_SUFFIXES = (".tif", ".tiff", ".vrt", ".jpg", ".jpeg", ".png", ".jp2", ".img", ".ecw", ".sid", ".nitf", ".ntf")
"""What is taken for a scene in a folder, lower case; a file that is named is opened whatever it is called."""
_PATTERN = re.compile(r"[*?\[]")


def expand_scenes(names: Sequence[str]) -> list[str]:
    """Give the scenes that are meant, each once, in the order named; those of a folder or pattern by name.

    Args:
        names: files and addresses, as they are; folders, for the rasters in them; patterns such as ``flight/*.JPG``
            (``**`` descends), for the shell that does not expand them; ``@list.txt``, with one of all these per
            line, blank lines and those that begin with ``#`` left out.

    Raises:
        InputError: a list cannot be read, or a list, folder or pattern gives no scene.
        UsageError: lists that name each other.
    """
    scenes = [scene for name in names for scene in _expanded(name, ())]
    return list(dict.fromkeys(scenes))


def output_names(scenes: Sequence[str], known: Mapping[str, str] | None = None) -> dict[str, str]:
    """Name the output of each scene like the scene, behind folders of its path where that says nothing new.

    Args:
        scenes: as ``expand_scenes`` gives them.
        known: names that scenes have already, these or others: each keeps its own, and no other gets it.

    Returns:
        Names without suffix, no two alike on any file system, by scene.
    """
    known = known or {}
    fresh = [scene for scene in dict.fromkeys(scenes) if scene not in known]
    taken = {name.lower() for name in known.values()}
    parts = [_parts(scene) for scene in fresh]
    names = [part[-1] for part in parts]
    depth = 1
    while depth < max(map(len, parts), default=0):
        repeated = {name for name, count in Counter(names).items() if count > 1 or name.lower() in taken}
        if not repeated:
            break
        depth += 1
        names = ["_".join(part[-depth:]) if name in repeated else name for part, name in zip(parts, names, strict=True)]
    named = dict(zip(fresh, _numbered(names, taken), strict=True))
    return {scene: known[scene] if scene in known else named[scene] for scene in scenes}


def _expanded(name: str, lists: tuple[Path, ...]) -> Iterator[str]:
    if name.startswith("@"):
        yield from _listed(Path(name[1:]), lists)
    elif is_address(name):
        yield name
    elif Path(name).is_file():
        yield str(Path(name))  # ./a.tif is a.tif
    elif Path(name).is_dir():
        found = sorted(str(path) for path in Path(name).iterdir() if path.suffix.lower() in SCENE_SUFFIXES)
        if not found:
            raise InputError(f"{name}: the folder holds no raster ({', '.join(SCENE_SUFFIXES)}); name the files")
        yield from found
    elif _PATTERN.search(name):
        found = sorted(str(Path(path)) for path in glob.glob(name, recursive=True) if Path(path).is_file())  # noqa: PTH207 - a whole path
        if not found:
            raise InputError(f"{name}: no file matches; check the pattern")
        yield from found
    else:
        yield name  # missing: said when it is opened


def _listed(path: Path, lists: tuple[Path, ...]) -> Iterator[str]:
    if path in lists:
        raise UsageError(f"@{path}: the list names itself")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise InputError(f"@{path}: the list cannot be read ({reason}); give a text file of scenes") from error
    names = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
    if not names:
        raise InputError(f"@{path}: the list names no scene")
    for name in names:
        yield from _expanded(name, (*lists, path))


def _parts(scene: str) -> list[str]:
    """Take a path or an address apart into words that are good in a file name; the last is its name without suffix."""
    path = re.split(r"[?#]", scene)[0] if "://" in scene else scene
    words = [re.sub(r"[^\w.+-]+", "_", part) for part in re.split(r"[/\\:]+", path)]
    words = [word for word in words if word not in {"", ".", ".."}] or ["scene"]
    return [*words[:-1], Path(words[-1]).stem]


def _numbered(names: list[str], taken: Set[str]) -> list[str]:
    """Tell apart what even whole paths do not, such as ``a.tif`` and ``a.png``, on any file system."""
    taken = set(taken)
    result = []
    for name in names:
        number, fresh = 1, name
        while fresh.lower() in taken:
            number += 1
            fresh = f"{name}_{number}"
        taken.add(fresh.lower())
        result.append(fresh)
    return result
