"""What a prediction would do and cost: the same windows as ``predict``, without the network and without torch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from d2det_geo.errors import D2DetError, UsageError
from d2det_geo.model.bundle import Card, find_bundle, read_card
from d2det_geo.pipeline.coverage import covered_share, touched
from d2det_geo.pipeline.expectation import Chips, expected_memory, expected_seconds
from d2det_geo.pipeline.ledger import ledger_path
from d2det_geo.pipeline.plan_report import Certainty, Plan, Plans
from d2det_geo.raster.layout import Layout, layout_of
from d2det_geo.raster.scene import Scene, open_scene
from d2det_geo.raster.windows import scene_windows

_LOOK_SIDE = 1000  # px of the decimated read that finds parts without image ...
_LOOK_WHOLE = 16e6  # ... where overviews make it cheap, or the scene has no more pixels than this
_LONG_STRIP = 2048  # px: shorter ones are no worse than tiles
_SMALL_OVERLAP = 0.5  # of the model's
_MB = 10**6


def plan_scenes(paths: Sequence[str | Path], model: str | Path = "buildings", **options: Any) -> Plans:
    """Look at several scenes with the same options, those of ``plan_scene``; one that fails does not stop the others.

    Raises:
        UsageError, InputError: the model or the options are wrong for every scene.
    """
    read_card(model)
    plans: list[Plan] = []
    failed: list[tuple[str, D2DetError]] = []
    for path in paths:
        try:
            plans.append(plan_scene(path, model, **options))
        except D2DetError as error:
            failed.append((str(path), error))
    return Plans(tuple(plans), tuple(failed))


def plan_scene(  # noqa: PLR0913 (the options of the command)
    path: str | Path,
    model: str | Path = "buildings",
    *,
    out: Path | None = None,
    aoi: str | Path | None = None,
    gsd: float | Literal["bundle", "native"] = "bundle",
    chip_size: int | None = None,
    overlap: int | None = None,
    batch_size: int | None = None,
    device: str = "auto",
    bands: Sequence[int] | None = None,
    nodata: float | None = None,
    max_memory: int | None = None,
) -> Plan:
    """Look at a scene as ``predict_scene`` with the same options would cut it.

    Raises:
        InputError: the scene, the bundle or the AOI cannot be read, or the AOI misses the scene.
        UsageError: options that make no sense together, or no such model.
    """
    card = read_card(model)
    chip_size = card.chip_size if chip_size is None else chip_size
    overlap = card.overlap if overlap is None else overlap
    _check(chip_size, overlap, device)
    on_cpu = _on_cpu(device)
    layout = layout_of(path)
    with open_scene(path, gsd_m=_gsd_m(gsd, card), bands=bands, nodata=nodata) as scene:
        windows = _windows(scene, chip_size, overlap)
        wanted, region_notices = _wanted(windows, aoi, scene)
        seen, empty_is = _seen(windows, scene, layout, bands, nodata)
        chips = int((wanted & seen).sum())
        cut = Chips(chip_size, overlap, batch_size or 1)
        memory, memory_notices = _memory(card, find_bundle(model), scene, cut, max_memory) if on_cpu else (None, ())
        return Plan(
            scene=str(path),
            bytes=Path(path).stat().st_size if Path(path).is_file() else None,
            width=scene.width,
            height=scene.height,
            crs=scene.crs.to_string() if scene.crs else None,
            gsd_m=scene.gsd_m,
            grid_gsd_m=scene.gsd_m and scene.gsd_m * float(np.sqrt(np.prod(scene.scale))),
            grid_width=scene.grid_width,
            grid_height=scene.grid_height,
            block_width=layout.block_width,
            block_height=layout.block_height,
            striped=layout.striped,
            compression=layout.compression,
            chip_size=chip_size,
            overlap=overlap,
            windows=len(windows),
            outside=int((~wanted).sum()),
            empty=int((wanted & ~seen).sum()),
            empty_is=empty_is,
            chips=chips,
            coverage=covered_share(windows[wanted], scene.grid_width, scene.grid_height),
            memory_mb=memory and round(memory / _MB),
            seconds=expected_seconds(card, chips, float(windows[0, 2:].prod())) if on_cpu else None,
            notices=(
                *scene.notices,
                *region_notices,
                *_reading_notices(scene, layout),
                *_tiling_notices(card, overlap),
                *_output_notices(out),
                *memory_notices,
            ),
        )


def _check(chip_size: int, overlap: int, device: str) -> None:
    if chip_size < 1:
        raise UsageError(f"--chip-size {chip_size}: must be a positive number of px")
    if not 0 <= overlap < chip_size:
        raise UsageError(f"--overlap {overlap}: must be at least 0 and less than the chip size, {chip_size} px")
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise UsageError(f"--device {device}: no such device; use auto, cpu, cuda or cuda:N")


def _on_cpu(device: str) -> bool:
    """Guess what ``predict`` would run on: only torch knows, and takes seconds to say so."""
    return device == "cpu" or (device == "auto" and not Path("/dev/nvidiactl").exists())


def _gsd_m(gsd: float | Literal["bundle", "native"], card: Card) -> float | None:
    if isinstance(gsd, str):
        return card.gsd_m if gsd == "bundle" else None
    return gsd


def _windows(scene: Scene, chip_size: int, overlap: int) -> NDArray[np.float64]:
    windows = scene_windows(scene.grid_width, scene.grid_height, chip_size, overlap)
    return np.array([window.flatten() for window in windows], np.float64)


def _wanted(
    windows: NDArray[np.float64], aoi: str | Path | None, scene: Scene
) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """Tell which windows share area with the AOI."""
    if aoi is None:
        return np.ones(len(windows), np.bool_), ()
    from d2det_geo.pipeline.aoi import scene_area  # noqa: PLC0415 - geopandas takes half a second to import
    from d2det_geo.pipeline.objects import touches  # noqa: PLC0415

    region, notices = scene_area(aoi, scene.path, scene.crs, scene.transform, (scene.width, scene.height))
    asked = touches(region, scene.scale)
    return np.array([asked(Window(*window)) for window in windows]), notices


def _seen(
    windows: NDArray[np.float64], scene: Scene, layout: Layout, bands: Sequence[int] | None, nodata: float | None
) -> tuple[NDArray[np.bool_], Certainty]:
    """Tell which windows hold image, as far as that costs little, and how sure that is."""
    seen = np.ones(len(windows), np.bool_)
    if layout.written is not None:
        x, y = scene.scale
        seen = touched(windows, layout.written, (layout.block_width / x, layout.block_height / y))
    if not layout.holes and nodata is None:
        return seen, "exactly"
    cheap = layout.overviews or scene.width * scene.height <= _LOOK_WHOLE
    if scene.gsd_m is None or not cheap:
        return seen, "at least"
    coarser = max(scene.width, scene.height) / _LOOK_SIDE
    with open_scene(scene.path, gsd_m=scene.gsd_m * max(coarser, 1), bands=bands, nodata=nodata) as look:
        _, valid = look.read(Window(0, 0, look.grid_width, look.grid_height))
    cell = scene.grid_width / look.grid_width, scene.grid_height / look.grid_height
    return seen & touched(windows, valid, cell), "about"


def _reading_notices(scene: Scene, layout: Layout) -> Iterator[str]:
    if layout.striped and layout.block_width > _LONG_STRIP:
        yield (
            f"striped: {layout.block_height} rows of {layout.block_width} px are decoded at once;"
            " gdal_translate -co TILED=YES makes tiles, which read faster"
        )
    if max(scene.scale) > 2 and not layout.overviews:
        yield (
            f"read at 1/{max(scene.scale):.2g} of its size without overviews, so every pixel is decoded;"
            " gdaladdo makes them"
        )


def _tiling_notices(card: Card, overlap: int) -> Iterator[str]:
    if overlap < _SMALL_OVERLAP * card.overlap:
        yield (
            f"neighbouring chips share {overlap} px and the model wants {card.overlap}:"
            " larger objects are put together from parts"
        )


def _output_notices(out: Path | None) -> Iterator[str]:
    if out is not None and out.exists():
        yield f"{out} exists: predict would need --overwrite"
    if out is not None and ledger_path(out).exists():
        yield f"{ledger_path(out)} is the work of an interrupted run: --resume goes on with it"


def _memory(card: Card, bundle: Path, scene: Scene, chips: Chips, limit: int | None) -> tuple[int, tuple[str, ...]]:
    """Expect what ``predict`` would take within a limit; where it would refuse, what it takes without one, and why."""
    try:
        return expected_memory(card, bundle, scene, chips, limit), ()
    except UsageError as error:
        return expected_memory(card, bundle, scene, chips, None), (f"predict would refuse: {error}",)
