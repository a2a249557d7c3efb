"""The formats by name: what reads and writes each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from d2det_geo.data.formats import coco, coco_write, isaid, isaid_png, isaid_results
from d2det_geo.data.formats.reading import Format, Read, Reading, ReadResults, Write
from d2det_geo.errors import UsageError

__all__ = ["FORMATS", "Format", "Read", "ReadResults", "Reading", "Write", "format_named"]

FORMATS: Mapping[str, Format] = {
    # Sorted by name, one entry a format; the modules import ``reading``, never this one.
    "coco": Format(
        "COCO JSON; results as COCO's list",
        read=coco.read,
        read_results=coco.read_results,
        write=coco_write.write,
        write_results=coco_write.write_results,
        holds=frozenset({"outlines", "ignored", "regions"}),
        columns=frozenset({"id"}),
    ),
    "isaid": Format(
        "iSAID's JSON, released or of the devkit; results as its server's zip",
        read=isaid.read,
        read_results=isaid_results.read_results,
        write_results=isaid_results.write_results,
        holds=frozenset({"outlines"}),
    ),
    "isaid-png": Format("iSAID's images with their maps of instances and classes", read=isaid_png.read),
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
