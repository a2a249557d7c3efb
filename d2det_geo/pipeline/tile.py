"""Tile: a scene cut into GeoTIFF chips, and its labels into COCO annotations."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rasterio
import shapely
from affine import Affine
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from d2det_geo.errors import D2DetError, InputError, UsageError
from d2det_geo.pipeline.aoi import scene_area
from d2det_geo.pipeline.chip_labels import Labels, read_labels
from d2det_geo.pipeline.folder import atomic_folder
from d2det_geo.raster.geodesy import gsd_m
from d2det_geo.raster.georeference import georeference_of, placed
from d2det_geo.raster.place import Georeference
from d2det_geo.raster.source import open_dataset, read_pixels
from d2det_geo.raster.windows import scene_windows

ANNOTATIONS = "annotations.json"
_BLOCK = 256  # px, side of the chips' own blocks


@dataclass(frozen=True, slots=True)
class TileSummary:
    """What a tiling did."""

    out: Path
    chips: int
    skipped: int
    """Windows outside the area of interest."""
    objects: int | None
    """In the labels; None without labels."""
    annotations: int
    """In the chips; an object in the overlap of two counts twice."""
    slivers: int
    """Parts of objects too small to tell what they are, left out."""
    repaired: int
    """Objects whose outline was invalid."""
    notices: tuple[str, ...]
    """What the user should know about how labels and AOI were understood."""


def tile_scene(  # noqa: PLR0913 (the options of the command)
    scene: str | Path,
    out: Path,
    *,
    labels: Path | None = None,
    chip_size: int = 800,
    overlap: int = 200,
    aoi: Path | None = None,
    class_field: str = "class",
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> TileSummary:
    """Cut a scene into chips, and its labels with them.

    Chips are copies of the scene's pixels: all bands, data type, nodata, colours and CRS, with their own
    transforms, named ``<scene>_<row>_<column>.tif`` after their upper left pixel. ``annotations.json`` lists them
    as COCO ``images`` with their ``window``; with labels it has ``annotations`` and ``categories``, too.

    Args:
        scene: any raster GDAL opens.
        out: folder to make; appears complete or not at all.
        labels: vector file of polygons.
        chip_size: side of a chip, scene px.
        overlap: px neighbouring chips share.
        aoi: vector file; chips that miss it are not written, objects with less than half their area
            inside become crowds.
        class_field: attribute of the labels that holds the class; without it there is one class, ``object``.
        overwrite: replace a folder of an earlier tiling.
        progress: called with the windows done and the windows in all.

    Raises:
        UsageError: sizes that make no sense.
        OutputExistsError: ``out`` is not empty, and ``overwrite`` is off or it holds other things.
        InputError: a file cannot be read, or the labels or the AOI lie outside the scene.
        D2DetError: ``out`` cannot be written.
    """
    check_sizes(chip_size, overlap)
    with (
        atomic_folder(out, overwrite=overwrite, own_files=_own_files) as folder,
        placed(open_dataset(scene)) as dataset,
        _writing(out),
    ):
        place = georeference_of(dataset)
        area: shapely.Geometry | None = None
        notices = place.notices
        if aoi is not None:
            area, remarks = scene_area(aoi, dataset.name, place.crs, place.transform, (dataset.width, dataset.height))
            notices += remarks
            shapely.prepare(area)
        objects = None if labels is None else _labels(labels, dataset, place, class_field, area)
        windows = list(scene_windows(dataset.width, dataset.height, chip_size, overlap))
        chosen = [window for window in windows if area is None or area.intersects(_box(window))]
        book = _Book(objects)
        for done, window in enumerate(chosen, start=1):
            name = _chip_name(dataset, window)
            _write_chip(dataset, place, window, folder / name)
            book.add(name, window)
            if progress is not None:
                progress(done, len(chosen))
        gsd = gsd_m(place.crs, place.transform, dataset.width, dataset.height)
        (folder / ANNOTATIONS).write_text(book.to_json(Path(dataset.name).name, gsd), encoding="utf-8")
    return TileSummary(
        out=out,
        chips=len(chosen),
        skipped=len(windows) - len(chosen),
        objects=None if objects is None else len(objects.polygons),
        annotations=len(book.annotations),
        slivers=book.slivers,
        repaired=0 if objects is None else objects.repaired,
        notices=notices if objects is None else (*notices, *objects.notices),
    )


class _Book:
    """Collects the rows of a COCO file chip by chip; ids count from 1."""

    def __init__(self, labels: Labels | None) -> None:
        self._labels = labels
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self.slivers = 0

    def add(self, name: str, window: Window) -> None:
        """Enter one chip and what it shows."""
        column, row, width, height = (int(value) for value in window.flatten())
        image_id = len(self.images) + 1
        place = {"window": [column, row, width, height]}
        self.images.append({"id": image_id, "file_name": name, "width": width, "height": height, **place})
        if self._labels is not None:
            rows, slivers = self._labels.in_window(window)
            first = len(self.annotations) + 1
            self.annotations += [{"id": first + i, "image_id": image_id, **item} for i, item in enumerate(rows)]
            self.slivers += slivers

    def to_json(self, scene: str, gsd: float | None) -> str:
        """Write the file. Without labels it has no ``annotations``: nothing is known, not: nothing is there."""
        images = self.images if gsd is None else [{**image, "gsd_m": round(gsd, 6)} for image in self.images]
        content: dict[str, Any] = {"info": {"description": f"Chips of {scene}"}, "images": images}
        if self._labels is not None:
            content["categories"] = [{"id": i, "name": name} for i, name in enumerate(self._labels.names, start=1)]
            content["annotations"] = self.annotations
        return json.dumps(content, allow_nan=False) + "\n"


def check_sizes(chip_size: int, overlap: int) -> None:
    """Refuse chips that cannot cover a scene.

    Raises:
        UsageError: names the option.
    """
    if chip_size < 1:
        raise UsageError(f"--chip-size {chip_size}: must be a positive number of px")
    if not 0 <= overlap < chip_size:
        raise UsageError(f"--overlap {overlap}: must be at least 0 and less than the chip size, {chip_size} px")


def _labels(
    path: Path, dataset: rasterio.DatasetReader, place: Georeference, class_field: str, area: shapely.Geometry | None
) -> Labels:
    size = (dataset.width, dataset.height)
    objects = read_labels(path, place.crs, place.transform, size, class_field, area)
    extent = shapely.box(0, 0, *size)
    if len(objects.polygons) and not shapely.intersects(objects.polygons, extent).any():
        raise InputError(
            f"{path}: no label lies inside {dataset.name}; check that the two belong together, and their CRS"
        )
    return objects


def _box(window: Window) -> shapely.Geometry:
    # Pulled in a little: a chip that only shares an edge with the AOI shows nothing of it.
    x, y, width, height = window.flatten()
    return shapely.box(x + 1e-6, y + 1e-6, x + width - 1e-6, y + height - 1e-6)


def _chip_name(dataset: rasterio.DatasetReader, window: Window) -> str:
    stem = re.sub(r"[^\w.-]+", "_", Path(dataset.name).stem)
    digits = len(str(max(dataset.width, dataset.height)))
    return f"{stem}_{window.row_off:0{digits}}_{window.col_off:0{digits}}.tif"


def _write_chip(dataset: rasterio.DatasetReader, place: Georeference, window: Window, path: Path) -> None:
    pixels = read_pixels(dataset, dataset.indexes, window, (window.height, window.width))
    transform = place.transform if dataset.transform.is_identity else dataset.transform
    profile = {"driver": "GTiff", "tiled": True, "blockxsize": _BLOCK, "blockysize": _BLOCK, "compress": "deflate"}
    with rasterio.open(
        path,
        "w",
        width=window.width,
        height=window.height,
        count=dataset.count,
        dtype=pixels.dtype,
        nodata=dataset.nodata,
        crs=dataset.crs or place.crs,
        transform=transform @ Affine.translation(window.col_off, window.row_off),
        **profile,
    ) as chip:
        chip.colorinterp = dataset.colorinterp  # before the pixels: GDAL fixes the layout of the file with them
        chip.write(pixels)
        chip.descriptions, chip.scales, chip.offsets = dataset.descriptions, dataset.scales, dataset.offsets
        if dataset.colorinterp[0] is ColorInterp.palette:
            chip.write_colormap(1, dataset.colormap(1))
        if dataset.mask_flag_enums[0] == [MaskFlags.per_dataset]:
            mask = read_pixels(dataset, (1,), window, (window.height, window.width), masks=True)
            chip.write_mask(mask[0])


def _own_files(folder: Path) -> set[str]:
    """Tell which files of a folder an earlier tiling wrote: those its annotations list."""
    try:
        listed = json.loads((folder / ANNOTATIONS).read_text(encoding="utf-8"))["images"]
        return {ANNOTATIONS, *(str(image["file_name"]) for image in listed)}
    except (OSError, ValueError, LookupError, TypeError):
        return set()


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    """Keep masks inside the chips, and say in words what goes wrong."""
    try:
        with warnings.catch_warnings(), rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
            # Chips of a scene without georeference have none either; the user knows.
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            yield
    except (RasterioError, OSError) as error:
        raise D2DetError(f"{out}: cannot be written ({' '.join(str(error).split()):.200}); check the disk") from error
