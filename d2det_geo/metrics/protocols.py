"""The protocols by name. A number is only comparable under its protocol's name, so the name travels with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from d2det_geo.metrics.coco import score_coco, score_isaid, score_uavdt_coco1, score_uavdt_coco3
from d2det_geo.metrics.dota import score_dota_task1, score_dota_task2
from d2det_geo.metrics.outcome import Iou, Outcome
from d2det_geo.metrics.uavdt import score_uavdt, score_uavdt_voc07
from d2det_geo.metrics.visdrone import score_visdrone
from d2det_geo.metrics.voc import score_voc


@dataclass(frozen=True, slots=True)
class Protocol:
    """One way to judge predictions. ``geo``, which needs a ground frame first, is not among them."""

    score: Callable[..., Outcome]
    """``score(truth, predictions, *, iou=..., score=None, **options)``; ``iou`` is one of ``ious``, ``options`` those
    named in ``options``. ``predictions.images is truth.images``, and ``classes`` are equal."""
    ious: tuple[Iou, ...]
    """What objects can be compared by; the first is the default."""
    options: tuple[str, ...] = ()
    """Further keywords ``score`` takes: ``max_dets`` (caps, ascending), ``version`` (of DOTA)."""


PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        "coco": Protocol(score_coco, ("segm", "bbox"), ("max_dets",)),
        "dota-task1": Protocol(score_dota_task1, ("segm",), ("version",)),
        "dota-task2": Protocol(score_dota_task2, ("bbox",), ("version",)),
        "isaid": Protocol(score_isaid, ("segm", "bbox"), ("max_dets",)),
        "uavdt": Protocol(score_uavdt, ("bbox",)),
        "uavdt-coco1": Protocol(score_uavdt_coco1, ("bbox",), ("max_dets",)),
        "uavdt-coco3": Protocol(score_uavdt_coco3, ("bbox",), ("max_dets",)),
        "uavdt-voc07": Protocol(score_uavdt_voc07, ("bbox",)),
        "visdrone": Protocol(score_visdrone, ("bbox",)),
        "voc": Protocol(score_voc, ("bbox",)),
    }
)
"""Name -> protocol, sorted by name; ``docs/evaluation.md`` says what each is."""
