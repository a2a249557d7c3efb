import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2det_geo.annotations import Annotations, Images
from d2det_geo.metrics import bootstrap
from d2det_geo.metrics.bootstrap import confidence_intervals
from d2det_geo.metrics.protocols import PROTOCOLS

BOXED = [name for name in PROTOCOLS if "bbox" in PROTOCOLS[name].ious]


def make_set(seed, images=6, classes=("a", "b", "c")):
    """Objects and predictions near them; no two scores are equal."""
    rng = np.random.default_rng(seed)
    frame = Images(np.array([f"{i}" for i in range(images)], object), np.arange(images) + 1, np.full((images, 2), 200))
    count = int(rng.integers(0, 30))
    corner, size = rng.integers(0, 100, (count, 2)), rng.integers(8, 30, (count, 2))
    truth = Annotations(
        frame,
        classes,
        rng.integers(0, images, count),
        np.hstack([corner, corner + size]).astype(float),
        rng.integers(0, len(classes), count),
        rng.random(count) < 0.15,
    )
    near = rng.integers(0, max(count, 1), 2 * count)
    predictions = Annotations(
        frame,
        classes,
        truth.image[near],
        truth.boxes[near] + rng.integers(-2, 3, (len(near), 4)),
        np.where(rng.random(len(near)) < 0.8, truth.labels[near], 0),
        np.zeros(len(near), bool),
        rng.permutation(len(near)) / max(len(near), 1),
    )
    order = np.argsort(-predictions.scores)  # VisDrone wants files sorted
    return truth, predictions.rows(order)


def copied(truth, predictions, weights):
    """Literally repeat the images as often as they were drawn."""
    drawn = np.repeat(np.arange(len(weights)), weights)
    images = Images(np.array([str(n) for n in range(len(drawn))], object), np.arange(len(drawn)) + 1,
                    truth.images.sizes[drawn])  # fmt: skip
    sets = []
    for part in (truth, predictions):
        rows = [np.flatnonzero(part.image == image) for image in drawn]
        image = np.repeat(np.arange(len(drawn)), [len(some) for some in rows])
        taken = part.rows(np.concatenate([np.zeros(0, np.intp), *rows]))
        sets.append(replace(taken, images=images, image=image))
    return sets


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(BOXED))
def test_weights_equal_copies(seed, name):
    truth, predictions = make_set(seed)
    score = PROTOCOLS[name].score
    outcome = score(truth, predictions, iou="bbox")
    drawn = np.random.default_rng(seed).integers(0, 6, 6)
    weights = np.bincount(drawn, minlength=6)
    sample = bootstrap._Sample.of(outcome, truth, predictions, None)
    numbers = bootstrap._numbers(outcome, sample, weights[None])
    threshold = outcome.metrics["score_threshold"]
    again = score(*copied(truth, predictions, weights), iou="bbox", score=threshold).metrics
    for key, values in numbers.items():
        if key in again and key != "ap_percent":
            assert values[0] == pytest.approx(again[key], abs=1e-12, nan_ok=True), key
    assert {"ap", "precision", "recall", "f1"} <= numbers.keys()


def test_one_of_each_is_the_outcome_itself():
    truth, predictions = make_set(5, images=9)
    outcome = PROTOCOLS["coco"].score(truth, predictions, iou="bbox")
    sample = bootstrap._Sample.of(outcome, truth, predictions, None)
    numbers = bootstrap._numbers(outcome, sample, np.ones((1, 9), np.int64))
    for key in ("ap", "ap50", "ap75", "precision", "recall", "f1"):
        assert numbers[key][0] == pytest.approx(outcome.metrics[key], abs=1e-12)


def test_intervals_hold_the_number_and_repeat():
    truth, predictions = make_set(8, images=12)
    outcome = PROTOCOLS["uavdt"].score(truth, predictions)
    ends = confidence_intervals(outcome, truth, predictions, resamples=150)
    assert ends == confidence_intervals(outcome, truth, predictions, resamples=150)
    assert ends != confidence_intervals(outcome, truth, predictions, resamples=150, seed=1)
    assert list(ends) == ["ap", "ap_percent", "precision", "recall", "f1"]
    for name, (lower, upper) in ends.items():
        assert lower <= outcome.metrics[name] <= upper
    assert ends["ap_percent"] == tuple(round(100 * end, 2) for end in ends["ap"])
    narrow = confidence_intervals(outcome, truth, predictions, resamples=150, level=50)
    assert narrow["ap"][1] - narrow["ap"][0] < ends["ap"][1] - ends["ap"][0]


def test_blocks_are_drawn_instead_of_images():
    truth, predictions = make_set(8)
    outcome = PROTOCOLS["coco"].score(truth, predictions, iou="bbox")
    names = np.array(["north", "south", "north", "south", "north", "south"], object)
    drawn = confidence_intervals(
        outcome, truth, predictions, resamples=60, blocks=(names[truth.image], names[predictions.image])
    )
    one = confidence_intervals(
        outcome, truth, predictions, resamples=5, blocks=(np.zeros(len(truth)), np.zeros(len(predictions)))
    )
    assert one["ap"] == pytest.approx((outcome.metrics["ap"],) * 2)  # a single block is always drawn
    assert drawn["ap"][0] < drawn["ap"][1]


def test_resamples_without_truth_define_nothing():
    truth, predictions = make_set(8)
    empty = truth.rows(np.zeros(len(truth), bool))
    outcome = PROTOCOLS["coco"].score(empty, predictions, iou="bbox")
    ends = confidence_intervals(outcome, empty, predictions, resamples=5)
    assert all(math.isnan(end) for pair in ends.values() for end in pair)


@pytest.mark.parametrize("level", [0, 100, 120])
def test_levels_are_per_cent(level):
    truth, predictions = make_set(8)
    outcome = PROTOCOLS["uavdt"].score(truth, predictions)
    with pytest.raises(ValueError, match=f"between 0 and 100, got {level}"):
        confidence_intervals(outcome, truth, predictions, level=level)
