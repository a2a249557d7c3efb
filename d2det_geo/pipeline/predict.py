"""Predict: a scene of any size in, objects as polygons in the scene's CRS out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

import geopandas as gpd
import shapely

from d2det_geo.model.bundle import Card, load_model, read_card
from d2det_geo.model.tta import AugmentedDetector
from d2det_geo.pipeline.aoi import scene_area
from d2det_geo.pipeline.detect import Detector, Progress, detect_grid
from d2det_geo.pipeline.device import choose_device, device_of
from d2det_geo.pipeline.objects import object_frame, touches
from d2det_geo.pipeline.tally import Tally
from d2det_geo.raster.scene import Scene, open_scene
from d2det_geo.vector.writers import check_output, write_objects

__all__ = ["CardedDetector", "Summary", "detect_grid", "predict_scene", "predict_to_file"]

_CHIPS_PER_BATCH = {"cpu": 1, "cuda": 8}  # on a CPU two at once take as long as one after the other, and more memory


class CardedDetector(Detector, Protocol):
    """A loaded network that brings its card."""

    @property
    def card(self) -> Card:
        """What the bundle says about the network."""
        ...


@dataclass(frozen=True, slots=True)
class Summary:
    """What a prediction did; also the ``attrs`` of its frame."""

    scene: str
    model: str
    device: str
    objects: int
    windows: int
    """that cover the scene"""
    skipped: int
    """of them, outside the area of interest or without a valid pixel"""
    chips: int
    """of them, that went through the network"""
    capped_chips: int
    """chips where the network reached its cap of detections: some objects may be missing"""
    dropped: dict[str, int]
    """objects left out, by reason: ``invalid`` (centre without image), ``outside`` (the AOI), ``empty`` (outline)"""
    notices: tuple[str, ...]
    """what the user should know"""
    seconds: dict[str, float]
    """wall time of ``open``, ``read`` (waiting for pixels), ``network``, ``merge``, ``vector``, ``write``"""


def predict_to_file(  # noqa: PLR0913 (the options of the command)
    scene: str | Path,
    out: Path,
    model: str | Path | CardedDetector = "buildings",
    *,
    overwrite: bool = False,
    score: float | None = None,
    aoi: str | Path | None = None,
    gsd: float | Literal["bundle", "native"] = "bundle",
    chip_size: int | None = None,
    overlap: int | None = None,
    batch_size: int | None = None,
    device: str = "auto",
    bands: Sequence[int] | None = None,
    nodata: float | None = None,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    progress: Progress | None = None,
) -> Summary:
    """Predict a scene into a vector file, complete or not at all. Options are those of ``predict_scene``.

    Raises:
        UsageError, OutputExistsError, D2DetError: ``out`` cannot be written; said before any work is done.
    """
    check_output(out, overwrite=overwrite)
    frame = predict_scene(
        scene,
        model,
        score=score,
        aoi=aoi,
        gsd=gsd,
        chip_size=chip_size,
        overlap=overlap,
        batch_size=batch_size,
        device=device,
        bands=bands,
        nodata=nodata,
        scales=scales,
        flip=flip,
        progress=progress,
    )
    started = time.perf_counter()
    write_objects(frame, out, overwrite=overwrite)
    summary = Summary(**frame.attrs)
    return replace(summary, seconds=summary.seconds | {"write": time.perf_counter() - started})


def predict_scene(  # noqa: PLR0913 (the options of the command)
    path: str | Path,
    model: str | Path | CardedDetector = "buildings",
    *,
    score: float | None = None,
    aoi: str | Path | None = None,
    gsd: float | Literal["bundle", "native"] = "bundle",
    chip_size: int | None = None,
    overlap: int | None = None,
    batch_size: int | None = None,
    device: str = "auto",
    bands: Sequence[int] | None = None,
    nodata: float | None = None,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    progress: Progress | None = None,
) -> gpd.GeoDataFrame:
    """Find the objects of a scene. An option that is None is what the model's bundle says.

    Args:
        path: anything GDAL opens.
        model: name of a packaged model, path of a bundle, or a loaded network.
        score: least score of an object; with masks that is the mask score, on a scale of 0 to 1.
        aoi: vector file; only its area is looked at, objects with less than half their area inside are dropped.
        gsd: metres per pixel the network sees: the bundle's, the scene's own, or a number.
        chip_size: side of what the network sees at once, px at that GSD.
        overlap: of neighbouring chips, px at that GSD.
        batch_size: chips at once; None is 1 on a CPU and 8 on a GPU.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; a loaded network stays where it is.
        bands: which bands are red, green and blue, from 1; None lets the raster say.
        nodata: value of pixels without image, in addition to the raster's own.
        scales: test-time augmentation: the network sees each chip enlarged by each of these, and merges.
        flip: it sees each of them mirrored too.
        progress: called with the windows done and the windows in all.

    Returns:
        Columns class, score, area_m2 (geodesic) and geometry in the scene's CRS, by descending score. A scene
        without georeference gives pixel coordinates and area_px. ``attrs`` holds the fields of ``Summary``.

    Raises:
        InputError: the scene, the bundle or the AOI cannot be read, or the AOI misses the scene.
        UsageError: options that make no sense together, or no such model.
        DependencyError: a GPU was asked for and is not there.
    """
    tally = Tally()
    with ExitStack() as stack:
        with tally.timed("open"):
            place = choose_device(device)
            if not isinstance(model, str | Path):
                place = device_of(model)
            card = read_card(model) if isinstance(model, str | Path) else model.card
            scene = stack.enter_context(open_scene(path, gsd_m=_gsd_m(gsd, card), bands=bands, nodata=nodata))
            region, notices = _region(aoi, scene)
            network = load_model(model, str(place)) if isinstance(model, str | Path) else model
            if flip or tuple(scales) != (1.0,):
                network = AugmentedDetector(network, card, scales, flip=flip)
        found = detect_grid(
            scene.read,
            scene.grid_width,
            scene.grid_height,
            network,
            card,
            chip_size=card.chip_size if chip_size is None else chip_size,
            overlap=card.overlap if overlap is None else overlap,
            batch_size=_CHIPS_PER_BATCH[place.type] if batch_size is None else batch_size,
            wanted=None if region is None else touches(region, scene.scale),
            progress=progress,
            tally=tally,
        )
        with tally.timed("vector"):
            found = found.ranked()
            found = found.select(found.scores >= (card.score if score is None else score)).moved(scene.scale)
            frame = object_frame(found, scene, region, card.classes, tally)
    summary = Summary(
        scene=str(path),
        model=card.name,
        device=str(place),
        objects=len(frame),
        notices=(*scene.notices, *notices, *_notices(tally, region is not None)),
        **asdict(tally),
    )
    frame.attrs.update(asdict(summary))
    return frame


def _region(aoi: str | Path | None, scene: Scene) -> tuple[shapely.Geometry | None, tuple[str, ...]]:
    if aoi is None:
        return None, ()
    return scene_area(aoi, scene.path, scene.crs, scene.transform, (scene.width, scene.height))


def _notices(tally: Tally, limited: bool) -> tuple[str, ...]:
    notices = []
    if tally.chips == 0:
        where = "the area of interest" if limited else "the scene"
        notices.append(f"there is no image in {where}: the result is empty")
    if tally.capped_chips:
        notices.append(
            f"{tally.capped_chips} of {tally.chips} chips reached the number of detections the model gives at most,"
            " objects may be missing; use a smaller --chip-size"
        )
    return tuple(notices)


def _gsd_m(gsd: float | Literal["bundle", "native"], card: Card) -> float | None:
    if gsd == "bundle":
        return card.gsd_m
    if gsd == "native":
        return None
    return float(gsd)
