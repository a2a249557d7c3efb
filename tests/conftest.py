from __future__ import annotations

import tests.interpreter  # noqa: F401

# isort: split
import os
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning

from d2det_geo.model.d2det import D2Det
from tests.golden.network import official_network

# A shell starts what it runs in the background deaf to Ctrl-C, and the tests of Ctrl-C would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

NORTH_UP = Affine(0.5, 0, 500_000, 0, -0.5, 5_000_000)


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """Find real data, which is no part of the project; a test that asks for what is not there is skipped."""
    root = Path(os.environ.get("D2DET_SHARED", Path(__file__).parents[2] / "shared")) / "data"

    def folder(name: str) -> Path:
        if not (root / name).is_dir():
            pytest.skip(f"no real data at {root / name}; D2DET_SHARED says where it is")
        return root / name

    return folder


@pytest.fixture
def write_raster(tmp_path: Path) -> Callable[..., Path]:
    """Write ``[C, H, W]`` as a GeoTIFF, in UTM at 0.5 m/px unless told otherwise; None leaves a part out."""

    def write(
        image: NDArray[np.generic],
        name: str = "scene.tif",
        *,
        transform: Affine | None = NORTH_UP,
        crs: str | None = "EPSG:32633",
        **profile: Any,
    ) -> Path:
        count, height, width = image.shape
        shape = {"count": count, "height": height, "width": width, "dtype": image.dtype.name}
        place = {key: value for key, value in {"transform": transform, "crs": crs}.items() if value is not None}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(tmp_path / name, "w", **{"driver": "GTiff"} | shape | place | profile) as dataset:
                dataset.write(image)
        return tmp_path / name

    return write


@pytest.fixture(scope="session")
def official_r50() -> D2Det:
    """Build the authors' R50 with made-up weights, once: 90 million of them."""
    return official_network("r50")
