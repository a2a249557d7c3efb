"""`d2det convert`: annotations from one format to another."""

from __future__ import annotations

from dataclasses import asdict

from d2det_cli import converting, options, texts
from d2det_cli.say import print_json, say


def convert(
    source: converting.Source,
    out: converting.Out,
    *,
    from_: converting.From,
    to: converting.To,
    images: converting.Images = None,
    results: converting.Results = False,
    truth: converting.Truth = None,
    truth_format: converting.TruthFormat = None,
    class_names: options.ClassNames = "",
    class_map: options.ClassMap = "",
    class_field: options.ClassField = "class",
    raster: converting.Raster = None,
    split: converting.Split = None,
    exact: converting.Exact = False,
    merge_patches: options.MergePatches = False,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Convert annotations between formats; say what the other cannot hold.

    Example: d2det convert labelTxt truth.json --from dota --to coco --images images
    """
    from d2det_geo.data.formats.reading import Reading
    from d2det_geo.errors import UsageError
    from d2det_geo.pipeline.convert import TruthFile, convert_file

    if results != (truth is not None):
        raise UsageError("--results and --truth go together: detections belong to the images of a truth")
    summary = convert_file(
        source,
        out,
        formats=(from_, to),
        reading=Reading(
            images, texts.parse_names(class_names), class_field, raster, exact, split, merge_patches=merge_patches
        ),
        truth=None if truth is None else TruthFile(truth, truth_format or from_),
        class_map=texts.parse_class_map(class_map),
        overwrite=overwrite,
    )
    for notice in summary.notices:
        say(f"notice: {notice}")
    if as_json:
        print_json({**asdict(summary), "out": str(out)})
    if not quiet:
        ignored = f" ({summary.ignored} ignored)" if summary.ignored else ""
        found = f"{summary.images} images, {summary.objects} objects{ignored}, {summary.regions} regions to ignore"
        say(f"{out}: {found}, {len(summary.classes)} classes")
