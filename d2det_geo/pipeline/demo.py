"""Demo: make a town whose roofs are known, predict it with a shipped model, score it, draw it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import geopandas as gpd
import numpy as np
import rasterio
import shapely
from affine import Affine
from rasterio.crs import CRS

from d2det_geo.errors import D2DetError
from d2det_geo.model.bundle import read_card
from d2det_geo.pipeline.detect import Progress
from d2det_geo.pipeline.device import choose_device
from d2det_geo.pipeline.evaluate import evaluate_files
from d2det_geo.pipeline.loaded import CardedDetector
from d2det_geo.pipeline.predict import predict_to_file
from d2det_geo.pipeline.preview import draw_preview
from d2det_geo.town import Town, make_town
from d2det_geo.vector.output import atomic_path
from d2det_geo.vector.polygons import to_world
from d2det_geo.vector.readers import read_objects
from d2det_geo.vector.writers import write_objects

DEMO_SEED = 7
"""A town no shipped model has seen: training draws its towns from seeds 1000 and up."""
CLASS = "building"
_CRS = CRS.from_epsg(32645)  # UTM 45 N
_CORNER = (353_900.0, 3_057_400.0)  # m; near Banepa, Nepal


@dataclass(frozen=True, slots=True)
class DemoReport:
    """What the demo did."""

    seed: int
    truths: int
    """Buildings in the made-up scene."""
    objects: int
    """Buildings found."""
    metrics: dict[str, float]
    """``ap``, ``ap50``, ``ap75``, ``precision``, ``recall``, ``f1``, ``score_threshold``: objects against truth."""
    seconds: dict[str, float]
    """Wall time of ``town``, ``predict``, ``evaluate``, ``preview``."""
    files: dict[str, Path]
    """``scene``, ``truth``, ``objects``, ``preview``."""
    model: str
    device: str
    notices: tuple[str, ...]
    """What the user should know, one sentence each."""


def run_demo(
    out_dir: Path,
    *,
    seed: int = DEMO_SEED,
    size: int = 3000,
    model: str | Path | CardedDetector = "buildings",
    device: str = "auto",
    progress: Progress | None = None,
) -> DemoReport:
    """Write a scene, its truth, what a model finds in it, and a preview; score the model.

    Files of an earlier demo in the folder are replaced, others left alone.

    Args:
        out_dir: folder, made if missing.
        seed: of the town.
        size: side of the scene, px of 0.15 m.
        model: name of a packaged model, path of a bundle, or a loaded network.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        progress: called with the windows done and the windows in all.

    Raises:
        ValueError: ``seed`` or ``size`` out of range (see ``make_town``).
        UsageError: no such model. InputError: a damaged bundle. DependencyError: no such device.
        D2DetError: the folder cannot be written to.
    """
    if isinstance(model, str | Path):
        read_card(model)  # a wrong name should not cost a town
    choose_device(device)
    files = _files(out_dir)
    seconds: dict[str, float] = {}
    with _timed(seconds, "town"):
        town = make_town(seed, size)
        write_town(town, files["scene"], files["truth"])
    with _timed(seconds, "predict"):
        summary = predict_to_file(
            files["scene"], files["objects"], model, overwrite=True, device=device, progress=progress
        )
    with _timed(seconds, "evaluate"):
        scores = evaluate_files(files["truth"], files["objects"], protocol="geo")
    with _timed(seconds, "preview"):
        draw_preview(files["scene"], read_objects(files["objects"]), files["preview"])
    return DemoReport(
        seed=seed,
        truths=len(town.polygons),
        objects=summary.objects,
        metrics=dict(scores.metrics),
        seconds=seconds,
        files=files,
        model=summary.model,
        device=summary.device,
        notices=(*summary.notices, *scores.notices),
    )


def write_town(town: Town, scene: Path, truth: Path) -> None:
    """Write a town as a GeoTIFF in UTM zone 45 N and its roofs as a vector file; both replace what is there.

    Raises:
        D2DetError, UsageError: a file cannot be written.
    """
    transform = Affine.translation(*_CORNER) @ Affine.scale(town.gsd_m, -town.gsd_m)
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 3, "crs": _CRS, "transform": transform}
    layout = {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate", "photometric": "rgb"}
    _, height, width = town.image.shape
    with (
        atomic_path(scene) as temporary,
        rasterio.open(temporary, "w", width=width, height=height, **profile, **layout) as dataset,
    ):
        dataset.write(town.image)
    write_objects(_truth(town, transform), truth, overwrite=True)


def _truth(town: Town, transform: Affine) -> gpd.GeoDataFrame:
    outlines = np.array([shapely.Polygon(outline) for outline in town.polygons], dtype=object)
    return gpd.GeoDataFrame({"class": [CLASS] * len(outlines)}, geometry=to_world(outlines, transform), crs=_CRS)


def _files(out_dir: Path) -> dict[str, Path]:
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise D2DetError(f"{out_dir}: cannot be made a folder ({error.strerror}); choose another") from error
    names = {"scene": "scene.tif", "truth": "truth.geojson", "objects": "buildings.geojson", "preview": "preview.png"}
    return {key: out_dir / name for key, name in names.items()}


@contextmanager
def _timed(seconds: dict[str, float], what: str) -> Iterator[None]:
    started = perf_counter()
    yield
    seconds[what] = perf_counter() - started
