"""The options of ``d2det convert``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

_FORMATS = "coco, dota, uavdt, visdrone, yolo, voc, vector, isaid ..."

Source = Annotated[Path, typer.Argument(metavar="IN", help="File or folder of annotations.")]
Out = Annotated[Path, typer.Argument(metavar="OUT", help="File or folder to make.")]
From = Annotated[str, typer.Option("--from", metavar="F", help=f"Format of IN: {_FORMATS}")]
To = Annotated[str, typer.Option(metavar="F", help="Format of OUT.")]
Images = Annotated[Path | None, typer.Option(metavar="DIR", help="Images, for what IN does not say.")]
Results = Annotated[bool, typer.Option("--results", help="IN holds detections, not truth.")]
Truth = Annotated[Path | None, typer.Option(metavar="FILE", help="Truth the detections belong to.")]
TruthFormat = Annotated[str | None, typer.Option(metavar="F", help="Its format.  [default: that of IN]")]
Raster = Annotated[Path | None, typer.Option(metavar="FILE", help="The scene of a vector file.")]
Split = Annotated[Literal["train", "test"] | None, typer.Option(help="Of UAVDT, where one folder holds both.")]
Exact = Annotated[bool, typer.Option("--exact", help="iSAID maps: masks as they are.")]
