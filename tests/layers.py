"""Layers and features for the tests of the sinks."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyogrio
import pyproj
import shapely

from d2det_geo.vector.features import Features, Layer

COLUMNS = {"class": str, "score": float, "area_m2": float, "scene": str}
CLASSES = ("building", 'dépôt "à l\'eau", 2%s\nline', "船")


def layer(crs: str | None = "EPSG:32614") -> Layer:
    return Layer(None if crs is None else pyproj.CRS(crs), "scène 1.tif", 4000, 3000, CLASSES, COLUMNS)


def features(count: int, crs: str | None = "EPSG:32614", seed: int = 0) -> Features:
    """Give ``count`` objects of all kinds: convex, with a hole, of two parts."""
    rng = np.random.default_rng(seed)
    places = np.stack([np.arange(count) % 37, np.arange(count) // 37], 1) * 60.0 + rng.uniform(25, 30, (count, 2))
    bodies = shapely.buffer(shapely.points(places), rng.uniform(10, 15, count), quad_segs=2)
    bodies[1::3] = shapely.difference(bodies[1::3], shapely.buffer(shapely.points(places[1::3]), 4, quad_segs=1))
    others = shapely.box(*(places[2::3] + 18).T, *(places[2::3] + 22).T)
    bodies[2::3] = shapely.union(bodies[2::3], others)
    world = (
        bodies if crs is None else shapely.transform(bodies, lambda points: points * [0.5, -0.5] + [600_000, 3_000_000])
    )
    columns = {
        "class": np.array([CLASSES[number % 3] for number in range(count)], dtype=object),
        "score": np.round(rng.random(count), 4),
        "area_m2": np.round(shapely.area(world), 2),
        "scene": np.full(count, "scène 1.tif", dtype=object),
    }
    return Features(bodies, world, columns)


def read(path: Path) -> gpd.GeoDataFrame:
    """Read a file with another library; a GPKG has its style in a second layer, FlatGeobuf is sorted by place."""
    if path.suffix == ".parquet":
        return gpd.read_parquet(path)
    return pyogrio.read_dataframe(path, layer=path.stem if path.suffix == ".gpkg" else None)


@contextmanager
def no_file_beyond(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond ``size`` bytes, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
