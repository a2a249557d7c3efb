"""What ``--ci`` draws: the groups of the images a protocol judges."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from d2det_geo.metrics.protocols import PROTOCOLS
from d2det_geo.pipeline.evaluation import Evaluation
from d2det_geo.pipeline.intervals import intervals_of
from tests.judged import images, objects

BOX = (0, 10, 10, 20, 20)
OTHER = (0, 100, 50, 120, 60)


def sequences(count: int, frames: int, found: Any, groups: bool = True) -> Evaluation:
    """Make sequences whose object is found in all frames or in none."""
    total = count * frames
    names = np.array([f"M{row // frames:04}" for row in range(total)], object)
    of = images(total, groups=names) if groups else images(total)
    truth = objects(of, [(row, *BOX, 0) for row in range(total)])
    rows = [(row, *(BOX if found[row // frames] else OTHER), 1 - row / total / 2) for row in range(total)]
    predictions = objects(of, rows, scored=True)
    outcome = PROTOCOLS["uavdt"].score(truth, predictions, score=0.1)
    return Evaluation(truth=truth, predictions=predictions, outcome=outcome)


def test_frames_of_a_sequence_are_drawn_together() -> None:
    found = np.arange(20) % 2 == 0
    content, notices = intervals_of(sequences(20, 40, found), 95, ground=False, block=None)
    assert (content["unit"], content["units"], notices) == ("group", 20, [])
    low, high = content["metrics"]["recall"]
    wide = 1.96 * (0.25 / 20) ** 0.5  # a mean of 20 draws, not of 800
    assert (low, high) == (pytest.approx(0.5 - wide, abs=0.06), pytest.approx(0.5 + wide, abs=0.06))
    content, _ = intervals_of(sequences(20, 40, found, groups=False), 95, ground=False, block=None)
    assert (content["unit"], content["units"]) == ("image", 800)
    assert content["metrics"]["recall"][1] - content["metrics"]["recall"][0] < wide / 2


def test_the_interval_covers_what_sequences_are_drawn_from() -> None:
    rng, covered = np.random.default_rng(0), 0
    for _ in range(20):
        evaluation = sequences(20, 3, rng.random(20) < 0.5)
        low, high = intervals_of(evaluation, 95, ground=False, block=None)[0]["metrics"]["recall"]
        covered += low <= 0.5 <= high
    assert covered >= 17


def test_one_group_defines_no_interval() -> None:
    content, notices = intervals_of(sequences(1, 30, [True]), 95, ground=False, block=None)
    assert content["units"] == 1
    assert np.isnan(list(content["metrics"].values())).all()
    assert notices == ["there are fewer than two groups to draw from: the intervals are undefined"]


@pytest.mark.parametrize(("last", "unit", "units"), [("P0003_0_800_0_800.png", "group", 4), ("P3.png", "image", 12)])
def test_patches_of_an_image_of_isaid_are_drawn_together(last: str, unit: str, units: int) -> None:
    patches = [f"P{row // 3:04}_0_800_{600 * (row % 3)}_{800 + 600 * (row % 3)}.png" for row in range(11)]
    of = replace(images(12), names=np.array([*patches, last], object))
    truth = objects(of, [(row, *BOX, 0) for row in range(12)])
    predictions = objects(of, [(row, *BOX, 0.5) for row in range(12)], scored=True)
    outcome = PROTOCOLS["isaid"].score(truth, predictions, iou="bbox")
    evaluation = Evaluation(truth=truth, predictions=predictions, outcome=outcome)
    content, _ = intervals_of(evaluation, 95, ground=False, block=None)
    assert (content["unit"], content["units"]) == (unit, units)


@pytest.mark.parametrize("name", ["uavdt-coco1", "uavdt-coco3"])
def test_images_that_are_not_judged_are_not_drawn(name: str) -> None:
    of = images(12)
    truth = objects(of, [(row, *BOX, 0) for row in range(3, 12)])
    predictions = objects(of, [(row, *BOX, 0.5) for row in range(12)], scored=True)
    outcome = PROTOCOLS[name].score(truth, predictions)
    evaluation = Evaluation(truth=truth, predictions=predictions, outcome=outcome)
    content, notices = intervals_of(evaluation, 95, ground=False, block=None)
    assert content["units"] == outcome.counts["images"] == 9
    assert notices == ["the intervals are drawn from 9 images only: they say little"]
    assert content["metrics"]["precision"] == [1.0, 1.0]
