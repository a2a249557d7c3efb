"""`d2det evaluate`: how good a result is."""

from __future__ import annotations

from d2det_cli import judging, options
from d2det_cli.gates import check_gates, parse_gates
from d2det_cli.say import print_json, say
from d2det_cli.score_tables import print_scores


def evaluate(
    *,
    truth: judging.Truth,
    pred: judging.Pred,
    protocol: judging.Protocol = "geo",
    iou: judging.Iou = None,
    truth_format: judging.TruthFormat = None,
    pred_format: judging.PredFormat = None,
    images: judging.Images = None,
    split: judging.Split = None,
    class_names: options.ClassNames = "",
    class_map: options.ClassMap = "",
    ignore: options.Ignore = "",
    merge_patches: options.MergePatches = False,
    class_field: options.ClassField = "class",
    pred_class_field: judging.PredClassField = None,
    score: judging.Score = None,
    max_dets: judging.MaxDets = "",
    dota_version: judging.DotaVersion = None,
    ci: judging.Ci = None,
    aoi: judging.Aoi = None,
    ignore_area: judging.IgnoreArea = None,
    scene: judging.Scene = None,
    size_bins: judging.SizeBins = "",
    block: judging.Block = None,
    errors: judging.Errors = None,
    report: judging.Report = None,
    overwrite: options.Overwrite = False,
    fail_under: judging.FailUnder = None,
    as_json: options.AsJson = False,
) -> None:
    """Score predictions against truth: AP, precision, recall, F1, by the rules of a named protocol.

    Example: d2det evaluate --truth roofs.gpkg --pred buildings.gpkg --fail-under f1=0.7
    """
    chosen = judging.chosen(locals())
    gates = parse_gates(fail_under or [])
    from d2det_geo.pipeline.evaluate import score_files

    scored = score_files(truth, pred, **chosen)
    result = scored.report
    for notice in result.notices:
        say(f"notice: {notice}")
    print_json(result.to_json()) if as_json else print_scores(result)
    for notice in scored.write():  # after the scores: they are not lost if this fails
        say(f"notice: {notice}")
    check_gates(result.metrics, gates, result.per_class)
