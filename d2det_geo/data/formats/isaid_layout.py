"""Where the files of iSAID lie: the devkit's side by side layout, and the released one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from d2det_geo.data.formats.files import files_in, natural_key
from d2det_geo.errors import InputError

ID_SUFFIX = "_instance_id_RGB"
COLOUR_SUFFIX = "_instance_color_RGB"
_MAPS = {ID_SUFFIX: "Instance_masks", COLOUR_SUFFIX: "Semantic_masks"}
_WHAT = "iSAID images with their instance_id_RGB and instance_color_RGB maps"
SPLITS = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class Triple:
    """An image and its maps; both are None where there are no labels."""

    image: Path
    ids: Path | None
    colours: Path | None


def splits_of(folder: Path) -> dict[str, Path]:
    """Name the splits below a folder in the order their annotations are numbered; itself if it has none."""
    found = {name: folder / name for name in SPLITS if (folder / name).is_dir()}
    return found or {folder.resolve().name: folder}


def triples(split: Path, *, labelled: bool = True) -> list[Triple]:
    """Find the images of a split and their maps, in natural order.

    The folder holds the three kinds of PNG itself or in ``images``, or has the released layout.

    Args:
        split: ``train``, ``val``, ``test``, or any folder like them.
        labelled: every image must have its maps; otherwise all may lack them.

    Raises:
        InputError: no images, or an image without one of its maps, or a map without image.
    """
    folder = split / "images" if (split / "images").is_dir() else split
    stems = {path.stem: path for path in files_in(folder, frozenset({".png"}), _WHAT)}
    images = {stem: path for stem, path in stems.items() if not stem.endswith((ID_SUFFIX, COLOUR_SUFFIX))}
    places = {suffix: _map_folder(split, folder, name) for suffix, name in _MAPS.items()}
    maps = {suffix: _maps(place, suffix) for suffix, place in places.items()}
    orphans = sorted({stem for known in maps.values() for stem in known} - set(images), key=natural_key)
    if orphans:
        raise InputError(f"{folder}: holds no {orphans[0]}.png, but there are maps of it; give the images, too")
    if not labelled and not any(maps.values()):
        _check_unlabelled(split, folder)
        return [Triple(images[stem], None, None) for stem in sorted(images, key=natural_key)]
    for stem in sorted(images, key=natural_key):
        for suffix, known in maps.items():
            if stem not in known:
                raise InputError(
                    f"{images[stem]}: has no map {stem}{suffix}.png in {places[suffix]};"
                    " give all maps, or remove the image"
                )
    return [Triple(images[stem], *(known[stem] for known in maps.values())) for stem in sorted(images, key=natural_key)]


def _check_unlabelled(split: Path, images: Path) -> None:
    """Refuse images without maps where there are labels all the same: the split is of DOTA, or lacks its maps."""
    labels = split / "labelTxt"
    if labels.is_dir():
        raise InputError(f"{labels}: holds labels of DOTA, and {images} no maps of iSAID; use --devkit dota")
    listed = sorted((split / "Annotations").glob("*.json"))
    if listed:
        places = " and ".join(str(split / name / "images") for name in _MAPS.values())
        raise InputError(f"{listed[0]}: the images have labels, but there are no maps; give {places}")


def _map_folder(split: Path, images: Path, name: str) -> Path:
    for place in (split / name / "images", split / name):
        if place.is_dir():
            return place
    return images


def _maps(folder: Path, suffix: str) -> dict[str, Path]:
    return {path.stem.removesuffix(suffix): path for path in folder.glob(f"*{suffix}.png")}
