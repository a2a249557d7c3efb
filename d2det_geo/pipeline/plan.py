"""What a prediction would do and cost: the same windows as ``predict``, without the network and without torch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from d2det_geo.errors import D2DetError, UsageError
from d2det_geo.model.bundle import Card, find_bundle, read_card
from d2det_geo.pipeline.coverage import covered_share, touched
from d2det_geo.pipeline.expectation import Chips, expected_memory, expected_seconds
from d2det_geo.pipeline.ledger import ledger_path
from d2det_geo.pipeline.options import PredictOptions, gsd_of
from d2det_geo.pipeline.plan_report import Certainty, Plan, Plans
from d2det_geo.raster.layout import Layout, layout_of
from d2det_geo.raster.scene import Scene, open_scene
from d2det_geo.raster.windows import scene_windows

_LOOK_SIDE = 1000  # px of the decimated read that finds parts without image ...
_LOOK_WHOLE = 16e6  # ... where overviews make it cheap, or the scene has no more pixels than this
_KEPT_WHOLE = 512 * 2**20  # bytes: of a raster that GDAL's cache holds whole, strips are no worse than tiles
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


def plan_scene(path: str | Path, model: str | Path = "buildings", *, out: Path | None = None, **options: Any) -> Plan:
    """Look at a scene as ``predict_scene`` with the same options would cut it.

    Args:
        path: anything GDAL opens.
        model: name of a packaged model, or path of a bundle.
        out: where ``predict_to_file`` would write.
        options: fields of ``PredictOptions``; those that say nothing about cost are taken too.

    Raises:
        InputError: the scene, the bundle or the AOI cannot be read, or the AOI misses the scene.
        UsageError: options that make no sense together, or no such model or option.
    """
    wishes, card = PredictOptions.of(options), read_card(model)
    chips = _chips(wishes, card)
    _check(chips, wishes.device)
    layout = layout_of(path)
    with _opened(path, gsd_of(wishes.gsd, card.gsd_m), wishes) as scene:
        windows = _windows(scene, chips)
        wanted, region_notices = _wanted(windows, wishes, scene)
        seen, empty_is = _seen(windows, scene, layout, wishes)
        work = _work(windows, wanted, seen, scene)
        costs, cost_notices = _costs(card, find_bundle(model), scene, chips, wishes, work["chips"])
        return Plan(
            **_stored(path, scene, layout),
            chip_size=chips.size,
            overlap=chips.overlap,
            **work,
            empty_is=empty_is,
            **costs,
            notices=(
                *scene.notices,
                *region_notices,
                *_reading_notices(scene, layout),
                *_tiling_notices(card, chips.overlap),
                *_output_notices(out),
                *cost_notices,
            ),
        )


def _opened(path: str | Path, gsd_m: float | None, wishes: PredictOptions) -> Scene:
    return open_scene(path, gsd_m=gsd_m, bands=wishes.bands, nodata=wishes.nodata, oblique=wishes.oblique)


def _chips(wishes: PredictOptions, card: Card) -> Chips:
    return Chips(
        card.chip_size if wishes.chip_size is None else wishes.chip_size,
        card.overlap if wishes.overlap is None else wishes.overlap,
        wishes.batch_size or 1,
        tuple(scale**2 for scale in wishes.scales for _ in range(1 + wishes.flip)),
    )


def _stored(path: str | Path, scene: Scene, layout: Layout) -> dict[str, Any]:
    """List what a plan says of the scene and its file."""
    return {
        "scene": str(path),
        "bytes": Path(path).stat().st_size if Path(path).is_file() else None,
        "width": scene.width,
        "height": scene.height,
        "crs": scene.crs.to_string() if scene.crs else None,
        "gsd_m": scene.gsd_m,
        "grid_gsd_m": scene.gsd_m and scene.gsd_m * float(np.sqrt(np.prod(scene.scale))),
        "grid_width": scene.grid_width,
        "grid_height": scene.grid_height,
        "block_width": layout.block_width,
        "block_height": layout.block_height,
        "striped": layout.striped,
        "compression": layout.compression,
    }


def _work(
    windows: NDArray[np.float64], wanted: NDArray[np.bool_], seen: NDArray[np.bool_], scene: Scene
) -> dict[str, Any]:
    """Count what a plan says of its windows."""
    return {
        "windows": len(windows),
        "outside": int((~wanted).sum()),
        "empty": int((wanted & ~seen).sum()),
        "chips": int((wanted & seen).sum()),
        "coverage": covered_share(windows[wanted], scene.grid_width, scene.grid_height),
    }


def _costs(
    card: Card, bundle: Path, scene: Scene, chips: Chips, wishes: PredictOptions, count: int
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Expect what a plan says of memory and time, which is nothing for a GPU."""
    if not _on_cpu(wishes.device):
        return {"memory_mb": None, "seconds": None}, ()
    memory, notices = _memory(card, bundle, scene, chips, wishes.max_memory)
    chip_px = min(chips.size, scene.grid_width) * min(chips.size, scene.grid_height)
    seconds = expected_seconds(card, count, chip_px, chips.views)
    return {"memory_mb": round(memory / _MB), "seconds": seconds}, notices


def _check(chips: Chips, device: str) -> None:
    if chips.size < 1:
        raise UsageError(f"--chip-size {chips.size}: must be a positive number of px")
    if not 0 <= chips.overlap < chips.size:
        raise UsageError(f"--overlap {chips.overlap}: must be at least 0 and less than the chip size, {chips.size} px")
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise UsageError(f"--device {device}: no such device; use auto, cpu, cuda or cuda:N")


def _on_cpu(device: str) -> bool:
    """Guess what ``predict`` would run on: only torch knows, and takes seconds to say so."""
    return device == "cpu" or (device == "auto" and not Path("/dev/nvidiactl").exists())


def _windows(scene: Scene, chips: Chips) -> NDArray[np.float64]:
    windows = scene_windows(scene.grid_width, scene.grid_height, chips.size, chips.overlap)
    return np.array([window.flatten() for window in windows], np.float64)


def _wanted(
    windows: NDArray[np.float64], wishes: PredictOptions, scene: Scene
) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """Tell which windows share area with the area of interest."""
    if wishes.aoi is None and wishes.bbox is None:
        return np.ones(len(windows), np.bool_), ()
    from d2det_geo.pipeline.aoi import meeting, region_of  # noqa: PLC0415 - geopandas takes half a second to import

    region, notices = region_of(wishes.aoi, wishes.bbox, scene)
    return meeting(region, scene.scale, windows), notices


def _seen(
    windows: NDArray[np.float64], scene: Scene, layout: Layout, wishes: PredictOptions
) -> tuple[NDArray[np.bool_], Certainty]:
    """Tell which windows hold image, as far as that costs little, and how sure that is."""
    seen = np.ones(len(windows), np.bool_)
    if layout.written is not None:
        x, y = scene.scale
        seen = touched(windows, layout.written, (layout.block_width / x, layout.block_height / y))
    if not layout.holes and wishes.nodata is None:
        return seen, "exactly"
    cheap = layout.overviews or scene.width * scene.height <= _LOOK_WHOLE
    if scene.gsd_m is None or not cheap:
        return seen, "at least"
    coarser = max(scene.width, scene.height) / _LOOK_SIDE
    with _opened(scene.path, scene.gsd_m * max(coarser, 1), wishes) as look:
        _, valid = look.read(Window(0, 0, look.grid_width, look.grid_height))
    cell = scene.grid_width / look.grid_width, scene.grid_height / look.grid_height
    return seen & touched(windows, valid, cell), "about"


def _reading_notices(scene: Scene, layout: Layout) -> Iterator[str]:
    if layout.striped and scene.width * scene.height * layout.bytes_per_pixel > _KEPT_WHOLE:
        yield (
            f"striped: every chip costs whole rows of {layout.block_width} px;"
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
