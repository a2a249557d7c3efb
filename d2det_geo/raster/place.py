"""The place of a raster on the earth, as one affine map."""

from __future__ import annotations

from dataclasses import dataclass

from affine import Affine
from rasterio.crs import CRS


@dataclass(frozen=True, slots=True)
class Georeference:
    """The place of a raster."""

    crs: CRS | None
    """Two-dimensional; None where coordinates are pixels."""
    transform: Affine
    """Px -> world; the identity without ``crs``."""
    axes_m: tuple[float, float] | None
    """Geodesic metres per px along a row and a column at the centre; None without ``crs``."""
    uncertainty_m: float | None
    """How far off the place may be where it is known approximately; None where it is what the file says."""
    notices: tuple[str, ...]
    """What the user should know."""
