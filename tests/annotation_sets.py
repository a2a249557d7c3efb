"""Annotations to test formats with: drawn by hypothesis, and compared column by column."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import shapely
from hypothesis import strategies as st

from d2det_geo.annotations import REGION, Annotations, Images, Runs
from d2det_geo.data.formats.coco_outlines import filled
from d2det_geo.runs import runs_of

NAMES = ("car", "boat, large", "Tree & co <1>", "plåne")


def images(*names: str, size: tuple[int, int] = (60, 40)) -> Images:
    count = len(names)
    return Images(filled(list(names)), np.arange(count) * 3 + 5, np.tile(np.array(size, np.int64), (count, 1)))


def annotations(rows: list[dict[str, Any]], of: Images, classes: tuple[str, ...], **more: Any) -> Annotations:
    """Make annotations of rows with image, box, label, and perhaps ignored, score, outline."""
    outlines = [row.get("outline") for row in rows]
    scored = bool(rows) and "score" in rows[0]
    return Annotations(
        images=of,
        classes=classes,
        image=np.array([row["image"] for row in rows], np.int64),
        boxes=np.array([row["box"] for row in rows], np.float64).reshape(-1, 4),
        labels=np.array([row["label"] for row in rows], np.int64),
        ignored=np.array([row.get("ignored", False) for row in rows], np.bool_),
        scores=np.array([row["score"] for row in rows], np.float64) if scored else None,
        outlines=filled(outlines) if any(outline is not None for outline in outlines) else None,
        **more,
    )


def _coordinates(most: float) -> st.SearchStrategy[float]:
    return st.floats(0, most, allow_nan=False, width=32)


@st.composite
def boxes(draw: st.DrawFn, size: tuple[int, int] = (60, 40)) -> tuple[float, float, float, float]:
    """Boxes in the image, of a hundredth px at least, that COCO's x + width gives back as they are."""
    x, y = draw(_coordinates(size[0] - 1)), draw(_coordinates(size[1] - 1))
    width, height = draw(st.integers(1, 400)) / 64, draw(st.integers(1, 400)) / 64
    x, y = round(x * 64) / 64, round(y * 64) / 64
    return x, y, x + width, y + height


@st.composite
def polygons(draw: st.DrawFn) -> shapely.Geometry:
    """Rings of any shape, one or several: crossing and flat ones, too."""
    points = st.tuples(_coordinates(60), _coordinates(40))
    rings = draw(st.lists(st.lists(points, min_size=3, max_size=6), min_size=1, max_size=3))
    parts = [shapely.Polygon(ring) for ring in rings]
    return parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)


@st.composite
def masks(draw: st.DrawFn, size: tuple[int, int] = (60, 40)) -> Runs:
    """Masks over the whole image."""
    cells = np.zeros((size[1], size[0]), np.bool_)
    for _ in range(draw(st.integers(0, 3))):
        x, y = draw(st.integers(0, size[0] - 1)), draw(st.integers(0, size[1] - 1))
        cells[y : y + draw(st.integers(1, 9)), x : x + draw(st.integers(1, 9))] ^= True
    return runs_of(cells)


@st.composite
def sets(draw: st.DrawFn, *, scored: bool = False, regions: bool = False, outlines: Any = None) -> Annotations:
    """Sets of up to three images of 60 x 40 px and up to three classes."""
    of = images(*draw(st.sampled_from([("a.png",), ("d/a.png", "b 1.png"), ("P2.png", "P10.png", "x/y/z.png")])))
    classes = NAMES[: draw(st.integers(1, len(NAMES)))]
    labels = st.integers(REGION if regions else 0, len(classes) - 1)
    rows = draw(st.lists(_row(len(of), labels, scored, outlines), max_size=6))
    result = annotations(rows, of, classes)
    return result if not scored else _with_scores(result)


def _with_scores(found: Annotations) -> Annotations:
    return found if found.scores is not None else replace(found, scores=np.zeros(0))


@st.composite
def _row(draw: st.DrawFn, count: int, labels: Any, scored: bool, outlines: Any) -> dict[str, Any]:
    label = draw(labels)
    row = {"image": draw(st.integers(0, count - 1)), "box": draw(boxes()), "label": label}
    row["ignored"] = label == REGION or (not scored and draw(st.booleans()))
    if scored:
        row["score"] = draw(st.floats(0, 1, allow_nan=False))
    if outlines is not None:
        row["outline"] = draw(st.none() | outlines)
    return row


def assert_same(found: Annotations, expected: Annotations, tolerance: float = 0.0) -> None:
    """Compare all but areas, columns and numbers of images and classes; rows by image, in the order of each."""
    assert found.images.names.tolist() == expected.images.names.tolist()
    assert np.array_equal(found.images.sizes, expected.images.sizes)
    assert found.classes == expected.classes
    ours, theirs = (part.rows(part.by_image()[0]) for part in (found, expected))
    assert ours.image.tolist() == theirs.image.tolist()
    assert np.abs(ours.boxes - theirs.boxes).max(initial=0) <= tolerance
    assert ours.labels.tolist() == theirs.labels.tolist()
    assert ours.ignored.tolist() == theirs.ignored.tolist()
    assert (ours.scores is None) == (theirs.scores is None)
    if ours.scores is not None and theirs.scores is not None:
        assert np.abs(ours.scores - theirs.scores).max(initial=0) <= tolerance
    none = np.full(len(ours), None, object)
    pairs = zip(
        none if ours.outlines is None else ours.outlines,
        none if theirs.outlines is None else theirs.outlines,
        strict=True,
    )
    for one, other in pairs:
        same = shapely.equals_exact(one, other, tolerance) if isinstance(other, shapely.Geometry) else one == other
        assert same, (one, other)
