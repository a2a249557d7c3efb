"""The formats by name: what reads and writes each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from d2det_geo.data.formats import (
    coco,
    coco_write,
    dota,
    dota_results,
    isaid,
    isaid_png,
    isaid_results,
    uavdt,
    uavdt_remarks,
    uavdt_write,
    vector,
    visdrone,
    voc,
    yolo,
    yolo_write,
)
from d2det_geo.data.formats.reading import Format, Read, Reading, ReadResults, Write
from d2det_geo.errors import UsageError

__all__ = ["FORMATS", "Format", "Read", "ReadResults", "Reading", "Write", "check_merging", "format_named"]

_OF_PATCHES = ("dota-task1", "dota-task2")

FORMATS: Mapping[str, Format] = {
    # Sorted by name, one entry a format; the modules import ``reading``, never this one.
    "coco": Format(
        "COCO JSON; results as COCO's list",
        read=coco.read,
        read_results=coco.read_results,
        write=coco_write.write,
        write_results=coco_write.write_results,
        holds=frozenset({"outlines", "ignored", "regions", "flat"}),
        columns=frozenset({"id"}),
    ),
    "dota": Format(
        "DOTA v1.0, v1.5, v2.0: folder of labelTxt/*.txt",
        read=dota.read,
        write=dota.write,
        holds=frozenset({"corners", "ignored"}),
        columns=frozenset({"difficult"}),
    ),
    "dota-task1": Format(
        "DOTA Task 1, turned boxes: folder or zip of Task1_<class>.txt",
        read_results=dota_results.read_task1,
        write_results=dota_results.write_task1,
        holds=frozenset({"corners"}),
    ),
    "dota-task2": Format(
        "DOTA Task 2, boxes: folder or zip of Task2_<class>.txt",
        read_results=dota_results.read_task2,
        write_results=dota_results.write_task2,
    ),
    "isaid": Format(
        "iSAID's JSON, released or of the devkit; results as its server's zip",
        read=isaid.read,
        read_results=isaid_results.read_results,
        write_results=isaid_results.write_results,
        holds=frozenset({"outlines"}),
    ),
    "isaid-png": Format("iSAID's images with their maps of instances and classes", read=isaid_png.read),
    "uavdt": Format(
        "UAVDT: folder GT (<sequence>_gt_whole.txt, _gt_ignore.txt); results: folder of <sequence>.txt",
        read=uavdt.read,
        read_results=uavdt.read_results,
        write=uavdt_write.write,
        write_results=uavdt_write.write_results,
        holds=frozenset({"regions"}),
        columns=frozenset(uavdt.SAID),
        unsaid=uavdt_remarks.unsaid_frames,
    ),
    "vector": Format(
        "vector file of polygons over a raster; results with an attribute score",
        read=vector.read,
        read_results=vector.read_results,
        write=vector.write,
        write_results=vector.write,
        holds=frozenset({"outlines"}),
    ),
    "visdrone": Format(
        "VisDrone-DET: folder of annotations/*.txt; results: folder of one text file an image",
        read=visdrone.read,
        read_results=visdrone.read_results,
        write=visdrone.write,
        write_results=visdrone.write_results,
        holds=frozenset({"ignored", "regions", "flat"}),
        columns=frozenset(visdrone.SAID),
    ),
    "voc": Format(
        "Pascal VOC: folder of XML files",
        read=voc.read,
        write=voc.write,
        holds=frozenset({"ignored"}),
        columns=frozenset({"difficult"}),
    ),
    "yolo": Format(
        "YOLO: folder of text files, boxes or outlines; needs the images",
        read=yolo.read,
        read_results=yolo.read_results,
        write=yolo_write.write,
        write_results=yolo_write.write,
        holds=frozenset({"rings"}),
    ),
}


def check_merging(name: str | None) -> None:
    """Refuse to merge patches of detections that are not in a format which has patches; None: of no detections.

    Raises:
        UsageError: they are not.
    """
    if name not in _OF_PATCHES:
        raise UsageError(f"--merge-patches goes with detections as {' or '.join(_OF_PATCHES)}; leave it out")


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
