"""The formats by name: what reads and writes each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from d2det_geo.data.formats import dota, dota_results, uavdt, uavdt_write, visdrone
from d2det_geo.data.formats.reading import Format, Read, Reading, ReadResults, Write
from d2det_geo.errors import UsageError

__all__ = ["FORMATS", "Format", "Read", "ReadResults", "Reading", "Write", "format_named"]

FORMATS: Mapping[str, Format] = {
    "dota": Format(
        "DOTA v1.0, v1.5, v2.0: folder of labelTxt/*.txt",
        read=dota.read,
        write=dota.write,
        holds=frozenset({"outlines", "ignored"}),
        columns=frozenset({"difficult"}),
    ),
    "dota-task1": Format(
        "DOTA Task 1, turned boxes: folder or zip of Task1_<class>.txt",
        read_results=dota_results.read_task1,
        write_results=dota_results.write_task1,
        holds=frozenset({"outlines"}),
    ),
    "dota-task2": Format(
        "DOTA Task 2, boxes: folder or zip of Task2_<class>.txt",
        read_results=dota_results.read_task2,
        write_results=dota_results.write_task2,
    ),
    "uavdt": Format(
        "UAVDT: folder GT (<sequence>_gt_whole.txt, _gt_ignore.txt); results: folder of <sequence>.txt",
        read=uavdt.read,
        read_results=uavdt.read_results,
        write=uavdt_write.write,
        write_results=uavdt_write.write_results,
        holds=frozenset({"regions"}),
        columns=frozenset(uavdt.SAID),
    ),
    "visdrone": Format(
        "VisDrone-DET: folder of annotations/*.txt; results: folder of one text file an image",
        read=visdrone.read,
        read_results=visdrone.read_results,
        write=visdrone.write,
        write_results=visdrone.write_results,
        holds=frozenset({"ignored", "regions"}),
        columns=frozenset(visdrone.SAID),
    ),
    # Sorted by name, one entry a format; the modules import ``reading``, never this one.
}


def format_named(name: str, ability: Literal["read", "read_results", "write", "write_results"]) -> Format:
    """Look up a format that can do what is asked.

    Raises:
        UsageError: there is none of this name, or it cannot.
    """
    able = [key for key, known in FORMATS.items() if getattr(known, ability) is not None]
    if name not in able:
        doing = {"read": "read as truth", "read_results": "read as detections", "write": "written as truth"}
        what = doing.get(ability, "written as detections")
        raise UsageError(f"format {name!r} cannot be {what}; choose one of {', '.join(able)}")
    return FORMATS[name]
