"""The options several commands share, each defined once; ``texts`` reads what is written in them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from d2det_cli.progress import ProgressMode


class OnError(StrEnum):
    """What a scene that fails does to the others."""

    fail = "fail"
    skip = "skip"


# What a scene is and how it is cut
Scene = Annotated[str, typer.Argument(metavar="SCENE", help="A raster of any size: GeoTIFF, VRT, JPEG, PNG, URL.")]
Scenes = Annotated[
    list[str],
    typer.Argument(metavar="SCENE...", help="Rasters of any size; also folders, 'patterns*.tif', URLs and @list.txt."),
]
Bands = Annotated[str | None, typer.Option(metavar="R,G,B", help="Bands to use, from 1.  [default: the scene's RGB]")]
Gsd = Annotated[
    str, typer.Option(metavar="bundle|native|M", help="Resample to the model's GSD, not at all, or to M m/px.")
]
Nodata = Annotated[float | None, typer.Option(metavar="V", help="Value of pixels without image, beside the scene's.")]
Aoi = Annotated[Path | None, typer.Option(metavar="FILE", help="Only this area: a vector file of polygons.")]
BBox = Annotated[
    str | None, typer.Option(metavar="XMIN,YMIN,XMAX,YMAX", help="Only this box, in the scene's coordinates.")
]
Oblique = Annotated[
    bool, typer.Option("--allow-oblique", help="Place drone frames that look more than 10 degrees off straight down.")
]
ChipSize = Annotated[int | None, typer.Option(metavar="PX", help="Side of a chip.  [default: the model's]")]
Overlap = Annotated[
    int | None, typer.Option(metavar="PX", help="Shared by neighbouring chips.  [default: the model's]")
]

# The network and where it runs
Model = Annotated[str, typer.Option(metavar="NAME|PATH", help="A packaged model, or a bundle you trained.")]
Device = Annotated[str, typer.Option(metavar="auto|cpu|cuda[:N]", help="auto takes a GPU if there is one.")]
BatchSize = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Chips at once.  [default: 1 on a CPU, 8 on a GPU]")
]
Tta = Annotated[
    str,
    typer.Option(
        metavar="S,...,flip", help="See each chip at these scales, and mirrored, and merge.", show_default=False
    ),
]

MaxMemory = Annotated[
    str | None, typer.Option(metavar="4GB", help="What the process may take.  [default: what reads best]")
]

Score = Annotated[
    float | None, typer.Option(min=0, max=1, metavar="S", help="Least score, 0 to 1.  [default: the model's]")
]

# Image sets
AsSet = Annotated[
    bool, typer.Option("--as-set", help="The folder is an image set, not scenes: image ids, results for protocols.")
]
Images = Annotated[Path | None, typer.Option(metavar="DIR", help="Images of a COCO JSON.  [default: its folder]")]
ModelClassMap = Annotated[
    str,
    typer.Option(
        "--class-map", metavar="A=B,...", help="Model's class -> the set's; an empty one drops.", show_default=False
    ),
]

# Classes
Classes = Annotated[str, typer.Option(metavar="A,B", help="Only objects of these.", show_default=False)]
ClassNames = Annotated[
    str, typer.Option(metavar="A,B", help="Names of numbered classes, in their order.", show_default=False)
]
ClassField = Annotated[str, typer.Option(metavar="NAME", help="Attribute that holds the class.")]
ClassMap = Annotated[
    str,
    typer.Option(metavar="A=B,...", help="Rename classes; an empty name drops: car=vehicle,tree=", show_default=False),
]
Ignore = Annotated[str, typer.Option(metavar="A,B", help="Classes that mean ignore region.", show_default=False)]

MergePatches = Annotated[
    bool,
    typer.Option(
        "--merge-patches", help="DOTA results of patches: bring them to the whole images and merge what overlaps."
    ),
]

# What is written, and what is said
OutFile = Annotated[
    str | None,
    typer.Option("--out", "-o", metavar="FILE", help="Output; its suffix says the format. - is standard output."),
]
OutDir = Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of outputs, for several scenes.")]
Format = Annotated[
    str | None,
    typer.Option(
        metavar="F",
        help="geojson, geojsonseq, gpkg, flatgeobuf, geoparquet, shapefile, coco; of image sets: coco-results, isaid,"
        " dota-task1, dota-task2, uavdt, visdrone.",
    ),
]
Crs = Annotated[
    str | None, typer.Option(metavar="CRS", help="Of the output, such as EPSG:3857.  [default: the scene's]")
]
Simplify = Annotated[float | None, typer.Option(metavar="M", help="Fewer vertices, outlines off by M metres at most.")]
Regularize = Annotated[bool, typer.Option("--regularize", help="Right-angled footprints where they fit.")]
MinArea = Annotated[float, typer.Option(metavar="M2", help="Least area of an object, m2.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")]
OnErrorOption = Annotated[
    OnError, typer.Option("--on-error", help="At a scene that fails: stop, or go on and list it.")
]
Progress = Annotated[
    ProgressMode, typer.Option("--progress", metavar="auto|bar|json|none", help="How to show it, on standard error.")
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say where the time went.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the report as JSON on standard output.")]
