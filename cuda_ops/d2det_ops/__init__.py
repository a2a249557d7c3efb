"""The operators of D2Det, one folder each; ``reference.py`` is the truth, ``op.py`` chooses what runs on a device.

``d2det_ops.nms`` is the operator, also after ``import d2det_ops.nms as name``; ``from d2det_ops.nms import nms`` works.
The face is lazy (PEP 562): compiled loops are used where no network is, and torch takes seconds and 500 MB.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from d2det_ops.deform_roi_pool import deform_roi_pool
    from d2det_ops.discriminative_pool import discriminative_pool
    from d2det_ops.nms import nms
    from d2det_ops.paste_masks import paste_masks
    from d2det_ops.roi_align import roi_align
    from d2det_ops.soft_nms import soft_nms

__all__ = ["deform_roi_pool", "discriminative_pool", "nms", "paste_masks", "roi_align", "soft_nms"]


def __getattr__(name: str) -> object:
    """Import an operator at its first use.

    Raises:
        AttributeError: there is none of that name.
    """
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{name}"), name)
    globals()[name] = value  # the next time Python finds it by itself
    return value


def __dir__() -> list[str]:
    """List the operators too, for completion."""
    return sorted({*globals(), *__all__})


class _Face(ModuleType):
    """Keeps a folder, when it is imported, from hiding the operator of its name."""

    def __setattr__(self, name: str, value: object) -> None:
        """Set anything but the folder of an operator."""
        if name not in __all__ or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Face
