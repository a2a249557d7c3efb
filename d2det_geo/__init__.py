"""Objects in aerial imagery: a scene of any size in, GIS-ready vector objects out.

The face is lazy (PEP 562): importing it costs nothing, and the first use of a name imports
the room it lives in.

    >>> import d2det_geo
    >>> objects = d2det_geo.predict_scene("scene.tif", "buildings")  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from d2det_geo.detections import Detections
    from d2det_geo.model.bundle import load_model
    from d2det_geo.pipeline.predict import predict_scene

__version__ = "0.1.0"
__all__ = ["Detections", "__version__", "load_model", "predict_scene"]

_HOMES = {
    "Detections": "d2det_geo.detections",
    "load_model": "d2det_geo.model.bundle",
    "predict_scene": "d2det_geo.pipeline.predict",
}


def __getattr__(name: str) -> object:
    """Import a public name where it lives, at its first use.

    Raises:
        AttributeError: the face has no such name.
    """
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted(__all__)
