from dataclasses import replace

import numpy as np
import pyproj
import pytest
import shapely
import shapely.affinity
from affine import Affine
from hypothesis import example, given, settings
from hypothesis import strategies as st

from d2det_geo.detections import MASK_SIDE, Detections, Pieces
from d2det_geo.vector.polygons import _contours, box_polygons, mask_polygons, to_world

FINE = 12  # sub-cells per side of a cell in the rasterised truth
UTM = pyproj.CRS(32614)


def detections(masks, boxes):
    count = len(boxes)
    return Detections(
        boxes=np.asarray(boxes, np.float64).reshape(-1, 4),
        scores=np.ones(count, np.float32),
        labels=np.zeros(count, np.int64),
        masks=np.asarray(masks, np.float32).reshape(-1, MASK_SIDE, MASK_SIDE),
    )


def rasterised(inside):
    """Give the share of each cell that ``inside(x, y)`` covers; x, y in cells."""
    ticks = (np.arange(MASK_SIDE * FINE) + 0.5) / FINE
    fine = inside(ticks[None, :], ticks[:, None])
    return fine.reshape(MASK_SIDE, FINE, MASK_SIDE, FINE).mean(axis=(1, 3))


def exact_coverage(left, top, right, bottom):
    """Give the share of each cell that a rectangle covers, in cells."""
    cells = np.arange(MASK_SIDE)

    def along(low, high):
        return np.clip(np.minimum(high, cells + 1) - np.maximum(low, cells), 0, 1)

    return np.outer(along(top, bottom), along(left, right))


def outline(mask, box=(0, 0, MASK_SIDE, MASK_SIDE)):
    return mask_polygons(detections([mask], [box]))[0]


def iou(first, second):
    return first.intersection(second).area / first.union(second).area


def test_full_mask_is_exactly_the_box():
    box = (103.25, 7.5, 148.125, 39.75)
    polygon = outline(np.ones((MASK_SIDE, MASK_SIDE)), box)
    assert polygon.symmetric_difference(shapely.box(*box)).area < 1e-9
    assert len(polygon.exterior.coords) == 5


def test_cells_are_where_the_box_puts_them():
    """Rows 7..13 and columns 14..20 of the mask over a box 56 wide and 112 tall: x 28 to 42, y 28 to 56."""
    mask = np.zeros((MASK_SIDE, MASK_SIDE))
    mask[7:14, 14:21] = 1
    polygon = outline(mask, (100, 200, 156, 312))
    assert polygon.bounds == pytest.approx((128, 228, 142, 256))


def test_mask_on_one_edge_ends_on_it():
    mask = np.zeros((MASK_SIDE, MASK_SIDE))
    mask[:10] = 1
    polygon = outline(mask, (0, 0, 28, 56))
    assert polygon.symmetric_difference(shapely.box(0, 0, 28, 20)).area < 1e-9


@settings(deadline=None, max_examples=20)
@given(
    rx=st.floats(5, 12), ry=st.floats(5, 12), x=st.floats(13, 15), y=st.floats(13, 15), angle=st.floats(0, 3.1)
)  # radii in cells, over a box that is not square
def test_ellipse_keeps_area_and_shape(rx, ry, x, y, angle):
    cos, sin = np.cos(angle), np.sin(angle)
    mask = rasterised(
        lambda u, v: ((cos * (u - x) + sin * (v - y)) / rx) ** 2 + ((cos * (v - y) - sin * (u - x)) / ry) ** 2 <= 1
    )
    turn = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    a, b = rx * np.cos(turn), ry * np.sin(turn)
    truth = shapely.Polygon(np.column_stack([x + cos * a - sin * b, y + sin * a + cos * b]) * [2, 0.75] + [10, 20])
    found = outline(mask, (10, 20, 10 + 2 * MASK_SIDE, 20 + 0.75 * MASK_SIDE))
    assert found.area == pytest.approx(truth.area, rel=0.02)
    assert iou(found, truth) > 0.97


def test_shapes_along_cells_lose_only_their_corners():
    """A contour cuts an eighth of a cell off each outer corner, and fills it in at an inner one."""
    rectangle = np.zeros((MASK_SIDE, MASK_SIDE))
    rectangle[3:20, 5:16] = 1
    assert outline(rectangle).area == pytest.approx(17 * 11 - 4 / 8)
    rectangle[3:9, 5:11] = 0
    assert outline(rectangle).area == pytest.approx(17 * 11 - 36 - 5 / 8 + 1 / 8)


@settings(deadline=None, max_examples=25)
@example(left=1.625, top=1.625, width=12.5, height=12.75, notch=0)
@example(left=1.5, top=1.625, width=12.75, height=12.75, notch=0)
@given(
    left=st.floats(1, 6),
    top=st.floats(1, 6),
    width=st.floats(12, 20),
    height=st.floats(12, 20),
    notch=st.floats(0, 0.6),
)
def test_rectangles_and_l_shapes_are_off_by_little_more_than_their_corners(left, top, width, height, notch):
    """An edge is off by what log-odds make of coverage, a corner by a quarter of a cell.

    An edge that covers a share c >= 1/2 of its cells lies c - 1/2 beyond their centres. The line from the log-odds z of
    c, cut off at s = 3.5, to -s in the next cells puts it z / (z + s) beyond, which differs by -0.019 to 0.029 cells;
    c < 1/2 mirrors this. A cell at a corner has the product of two coverages: a search over all sizes found at most
    0.14 of a cell more at each, and 0.245 where the arms of a notch are under two cells.
    """
    right, bottom = left + width, top + height
    inner_left, inner_bottom = right - width * notch, top + height * notch
    truth = shapely.box(left, top, right, bottom).difference(shapely.box(inner_left, top, right, inner_bottom))
    mask = exact_coverage(left, top, right, bottom) - exact_coverage(inner_left, top, right, inner_bottom)
    corners = len(truth.exterior.coords) - 1
    assert outline(mask).symmetric_difference(truth).area < 0.03 * truth.length + corners * 0.26


def test_area_is_unbiased_over_many_shapes():
    rng = np.random.default_rng(3)
    ratios = []
    for _ in range(60):
        x, y, rx, ry = rng.uniform([12, 12, 4, 4], [16, 16, 11, 11])
        mask = rasterised(lambda u, v, x=x, y=y, rx=rx, ry=ry: ((u - x) / rx) ** 2 + ((v - y) / ry) ** 2 <= 1)
        ratios.append(outline(mask).area / (np.pi * rx * ry))
    assert np.mean(ratios) == pytest.approx(1, abs=0.01)


def test_holes_survive():
    mask = rasterised(lambda x, y: (np.hypot(x - 14, y - 14) < 12) & (np.hypot(x - 14, y - 14) > 5))
    polygon = outline(mask)
    assert len(polygon.interiors) == 1
    assert polygon.area == pytest.approx(np.pi * (144 - 25), rel=0.01)


def test_parts_survive_and_specks_do_not():
    mask = np.zeros((MASK_SIDE, MASK_SIDE))
    mask[2:22, 2:12] = 1
    mask[4:10, 18:24] = 1
    mask[26, 26] = 1
    polygon = outline(mask)
    assert polygon.geom_type == "MultiPolygon"
    assert sorted(round(part.area) for part in polygon.geoms) == [36, 200]


def stitched(masks, boxes, hull):
    """Give one object of pieces, whose own mask says nothing, before one that is as its mask says."""
    pieces = Pieces(np.zeros(len(boxes), np.int64), np.array(boxes, np.float64), np.array(masks, np.float32))
    coarse, whole = np.zeros((MASK_SIDE, MASK_SIDE)), np.ones((MASK_SIDE, MASK_SIDE))
    return replace(detections([coarse, whole], [hull, (0, 500, 7, 507)]), pieces=pieces)


def test_a_piece_may_be_a_speck_of_its_object():
    ones = np.ones((3, MASK_SIDE, MASK_SIDE))
    boxes = [(0, 0, 200, 100), (210, 0, 250, 40), (300, 300, 302, 302)]
    polygon, other = mask_polygons(stitched(ones, boxes, (0, 0, 302, 302)))
    assert sorted(part.area for part in polygon.geoms) == pytest.approx([1600, 20_000])
    assert other.bounds == (0, 500, 7, 507)


def test_a_speck_of_its_piece_may_be_the_end_of_a_wing():
    body, beside = np.ones((2, MASK_SIDE, MASK_SIDE))
    beside[:, 2:8] = beside[:3, :2] = beside[5:, :2] = 0  # two cells that touch the body, and 20 x 28 beside it
    polygon = mask_polygons(stitched([body, beside], [(0, 0, 200, 100), (199, 0, 227, 28)], (0, 0, 227, 100)))[0]
    assert polygon.covers(shapely.Point(200.5, 4))


def test_the_coarse_mask_of_an_object_of_pieces_is_not_outlined(monkeypatch):
    contoured = []

    def counted(masks, threshold):
        contoured.append(len(masks))
        return _contours(masks, threshold)

    monkeypatch.setattr("d2det_geo.vector.polygons._contours", counted)
    ones = np.ones((3, MASK_SIDE, MASK_SIDE))
    mask_polygons(stitched(ones, [(0, 0, 9, 9), (5, 0, 15, 9), (12, 0, 20, 9)], (0, 0, 20, 9)))
    assert contoured == [1, 3]


def test_empty_masks_and_flat_boxes_give_empty_polygons_in_their_place():
    masks = np.ones((4, MASK_SIDE, MASK_SIDE))
    masks[1] = 0.5
    boxes = [(0, 0, 5, 9), (0, 0, 5, 9), (3, 3, 3, 7), (10, 20, 13, 27)]
    polygons = mask_polygons(detections(masks, boxes))
    assert [polygon.is_empty for polygon in polygons] == [False, True, True, False]
    assert polygons[3].bounds == (10, 20, 13, 27)


def test_no_detections():
    assert mask_polygons(Detections.empty(masks=True)).shape == (0,)
    with pytest.raises(ValueError, match="no masks"):
        mask_polygons(Detections.empty(masks=False))


def test_threshold_moves_the_outline():
    """Log-odds rise by a half per cell, from 0 in the middle of a box of 112 px."""
    odds = np.broadcast_to((np.arange(MASK_SIDE) + 0.5 - MASK_SIDE / 2) / 2, (MASK_SIDE, MASK_SIDE))
    for threshold in (0.25, 0.5, 0.8):
        polygon = mask_polygons(detections([1 / (1 + np.exp(-odds))], [(0, 0, 112, 40)]), threshold)[0]
        left = 4 * (14 + 2 * np.log(threshold / (1 - threshold)))
        assert polygon.bounds == pytest.approx((left, 0, 112, 40), abs=1e-4)


def test_an_outline_may_end_between_the_last_cells_and_the_edge():
    """Log-odds fall by one per cell and reach 0 a quarter of a cell before the box's edge."""
    odds = np.broadcast_to(MASK_SIDE - 0.25 - (np.arange(MASK_SIDE) + 0.5), (MASK_SIDE, MASK_SIDE))
    polygon = outline(1 / (1 + np.exp(-odds)))
    assert polygon.bounds == pytest.approx((0, 0, MASK_SIDE - 0.25, MASK_SIDE), abs=1e-4)
    polygon = outline(1 / (1 + np.exp(-odds.T)))
    assert polygon.bounds == pytest.approx((0, 0, MASK_SIDE, MASK_SIDE - 0.25), abs=1e-4)
    polygon = outline(1 / (1 + np.exp(-odds[:, ::-1])))
    assert polygon.bounds == pytest.approx((0.25, 0, MASK_SIDE, MASK_SIDE), abs=1e-4)


@settings(deadline=None, max_examples=10)
@given(
    radii=st.tuples(st.floats(20, 60), st.floats(20, 60)), angle=st.floats(0, 3.1), steep=st.floats(0.8, 3)
)  # radii in px, steepness in log-odds per cell
def test_the_networks_mask_of_a_smooth_shape_in_its_own_box_is_exact(radii, angle, steep):
    truth = shapely.affinity.rotate(
        shapely.affinity.scale(shapely.Point(100, 200).buffer(1, quad_segs=200), *radii), angle * 57.3
    )
    left, top, right, bottom = truth.bounds
    ticks = (np.arange(MASK_SIDE) + 0.5) / MASK_SIDE
    x, y = np.meshgrid(left + ticks * (right - left), top + ticks * (bottom - top))
    points = shapely.points(x, y)
    far = shapely.distance(truth.exterior, points) * np.where(shapely.contains(truth, points), 1, -1)
    cell = np.sqrt((right - left) * (bottom - top)) / MASK_SIDE
    found = outline(1 / (1 + np.exp(-steep * far / cell)), truth.bounds)
    assert found.area == pytest.approx(truth.area, rel=0.003)
    assert iou(found, truth) > 0.994


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), noise=st.floats(0, 1), threshold=st.floats(0.05, 0.95))
def test_noise_gives_valid_polygons_inside_their_boxes(seed, noise, threshold):
    rng = np.random.default_rng(seed)
    masks = (1 - noise) * (rng.random((9, 1, 1)) > 0.3) + noise * rng.random((9, MASK_SIDE, MASK_SIDE))
    masks[rng.random(masks.shape) < 0.1] = 0.5  # cells exactly on a common threshold
    corners = rng.uniform(0, 500, (9, 2))
    boxes = np.hstack([corners, corners + rng.uniform(3, 90, (9, 2))])
    polygons = mask_polygons(detections(masks, boxes), threshold)
    assert shapely.is_valid(polygons).all()
    for polygon, box in zip(polygons, boxes, strict=True):
        assert polygon.geom_type in {"Polygon", "MultiPolygon"}
        assert polygon.is_empty or shapely.box(*box).buffer(1e-9).contains(polygon)


def test_batches_join_without_a_seam(monkeypatch):
    rng = np.random.default_rng(0)
    many = detections(rng.random((11, MASK_SIDE, MASK_SIDE)), np.tile([0, 0, 30, 50], (11, 1)))
    expected = mask_polygons(many)
    monkeypatch.setattr("d2det_geo.vector.polygons._BATCH", 4)
    assert shapely.equals_exact(mask_polygons(many), expected, tolerance=1e-9).all()


def test_box_polygons():
    polygons = box_polygons(np.array([[1.0, 2, 4, 8], [5, 5, 5, 9]]))
    assert polygons[0].bounds == (1, 2, 4, 8)
    assert polygons[1].is_empty
    assert box_polygons(np.zeros((0, 4))).shape == (0,)


TRANSFORMS = {
    "north-up": Affine(0.15, 0, 600_000, 0, -0.15, 3_000_000),
    "south-up": Affine(0.15, 0, 600_000, 0, 0.15, 3_000_000),
    "rotated": Affine(0.13, 0.075, 600_000, 0.06, -0.14, 3_000_000),
    "lat/lon": Affine(1.5e-6, 0, -99, 0, -1.4e-6, 27),
}


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_to_world_maps_every_vertex_and_keeps_orientation_and_holes(transform):
    ring = rasterised(lambda x, y: (np.hypot(x - 14, y - 14) < 12) & (np.hypot(x - 14, y - 14) > 5))
    pixels = mask_polygons(detections([ring, np.ones_like(ring)], [(5, 7, 60, 90), (100, 30, 131, 47)]))
    world = to_world(pixels, transform)
    assert shapely.is_valid(world).all()
    assert all(polygon.exterior.is_ccw for polygon in world)
    assert [len(polygon.interiors) for polygon in world] == [1, 0]
    assert not world[0].interiors[0].is_ccw
    a, b, c, d, e, f = transform[:6]
    corners = [(a * x + b * y + c, d * x + e * y + f) for x, y in [(100, 30), (131, 30), (131, 47), (100, 47)]]
    found = sorted(set(world[1].exterior.coords))
    np.testing.assert_allclose(found, sorted(corners), rtol=0, atol=1e-8)
    np.testing.assert_allclose(shapely.area(world), shapely.area(pixels) * abs(transform.determinant), rtol=1e-4)


def test_masks_of_one_cell_are_refused():
    one = Detections(
        np.array([[0.0, 0, 9, 9]]), np.ones(1, np.float32), np.zeros(1, np.int64), np.ones((1, 1, 1), np.float32)
    )
    with pytest.raises(ValueError, match="at least 2 x 2"):
        mask_polygons(one)
