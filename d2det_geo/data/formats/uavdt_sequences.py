"""What is known of UAVDT's 50 sequences (spec sections 3.3 and 3.4): lengths, split, attributes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

CLASSES = ("car", "truck", "bus")
"""Categories 1 to 3 of the files."""
ATTRIBUTES = ("daylight", "night", "fog", "low", "medium", "high", "front", "side", "bird", "long-term")
"""In the order of the columns of an attribute file."""


def _lengths(text: str) -> Mapping[str, int]:
    return MappingProxyType({name: int(frames) for name, frames in map(str.split, text.split(","))})


TRAIN = _lengths(
    """
    M0101 407, M0201 1076, M0202 291, M0204 350, M0206 562, M0207 885, M0210 583, M0301 325, M0401 613,
    M0402 410, M0501 352, M0603 2035, M0604 1079, M0605 787, M0702 777, M0703 683, M0704 832, M0901 1906,
    M0902 384, M1002 660, M1003 1346, M1005 537, M1006 708, M1008 569, M1102 967, M1201 1197, M1202 472,
    M1304 1550, M1305 600, M1306 1200
    """
)
"""Frames of each training sequence."""
TEST = _lengths(
    """
    M0203 1007, M0205 646, M0208 265, M0209 1576, M0403 514, M0601 372, M0602 480, M0606 1374, M0701 1308,
    M0801 298, M0802 1101, M1001 1859, M1004 269, M1007 659, M1009 604, M1101 864, M1301 1182, M1302 719,
    M1303 445, M1401 1050
    """
)
"""Frames of each test sequence, in the toolkit's order."""
LENGTHS: Mapping[str, int] = MappingProxyType({**TRAIN, **TEST})

_TEST_ATTRIBUTES = {
    "daylight": "M0208 M0209 M0403 M0601 M0602 M0606 M0801 M0802 M1301 M1302 M1303 M1401",
    "night": "M0203 M0205 M1001 M1007 M1101",
    "fog": "M0701 M1004 M1009",
    "low": "M0203 M0205 M0209 M0801 M0802 M1101 M1303 M1401",
    "medium": "M0208 M0403 M0602 M0606 M1001 M1004 M1007 M1009 M1301 M1302",
    "high": "M0601 M0701",
    "front": "M0208 M0209 M0403 M0601 M0602 M0606 M1001 M1004 M1007 M1101 M1301 M1401",
    "side": "M0205 M0209 M0403 M0601 M0606 M0802 M1101 M1302 M1303",
    "bird": "M0203 M0701 M0801 M1009",
    "long-term": "M0209 M1001",
}


def listed_attributes(sequence: str) -> frozenset[str]:
    """Look up the attributes of a test sequence as the toolkit's script lists them; none for others."""
    return frozenset(name for name in ATTRIBUTES if sequence in _TEST_ATTRIBUTES[name].split())
