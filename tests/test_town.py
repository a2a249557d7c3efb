"""Towns: exact truth, the same bytes from the same seed, believable geometry."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from d2det_geo.town import Town, make_town
from d2det_geo.town.canvas import Canvas, noise
from d2det_geo.town.geometry import Rectangle, Warp, area, clip, densify, inscribed_rectangle, split
from d2det_geo.town.layout import Building, draw_plan
from d2det_geo.town.light import shadow_height
from d2det_geo.town.roofs import RoofStyle, paint_roof
from d2det_geo.town.shapes import draw_shape

SQUARE = np.array([[0, 0], [4, 0], [4, 4], [0, 4]], np.float64)
OVERHEAD = np.array([0.0, 0.0, 1.0])


@pytest.fixture(scope="module")
def town() -> Town:
    return make_town(11, size=700, gsd_m=0.15)


# --- the contract -----------------------------------------------------------------------------------------


def test_same_seed_same_bytes(town):
    def digest(made: Town) -> str:
        return hashlib.sha256(made.image.tobytes() + b"".join(ring.tobytes() for ring in made.polygons)).hexdigest()

    assert digest(make_town(11, size=700, gsd_m=0.15)) == digest(town)
    assert digest(make_town(12, size=700, gsd_m=0.15)) != digest(town)


def test_image_is_what_it_says(town):
    assert town.image.shape == (3, 700, 700)
    assert town.image.dtype == np.uint8
    assert town.image.flags.c_contiguous
    assert town.gsd_m == 0.15
    assert len(town.polygons) > 20
    assert 60 < town.image.mean() < 190
    assert (town.image.std(axis=(1, 2)) > 20).all()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"seed": -1}, "seed"),
        ({"seed": 1, "size": 255}, "size"),
        ({"seed": 1, "size": 8193}, "size"),
        ({"seed": 1, "gsd_m": 0.04}, "gsd_m"),
        ({"seed": 1, "gsd_m": 1.01}, "gsd_m"),
        ({"seed": 1, "gsd_m": float("nan")}, "gsd_m"),
    ],
)
def test_arguments_out_of_range(arguments, named):
    with pytest.raises(ValueError, match=named):
        make_town(**arguments)


def test_memory_is_bounded():
    """A third of the 600 MB that 3000 px may take, at less than a third of its pixels."""
    # VmHWM, since getrusage also remembers the process that started this one
    code = (
        "import re, pathlib; from d2det_geo.town import make_town; make_town(3, 1500);"
        "print(re.search(r'VmHWM:\\s+(\\d+)', pathlib.Path('/proc/self/status').read_text())[1])"
    )
    root = Path(__file__).parents[1]
    peak_kib = int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=root).stdout)
    assert peak_kib < 220 * 1024


# --- truth ------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 10_000), side=st.floats(60, 260))
def test_buildings_are_apart_inside_and_of_their_size(seed, side):
    plan = draw_plan(np.random.default_rng(seed), side)
    outlines = np.array([shapely.Polygon(building.outline()) for building in plan.buildings], dtype=object)
    assert shapely.is_valid(outlines).all()
    assert shapely.contains(shapely.box(0, 0, side, side), outlines).all()
    areas = shapely.area(outlines)
    assert ((areas >= 30) & (areas <= 900)).all()
    one, other = shapely.STRtree(outlines).query(outlines, "intersects")
    assert (one == other).all()


def test_sizes_and_shapes_are_those_of_a_town():
    plans = [draw_plan(np.random.default_rng(seed), 300.0) for seed in range(4)]
    buildings = [building for plan in plans for building in plan.buildings]
    areas = np.array([abs(area(building.outline())) for building in buildings])
    assert 40 < np.median(areas) < 110
    assert (areas > 300).sum() >= 4
    assert {len(building.outline()) for building in buildings} == {4, 6, 8}
    angles = np.array([building.base.angle for building in buildings]) % (np.pi / 2)
    assert len(np.unique(np.round(angles, 2))) > 20


def test_picture_changes_at_the_outlines(town):
    """Colour differs most across an outline where the truth has it, not half a metre beside it."""
    contrasts = {offset: _contrast_across(town, offset) for offset in (-3.0, -1.5, 0.0, 1.5, 3.0)}
    best = max(contrasts, key=contrasts.__getitem__)
    assert best == 0.0, contrasts
    assert contrasts[0.0] > 1.4 * max(contrasts[-3.0], contrasts[3.0])


def _contrast_across(town: Town, offset: float) -> float:
    """Mean difference of grey between 1 px inside and 1 px outside of outlines moved outwards by ``offset`` px."""
    grey = town.image.mean(axis=0)
    differences = []
    for ring in town.polygons:
        moved = ring if area(ring) > 0 else ring[::-1]
        points = densify(moved, 3.0)
        along = np.roll(points, -1, 0) - points
        outwards = np.stack([along[:, 1], -along[:, 0]], 1) / np.hypot(*along.T)[:, None]
        middle = points + along / 2 + outwards * offset
        inside, outside = (np.floor(middle + outwards * step).astype(int) for step in (-1.0, 1.0))
        seen = ((inside >= 0) & (inside < 700) & (outside >= 0) & (outside < 700)).all(1)
        inside, outside = inside[seen], outside[seen]
        differences.append(np.abs(grey[inside[:, 1], inside[:, 0]] - grey[outside[:, 1], outside[:, 0]]))
    return float(np.concatenate(differences).mean())


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), angle=st.floats(0, 6.3), length=st.floats(6, 16), width=st.floats(5, 13))
def test_roof_covers_its_outline_to_the_subpixel(seed, angle, length, width):
    rng = np.random.default_rng(seed)
    base = Rectangle(np.array([10.3, 12.1]), angle, length, width)
    building = Building(base, draw_shape(rng, length, width), 5.0)
    canvas = Canvas(np.zeros((160, 140, 3), np.float32), np.zeros((160, 140), np.float32), 0.15)
    paint_roof(rng, canvas, building, RoofStyle.draw(rng, OVERHEAD))
    outline = shapely.Polygon(building.outline() / 0.15)
    shapely.prepare(outline)
    rows, columns = np.indices((160, 140)) + 0.5
    distance = shapely.distance(outline.exterior, shapely.points(columns, rows))
    inside = shapely.contains_xy(outline, columns, rows)
    painted = canvas.colour.max(axis=2) > 0
    assert painted[inside].all()
    assert not painted[~inside & (distance > 0.51)].any()
    np.testing.assert_array_equal(canvas.height > 0, inside)


# --- geometry ---------------------------------------------------------------------------------------------


def test_clip_and_split_by_hand():
    right = np.array([1.0, 0.0])
    np.testing.assert_array_equal(clip(SQUARE, right, 1.0), [[0, 0], [1, 0], [1, 4], [0, 4]])
    assert len(clip(SQUARE, right, -1.0)) == 0
    one, strip, other = split(SQUARE, np.array([1.5, 2.0]), right, 1.0)
    assert [area(part) for part in (one, strip, other)] == [4.0, 4.0, 8.0]
    np.testing.assert_array_equal(densify(SQUARE[:3], 2.0)[:3], [[0, 0], [2, 0], [4, 0]])


def test_inscribed_rectangle_by_hand():
    found = inscribed_rectangle(SQUARE + np.array([10, 20]), 0.0, 0.5)
    assert found is not None
    np.testing.assert_allclose(found.centre, [12, 22])
    np.testing.assert_allclose([found.length, found.width], [3, 3])
    assert inscribed_rectangle(SQUARE, 0.0, 2.0) is None


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), angle=st.floats(-3, 3), margin=st.floats(0, 1.5))
def test_inscribed_rectangle_keeps_its_margin(seed, angle, margin):
    rng = np.random.default_rng(seed)
    around = np.sort(rng.uniform(0, 2 * np.pi, 7))
    ring = np.stack([30 + 11 * np.cos(around), 50 + 8 * np.sin(around)], 1)
    found = inscribed_rectangle(ring, angle, margin)
    if found is not None:
        rectangle, cell = shapely.Polygon(found.corners()), shapely.Polygon(ring)
        assert rectangle.within(cell.buffer(1e-9))
        assert rectangle.distance(cell.exterior) >= margin - 1e-9
        assert rectangle.area > 0


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), side=st.floats(40, 1200))
def test_warp_folds_nothing_and_keeps_the_frame(seed, side):
    warp = Warp.draw(np.random.default_rng(seed), side)
    x, y = np.meshgrid(np.linspace(0, side, 41), np.linspace(0, side, 37))
    moved = warp(np.stack([x.ravel(), y.ravel()], 1)).reshape(37, 41, 2)
    assert moved.min() >= -1e-9
    assert moved.max() <= side + 1e-9
    np.testing.assert_allclose(moved[:, [0, -1], 0], x[:, [0, -1]], atol=1e-9)
    np.testing.assert_allclose(moved[[0, -1], :, 1], y[[0, -1]], atol=1e-9)
    down, right = np.diff(moved, axis=0)[:, :-1], np.diff(moved, axis=1)[:-1]
    assert (right[..., 0] * down[..., 1] - right[..., 1] * down[..., 0] > 0).all()


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), length=st.floats(4, 40), width=st.floats(4, 30))
def test_outline_is_the_union_of_its_wings(seed, length, width):
    shape = draw_shape(np.random.default_rng(seed), length, width)
    outline, wings = shapely.Polygon(shape.outline), shapely.box(*shape.wings.T)
    assert outline.is_valid
    assert shapely.symmetric_difference(outline, shapely.union_all(wings)).area < 1e-6
    np.testing.assert_allclose(outline.bounds, [-length / 2, -width / 2, length / 2, width / 2])
    sides = shape.wings[:, 2:] - shape.wings[:, :2]
    assert (sides >= min(2.2, length, width)).all()


# --- painting ---------------------------------------------------------------------------------------------


def test_polygon_distance_equals_shapely():
    ring = np.array([[-3, -2], [3, -2], [3, 0], [0.5, 0], [0.5, 2], [-3, 2]], np.float64)
    canvas = Canvas(np.zeros((60, 50, 3), np.float32), np.zeros((60, 50), np.float32), 0.25)
    frame = Rectangle(np.array([6.0, 7.0]), 0.4, 6.0, 4.0)
    patch = canvas.patch(frame, 1.0)
    rows, columns = np.nonzero(np.ones(patch.u.shape))
    points = shapely.points(patch.u[rows, columns], patch.v[rows, columns])
    outline = shapely.Polygon(ring)
    expected = outline.exterior.distance(points) * np.where(shapely.contains(outline, points), 1, -1)
    np.testing.assert_allclose(patch.polygon(ring)[rows, columns], expected, atol=1e-5)


def test_patch_frame_by_hand():
    canvas = Canvas(np.zeros((40, 30, 3), np.float32), np.zeros((40, 30), np.float32), 0.5)
    patch = canvas.patch(Rectangle(np.array([5.0, 8.0]), np.pi / 2, 4.0, 2.0), 0.0)
    patch.paint(patch.box(0.0, 0.0, 4.0, 2.0), np.array([1.0, 0.5, 0.25], np.float32), 3.0)
    rows, columns = np.nonzero(canvas.height)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (12, 19, 8, 11)
    np.testing.assert_array_equal(canvas.colour[15, 10], np.array([1.0, 0.5, 0.25], np.float32))


def test_half_covered_pixels_are_half_painted():
    canvas = Canvas(np.zeros((9, 7, 3), np.float32), np.zeros((9, 7), np.float32), 1.0)
    patch = canvas.patch(Rectangle(np.array([3.5, 4.0]), 0.0, 3.0, 5.0), 2.0)
    patch.paint(patch.box(0.0, 0.0, 3.0, 5.0), np.ones(3, np.float32))
    np.testing.assert_allclose(canvas.colour[:, 3, 0], [0, 0.5, 1, 1, 1, 1, 0.5, 0, 0])


def test_noise_is_centred_and_as_coarse_as_asked():
    field = noise(np.random.default_rng(0), (300, 260), 10.0)
    assert field.shape == (300, 260)
    assert abs(field.mean()) < 0.15
    assert 0.4 < field.std() < 1.2
    fine = noise(np.random.default_rng(0), (300, 260), 1.6)
    assert _roughness(fine) > 3 * _roughness(field)


def _roughness(field: NDArray[np.float32]) -> float:
    return float(np.abs(np.diff(field, axis=0)).mean())


@pytest.mark.parametrize(("sun_x", "sun_y"), [(1, 0), (-1, 0), (0, 1), (0, -1)])
def test_shadow_by_hand(sun_x, sun_y):
    """A post of 6 m under a sun at 45 degrees: the shadow is 6 m long and points away from the sun."""
    height = np.zeros((61, 51), np.float32)
    height[30, 25] = 6.0
    top = shadow_height(height, np.array([sun_x, sun_y, 1]) / np.sqrt(2), 0.5)
    rows, columns = np.nonzero(top > 0)
    lengths = (rows - 30) * -sun_y + (columns - 25) * -sun_x
    assert (lengths.min(), lengths.max()) == (0, 11)
    assert len(rows) == 12
    assert top[30 - 4 * sun_y, 25 - 4 * sun_x] == pytest.approx(4.0)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 1000), azimuth=st.floats(0, 6.3), elevation=st.floats(0.6, 1.2))
def test_shadow_is_the_running_maximum(seed, azimuth, elevation):
    """Oracle: along the four axes, step by step."""
    azimuth = round(azimuth / (np.pi / 2)) * np.pi / 2
    height = np.random.default_rng(seed).uniform(0, 3, (13, 17)).astype(np.float32)
    sun = np.array([*(np.cos(elevation) * np.array([np.cos(azimuth), np.sin(azimuth)])), np.sin(elevation)])
    expected = height.copy()
    dx, dy = round(np.cos(azimuth)), round(np.sin(azimuth))
    for step in range(1, 17):
        for row in range(13):
            for column in range(17):
                y, x = row + dy * step, column + dx * step
                if 0 <= y < 13 and 0 <= x < 17:
                    seen = height[y, x] - np.tan(elevation) * 0.3 * step
                    expected[row, column] = max(expected[row, column], seen)
    np.testing.assert_allclose(shadow_height(height, sun, 0.3), expected, atol=1e-4)
