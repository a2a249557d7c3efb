"""The names of the protocols, where reading them costs nothing: for ``--help``."""

from __future__ import annotations

NAMES = (
    "coco",
    "dota-task1",
    "dota-task2",
    "geo",
    "isaid",
    "uavdt",
    "uavdt-coco1",
    "uavdt-coco3",
    "uavdt-voc07",
    "visdrone",
    "voc",
)
"""``metrics.protocols.PROTOCOLS`` and ``geo``, sorted."""
