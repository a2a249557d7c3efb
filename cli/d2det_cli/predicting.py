"""The arguments of `d2det predict`, sorted: to a set or to scenes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from d2det_cli import texts
from d2det_geo.errors import UsageError

_AS_THEY_ARE = (
    "score",
    "min_area",
    "aoi",
    "nodata",
    "chip_size",
    "overlap",
    "batch_size",
    "device",
    "simplify",
    "regularize",
)


def run(given: Mapping[str, Any]) -> None:
    """Predict what is asked for.

    Args:
        given: the arguments of the command by name.

    Raises:
        UsageError: options that do not belong together, or cannot be understood.
    """
    from d2det_cli.predictions import Talk, predict_into
    from d2det_cli.sets import is_set, predict_images

    what = _what(given)
    where = {name: given[name] for name in ("format", "crs", "overwrite", "resume")}
    talk = Talk(*(given[name] for name in ("show", "verbose", "quiet", "as_json")))
    about = {"images": given["images"], "class_map": texts.parse_class_map(given["class_map"])}
    scenes, out, out_dir, model = (given[name] for name in ("scenes", "out", "out_dir", "model"))
    if is_set(scenes, given["format"], out, given["as_set"]):
        predict_images(scenes, out, out_dir, model, talk, where, about | {"on_error": str(given["on_error"])}, what)
    elif any(about.values()):
        raise UsageError("--images and --class-map belong to an image set; give a COCO JSON file, or --as-set")
    else:
        predict_into(scenes, out, out_dir, model, given["on_error"], talk, where, what)


def _what(given: Mapping[str, Any]) -> dict[str, Any]:
    """Give the fields of ``PredictOptions``."""
    return {
        **{name: given[name] for name in _AS_THEY_ARE},
        "classes": texts.parse_names(given["classes"]),
        "gsd": texts.parse_gsd(given["gsd"]),
        "bands": texts.parse_bands(given["bands"]),
        "oblique": given["allow_oblique"],
        "max_memory": texts.parse_size(given["max_memory"]),
        "bbox": texts.parse_bbox(given["bbox"]),
        **texts.parse_tta(given["tta"]),
    }
