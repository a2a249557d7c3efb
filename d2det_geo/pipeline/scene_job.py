"""One scene and one network, opened: from here the objects of the scene stream."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import shapely
import torch
from numpy.typing import NDArray
from rasterio.windows import Window

from d2det_geo import __version__
from d2det_geo.detections import Detections
from d2det_geo.errors import UsageError
from d2det_geo.model.bundle import Card
from d2det_geo.pipeline.aoi import region_of
from d2det_geo.pipeline.behind import behind
from d2det_geo.pipeline.budget import peak_bytes, share_memory
from d2det_geo.pipeline.detect import Progress, chosen_windows, detect_stream
from d2det_geo.pipeline.ledger import Ledger, RunKey
from d2det_geo.pipeline.loaded import LoadedModel
from d2det_geo.pipeline.network import ChipNetwork
from d2det_geo.pipeline.objects import Outliner, touches
from d2det_geo.pipeline.options import PredictOptions, gsd_of
from d2det_geo.pipeline.tally import Tally
from d2det_geo.raster.fingerprint import fingerprint, stamps
from d2det_geo.raster.scene import Scene, open_scene
from d2det_geo.vector.features import Features

CHIPS_PER_BATCH = {"cpu": 1, "cuda": 8}  # on a CPU two at once take as long as one after the other, and more memory


@dataclass(frozen=True, slots=True, eq=False)
class SceneJob:
    """A prediction about to run."""

    scene: Scene
    model: LoadedModel
    network: ChipNetwork
    options: PredictOptions
    region: shapely.Geometry | None
    """Area of interest, scene px."""
    windows: list[Window]
    """That are looked at, grid px."""
    chip_size: int
    notices: tuple[str, ...]
    tally: Tally

    @property
    def card(self) -> Card:
        """What the model says about itself."""
        return self.model.card

    @property
    def outliner(self) -> Outliner:
        """How detections become objects."""
        options = self.options
        return Outliner(
            self.scene,
            self.card.classes,
            self.network.score,
            self.region,
            simplify=options.simplify,
            regularize=options.regularize,
            min_area=options.min_area,
        )

    def key(self, crs: str | None = None, format: str | None = None) -> RunKey:
        """Say what decides the result: content of the scene, the model, every setting that changes a byte.

        Args:
            crs: of the output, as the user names it.
            format: of the output.
        """
        options = self.options
        settings = {
            "--score": self.outliner.score,
            "scene": self.scene.path,
            "--classes": sorted(set(options.classes)),
            "--aoi and --bbox": None if self.region is None else sha256(shapely.to_wkb(self.region)).hexdigest(),
            "--gsd": options.gsd,
            "--chip-size": self.chip_size,
            "--overlap": self.network.overlap,
            "--batch-size": self.network.batch_size,
            "--device": self.model.device.type,
            "--bands": None if options.bands is None else list(options.bands),
            "--nodata": options.nodata,
            "--allow-oblique": options.oblique,
            "--tta": [*options.scales, *(["flip"] if options.flip else [])],
            "--simplify": options.simplify,
            "--regularize": options.regularize,
            "--min-area": options.min_area,
            "--crs": crs,
            "--format": format,
            "torch": torch.__version__,
            "threads": torch.get_num_threads() if self.model.device.type == "cpu" else None,  # change the last bits
        }
        path = self.scene.path
        return RunKey(
            fingerprint(path), self.model.identity, json.loads(json.dumps(settings)), __version__, stamps(path)
        )

    def run(self, write: Callable[[Features], None], ledger: Ledger | None, progress: Progress | None) -> None:
        """Send the objects of the scene to ``write``, which is called on one other thread.

        Raises:
            InputError: the scene is damaged. UsageError: ``max_memory`` leaves too little to run.
        """
        ahead = self._share_memory()
        outliner, shapes = self.outliner, Tally()

        def outline(found: Detections) -> None:
            with shapes.timed("vector"):
                features = outliner.features(found, shapes)
            with shapes.timed("write"):
                write(features)
            shapes.objects += len(features)

        stream = detect_stream(
            lambda windows: self.scene.read_all(windows, ahead_bytes=ahead),
            self.windows,
            (self.scene.grid_width, self.scene.grid_height),
            self.network,
            self.tally,
            ledger=ledger,
            progress=progress,
        )
        try:
            with closing(stream), behind(outline) as put:
                for found in stream:
                    put(found)
        finally:
            self.tally.join(shapes)

    def _share_memory(self) -> int:
        """Size GDAL's cache; return how many bytes of chips may be read ahead."""
        limit = self.options.max_memory
        used = self._needed() if limit is not None and self.windows else 0
        chip = 4 * self.chip_size**2  # three bands and their validity
        row = chip * -(-self.scene.grid_width // max(1, self.chip_size - self.network.overlap))
        budget = share_memory(
            limit,
            used,
            cache_wanted=self.scene.cache_wanted(self.chip_size, self.chip_size),
            row=row,
            batch=chip * self.network.batch_size,
        )
        self.scene.limit_cache(budget.cache)
        return budget.ahead

    def _needed(self) -> int:
        """Measure what the process takes with a full batch."""
        shape = (self.network.batch_size, int(self.windows[0].height), int(self.windows[0].width))
        if shape not in self.model.needs:
            self.network.rehearse(shape[1:])
            self.model.needs[shape] = peak_bytes()
        return self.model.needs[shape]


@contextmanager
def opened_job(path: str | Path, model: LoadedModel, options: PredictOptions, tally: Tally) -> Iterator[SceneJob]:
    """Open a scene for a model.

    Raises:
        InputError: the scene or the AOI cannot be read, or the AOI misses the scene.
        UsageError: options that make no sense together, or an unknown class.
    """
    card = model.card
    labels = _labels(options.classes, card)
    with open_scene(
        path, gsd_m=gsd_of(options.gsd, card.gsd_m), bands=options.bands, nodata=options.nodata, oblique=options.oblique
    ) as scene:
        region, notices = region_of(options.aoi, options.bbox, scene)
        overlap = card.overlap if options.overlap is None else options.overlap
        chip_size = card.chip_size if options.chip_size is None else options.chip_size
        batch_size = options.batch_size or CHIPS_PER_BATCH[model.device.type]
        detector = model.augmented(options.scales, flip=options.flip)
        wanted = None if region is None else touches(region, scene.scale)
        windows = chosen_windows((scene.grid_width, scene.grid_height), chip_size, overlap, wanted, tally)
        score = card.score if options.score is None else options.score
        network = ChipNetwork(detector, card, overlap, batch_size, labels, score)
        yield SceneJob(scene, model, network, options, region, windows, chip_size, notices, tally)


def _labels(classes: Sequence[str], card: Card) -> NDArray[np.int64] | None:
    for name in classes:
        if name not in card.classes:
            raise UsageError(f"--classes {name}: {card.name} does not know it; it knows {', '.join(card.classes)}")
    return np.array([card.classes.index(name) for name in classes], dtype=np.int64) if classes else None
