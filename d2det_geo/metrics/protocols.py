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
    help: str
    """One line, for ``--help``."""
    ious: tuple[Iou, ...]
    """What objects can be compared by; the first is the default."""
    options: tuple[str, ...] = ()
    """Further keywords ``score`` takes: ``max_dets`` (caps, ascending), ``version`` (of DOTA)."""
    percent: bool = False
    """``metrics["ap_percent"]`` is the official number, rounded as its toolkit does."""


PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        "coco": Protocol(
            score_coco,
            "COCO: mean over IoU .50:.05:.95, 100 results per image and class",
            ("segm", "bbox"),
            ("max_dets",),
        ),
        "dota-task1": Protocol(
            score_dota_task1, "DOTA oriented boxes: polygon IoU > .5, 11-point", ("segm",), ("version",)
        ),
        "dota-task2": Protocol(
            score_dota_task2, "DOTA horizontal boxes: box IoU with +1 > .5, 11-point", ("bbox",), ("version",)
        ),
        "isaid": Protocol(
            score_isaid, "iSAID: COCO on 800 px patches, 1000 results, its size ranges", ("segm", "bbox"), ("max_dets",)
        ),
        "uavdt": Protocol(
            score_uavdt, "UAVDT toolkit: classes pooled, IoU >= .7, ignore regions, all-point", ("bbox",), (), True
        ),
        "uavdt-coco1": Protocol(
            score_uavdt_coco1, "UAVDT as one COCO class, ignore regions unused", ("bbox",), ("max_dets",)
        ),
        "uavdt-coco3": Protocol(
            score_uavdt_coco3, "UAVDT as COCO over car, truck, bus, ignore regions unused", ("bbox",), ("max_dets",)
        ),
        "uavdt-voc07": Protocol(
            score_uavdt_voc07, "UAVDT as one VOC class: IoU > .7, ignore regions unused, all-point", ("bbox",), (), True
        ),
        "visdrone": Protocol(
            score_visdrone, "VisDrone-DET: 500 results per image, ignored regions by half the area", ("bbox",)
        ),
        "voc": Protocol(score_voc, "Pascal VOC: IoU >= .5, difficult objects ignored, all-point", ("bbox",)),
    }
)
"""Name -> protocol, sorted by name."""
