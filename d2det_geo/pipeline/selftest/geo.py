"""Does an object come out where it went in? The whole way of a prediction, on the user's own grid."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import geopandas as gpd
import numpy as np
import pyproj
import shapely

from d2det_geo.model.bundle import Card, read_card
from d2det_geo.pipeline.predict import predict_to_file
from d2det_geo.pipeline.selftest.copies import Ground, ground_of, write_copy
from d2det_geo.pipeline.selftest.errors import Comparison, compare
from d2det_geo.pipeline.selftest.oracle import Oracle
from d2det_geo.pipeline.selftest.readback import read_outlines
from d2det_geo.pipeline.selftest.targets import Grid, Targets, place_targets
from d2det_geo.places import points_mapped
from d2det_geo.raster.scene import open_scene

SCHEMA_VERSION = 1
MOST_BIAS_PX = 0.05
"""At native GSD; a half-pixel shift is ten times this."""
_ROUNDING_M = 0.0056  # half of the seventh digit of a degree, which GeoJSON ends with
_FINEST_SCALE = 0.25  # scene px per grid px; below, a prediction would blow the scene up more than anyone wants
_SUFFIXES = (".gpkg", ".geojson")
_MARGIN_PX = 40  # around a target, grid px: only there the chips are looked at

Gsd = Literal["native", "bundle"]


@dataclass(frozen=True, slots=True)
class Run:
    """One prediction into one file."""

    gsd: Gsd
    gsd_m: float | None
    """metres per grid px"""
    format: str
    comparison: Comparison
    failures: tuple[str, ...]
    """what must not be, in words"""


@dataclass(frozen=True, slots=True)
class GeoCheck:
    """What ``d2det selftest geo`` found."""

    scene: str
    width: int
    height: int
    crs: str | None
    runs: tuple[Run, ...]
    notices: tuple[str, ...]

    @property
    def failures(self) -> tuple[str, ...]:
        """Say what is wrong, one sentence each."""
        return tuple(f"{run.gsd} GSD, {run.format}: {text}" for run in self.runs for text in run.failures)


def check_geo(
    scene: str | Path,
    model: str | Path = "buildings",
    *,
    chip_size: int | None = None,
    overlap: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> GeoCheck:
    """Put targets of known place on a copy of a scene's grid, predict them, and measure where they come out.

    The copy has the size, place and blocks of the scene, and no other content. Reading, seams, outlines,
    AOI and writers are those of ``predict``; only the network is replaced by one that sees the targets
    exactly. The files are read back without GDAL, and compared with what the tags say without our code.

    Args:
        scene: anything ``predict`` opens; it is not changed, and its pixels are not read.
        model: whose GSD, chip size and overlap are used.
        chip_size: in place of the model's, px.
        overlap: in place of the model's, px.
        progress: called with the predictions done and the predictions in all.

    Raises:
        InputError: the scene or the bundle cannot be read.
        UsageError: no such model, or sizes that make no sense.
    """
    ground = ground_of(scene)
    sizes = {"chip_size": chip_size, "overlap": overlap}
    card = read_card(model).model_copy(update={key: value for key, value in sizes.items() if value is not None})
    plans, notices = _plans(ground, card)
    runs: list[Run] = []
    with tempfile.TemporaryDirectory(prefix="d2det-selftest-") as name:
        for gsd, gsd_m in plans:
            with _copy(Path(name), ground, card, gsd_m) as (path, targets, aoi):
                for suffix in _SUFFIXES:
                    out = path.with_name(f"{gsd}{suffix}")
                    predict_to_file(path, out, Oracle(card), gsd="native" if gsd_m is None else gsd_m, aoi=aoi)
                    runs.append(_judged(ground, gsd, gsd_m, targets, out))
                    if progress is not None:
                        progress(len(runs), len(plans) * len(_SUFFIXES))
    crs = None if ground.crs is None else ground.crs.to_string()
    return GeoCheck(str(scene), ground.width, ground.height, crs, tuple(runs), (*ground.notices, *notices))


def _plans(ground: Ground, card: Card) -> tuple[list[tuple[Gsd, float | None]], tuple[str, ...]]:
    """Choose at which GSDs to predict: native, and the bundle's where it is another."""
    plans: list[tuple[Gsd, float | None]] = [("native", None)]
    if ground.axes_m is None or card.gsd_m is None:
        return plans, ()
    scale = card.gsd_m / max(ground.axes_m)
    if scale < _FINEST_SCALE:
        return plans, (
            f"not checked at the model's {card.gsd_m:g} m per px: the scene is {1 / scale:.0f} times coarser",
        )
    if all(abs(axis / card.gsd_m - 1) <= 0.01 for axis in ground.axes_m):
        return plans, ()
    limit = f"resampled to {card.gsd_m:g} m per px, {scale:.2g} scene px: edges are only known to a fraction of that"
    return [*plans, ("bundle", card.gsd_m)], (limit,)


@contextmanager
def _copy(folder: Path, ground: Ground, card: Card, gsd_m: float | None) -> Iterator[tuple[Path, Targets, Path]]:
    """Make a copy of the grid with targets that suit one GSD, and an AOI around them."""
    path, aoi = folder / "scene.tif", folder / "aoi.gpkg"
    write_copy(path, ground, np.empty((0, 4), np.int64))
    with open_scene(path, gsd_m=gsd_m) as empty:
        crs, transform, scale = empty.crs, empty.transform, empty.scale
        sizes = (ground.width, ground.height), (empty.width, empty.height)
    bend = (lambda points: ground.to_px(points_mapped(points, transform))) if ground.resampled else None
    targets = place_targets(Grid(*sizes, scale, bend, card.chip_size, card.overlap))
    write_copy(path, ground, targets.boxes)
    margin = np.array(scale) * _MARGIN_PX
    areas = shapely.box(*np.hstack([targets.boxes[:, :2] - margin, targets.boxes[:, 2:] + margin]).T)
    if crs is None:
        aoi = aoi.with_suffix(".geojson")
        aoi.write_text(shapely.to_geojson(shapely.union_all(areas)), encoding="utf-8")
    else:
        gpd.GeoDataFrame(geometry=shapely.transform(areas, ground.to_world), crs=crs).to_file(aoi)
    yield path, targets, aoi


def _judged(ground: Ground, gsd: Gsd, gsd_m: float | None, targets: Targets, out: Path) -> Run:
    outlines, crs = read_outlines(out)
    if ground.crs is not None and crs is not None:
        to_scene = pyproj.Transformer.from_crs(crs, ground.crs, always_xy=True)
        outlines = shapely.transform(outlines, to_scene.transform, interleaved=False)
    in_px = shapely.transform(outlines, ground.to_px)
    comparison = compare(targets, in_px, upright=not ground.resampled, axes_m=ground.axes_m)
    limit = MOST_BIAS_PX
    if out.suffix == ".geojson" and ground.axes_m is not None:
        limit += _ROUNDING_M / min(ground.axes_m)
    return Run(gsd, gsd_m, out.suffix, comparison, _failures(comparison, limit if gsd == "native" else None))


def _failures(comparison: Comparison, limit_px: float | None) -> tuple[str, ...]:
    errors = comparison.all
    counted = (
        (errors.lost, f"{errors.lost} of {errors.targets} targets lost"),
        (errors.doubled, f"{errors.doubled} targets found more than once"),
        (comparison.strays, f"{comparison.strays} objects where no target is"),
    )
    failures = [text for count, text in counted if count]
    if limit_px is not None and errors.bias_px > limit_px:
        failures.append(
            f"objects are shifted by ({errors.bias_x_px:+.3f}, {errors.bias_y_px:+.3f}) px, more than {limit_px:.2g}"
        )
    return tuple(failures)
