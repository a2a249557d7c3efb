import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.affinity import rotate, scale, translate

from d2det_geo.detections import MASK_SIDE, Detections
from d2det_geo.vector.footprints import regularized, simplified
from d2det_geo.vector.polygons import mask_polygons
from tests.bench.seam_oracle import coverage

FAR = (600_000, 3_000_000)  # where metric coordinates have few digits left


def building(kind, width, height, p, q):
    whole = shapely.box(0, 0, width, height)
    notches = {
        "rectangle": [],
        "L": [(p, q, 1, 1)],
        "T": [(0, q, p / 2, 1), (1 - p / 2, q, 1, 1)],
        "U": [(1 / 3, q, 2 / 3, 1)],
        "courtyard": [(0.3, 0.3, 0.7, 0.7)],
    }
    boxes = [shapely.box(a * width, b * height, c * width, d * height) for a, b, c, d in notches[kind]]
    return whole.difference(shapely.union_all(boxes))


def turned(shape, angle):
    return translate(rotate(shape, angle, origin=(0, 0)), *FAR)


def seen(truth):
    """Give outlines of buildings as from masks of 28 x 28: corners rounded, edges uneven."""
    boxes, count = shapely.bounds(truth), len(truth)
    return mask_polygons(
        Detections(boxes, np.ones(count, np.float32), np.zeros(count, np.int64), coverage(truth, boxes))
    )


def iou(first, second):
    return shapely.area(shapely.intersection(first, second)) / shapely.area(shapely.union(first, second))


def cosines(polygon):
    """Measure how far each corner is from square."""
    found = []
    for ring in shapely.get_rings(shapely.get_parts(polygon)):
        edges = np.diff(shapely.get_coordinates(ring), axis=0)
        edges /= np.hypot(*edges.T)[:, None]
        found += list((edges * np.roll(edges, 1, axis=0)).sum(axis=1))
    return np.abs(found)


@pytest.mark.parametrize("kind", ["rectangle", "L", "T", "U", "courtyard"])
def test_buildings_from_masks_get_their_corners_back(kind):
    rng = np.random.default_rng(len(kind))
    sizes, notches = rng.uniform(10, 30, (60, 2)), rng.uniform(0.35, 0.65, (60, 2))
    shapes = [building(kind, *size, *notch) for size, notch in zip(sizes, notches, strict=True)]
    truth = np.array([turned(shape, angle) for shape, angle in zip(shapes, rng.uniform(0, 90, 60), strict=True)])
    outlines = seen(truth)
    found = regularized(outlines)
    assert shapely.is_valid(found).all()
    assert (shapely.get_num_coordinates(found) == shapely.get_num_coordinates(truth)).all()
    assert max(cosines(polygon).max() for polygon in found) < 1e-6
    before, after = iou(outlines, truth), iou(found, truth)
    assert (after > before).mean() > 0.9
    assert after.mean() > max(before.mean() + 0.0015, 0.994)
    assert np.mean(shapely.area(found) / shapely.area(outlines)) == pytest.approx(1, abs=0.005)
    assert np.mean(shapely.area(found) / shapely.area(truth)) == pytest.approx(1, abs=0.01)


@settings(deadline=None, max_examples=25)
@given(
    kind=st.sampled_from(["rectangle", "L", "T", "U", "courtyard"]),
    size=st.tuples(st.floats(5, 80), st.floats(5, 80)),
    notch=st.tuples(st.floats(0.3, 0.7), st.floats(0.3, 0.7)),
    angle=st.floats(-180, 180),
)
def test_right_angles_stay_where_they_are(kind, size, notch, angle):
    truth = turned(building(kind, *size, *notch), angle)
    found = regularized(np.array([shapely.segmentize(truth, 1)]))[0]
    assert found.symmetric_difference(truth).area < 1e-6 * truth.area
    assert cosines(found).max() < 1e-6


def test_steps_of_the_outline_are_evened_out_at_their_mean():
    """A wall of 20 m lies half at 10 m and half at 10.4 m: in the footprint all of it at 10.2 m."""
    corners = [(0, 0), (20, 0), (20, 10), (15, 10), (15, 10.4), (5, 10.4), (5, 10), (0, 10)]
    footprint = regularized(np.array([shapely.Polygon(corners)]))[0]
    assert footprint.normalize().equals_exact(shapely.box(0, 0, 20, 10.2).normalize(), 1e-9)


def polygon(*corners):
    return shapely.Polygon(corners)


def regular(count):
    turn = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return shapely.Polygon(10 * np.column_stack([np.cos(turn), np.sin(turn)]))


OTHERS = {
    "circle": regular(64),
    "ellipse": scale(regular(64), 2, 1),
    "capsule": shapely.LineString([(0, 0), (20, 0)]).buffer(5),
    "triangle": regular(3),
    "right triangle": polygon((0, 0), (10, 0), (0, 10)),
    "pentagon": regular(5),
    "hexagon": regular(6),
    "octagon": regular(8),
    "rhomboid": polygon((0, 0), (10, 0), (15, 8), (5, 8)),
    "cut corner": polygon((0, 0), (20, 0), (20, 5), (5, 20), (0, 20)),
    "oblique wing": shapely.union(shapely.box(0, 0, 20, 6), rotate(shapely.box(0, 0, 6, 14), 45, origin=(0, 0))),
}


@pytest.mark.parametrize("outline", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("angle", [0, 17])
def test_what_is_not_right_angled_stays_as_it_is(outline, angle):
    outline = turned(outline, angle)
    assert regularized(np.array([outline]))[0].equals_exact(outline, 0)


def test_rounded_corners_become_square():
    truth = turned(building("L", 20, 14, 0.5, 0.5), 33)
    outline = truth.buffer(-1).buffer(2).buffer(-1)
    found = regularized(np.array([outline]))[0]
    assert len(found.exterior.coords) == 7
    assert iou(found, truth) > 0.995


def test_every_part_has_its_own_direction_and_rows_stay_in_place():
    first, second = seen(np.array([turned(shapely.box(0, 0, 20, 12), 20), turned(shapely.box(40, 0, 55, 9), 60)]))
    both = shapely.MultiPolygon([first, second])
    rows = np.array([shapely.Polygon(), both, OTHERS["circle"], first])
    found = regularized(rows)
    assert found[0].is_empty
    assert found[1].geom_type == "MultiPolygon"
    assert found[1].geoms[0].equals_exact(found[3], 0)
    assert cosines(found[1].geoms[1]).max() < 1e-6
    assert found[2].equals_exact(rows[2], 0)
    assert shapely.equals_exact(regularized(rows), found, 0).all()


def test_a_round_courtyard_stays_round_in_a_right_angled_building():
    yard = shapely.Point(15, 9).buffer(4)
    found = regularized(seen(np.array([turned(shapely.box(0, 0, 30, 18).difference(yard), 25)])))[0]
    assert len(found.exterior.coords) == 5
    assert len(found.interiors[0].coords) > 20


def test_a_part_in_the_cut_off_corner_of_another_is_not_swallowed():
    cut = polygon((0, 0), (20, 0), (20, 18), (18, 20), (0, 20))
    both = shapely.MultiPolygon([cut, shapely.box(19.3, 19.3, 20.3, 20.3)])
    assert regularized(np.array([both]))[0].equals_exact(both, 0)


def test_a_wall_that_would_cross_a_hole_stays_and_the_other_parts_do_not():
    bump = [(0, 0), (20, 0), (20, 10), (15, 10), (15, 10.4), (5, 10.4), (5, 10), (0, 10)]
    close = shapely.Polygon(bump, [[(9, 9), (9, 10.3), (11, 10.3), (11, 9)]])
    found = regularized(np.array([shapely.MultiPolygon([close, shapely.Polygon(np.add(bump, 30))])]))[0]
    assert found.geoms[0].equals_exact(close, 0)
    assert len(found.geoms[1].exterior.coords) == 5


def noisy(seed, noise):
    rng = np.random.default_rng(seed)
    masks = (1 - noise) * (rng.random((6, 1, 1)) > 0.2) + noise * rng.random((6, MASK_SIDE, MASK_SIDE))
    boxes = np.hstack([rng.uniform(0, 500, (6, 2)), rng.uniform(520, 900, (6, 2))])
    found = mask_polygons(Detections(boxes, np.ones(6, np.float32), np.zeros(6, np.int64), masks.astype(np.float32)))
    return found[~shapely.is_empty(found)]


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), noise=st.floats(0, 1), tolerance=st.floats(0, 100))
def test_noise_stays_valid_and_keeps_parts_and_holes(seed, noise, tolerance):
    outlines = noisy(seed, noise)
    for found in (regularized(outlines), simplified(outlines, tolerance)):
        assert shapely.is_valid(found).all()
        assert (shapely.area(found) > 0).all()
        for one, other in zip(found, outlines, strict=True):
            assert shapely.get_num_geometries(one) == shapely.get_num_geometries(other)
            for part, outline in zip(shapely.get_parts(one), shapely.get_parts(other), strict=True):
                assert len(part.interiors) == len(outline.interiors)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), noise=st.floats(0, 0.6), tolerance=st.floats(0, 20))
def test_simplified_outlines_move_by_little_more_than_the_tolerance(seed, noise, tolerance):
    outlines = noisy(seed, noise)
    found = simplified(outlines, tolerance)
    boundaries = shapely.boundary(outlines), shapely.boundary(found)
    points = shapely.points(shapely.get_coordinates(boundaries[0]))
    owners = np.repeat(np.arange(len(outlines)), shapely.get_num_coordinates(outlines))
    assert (shapely.distance(points, boundaries[1][owners]) <= 2 * tolerance + 1e-9).all()
    assert (shapely.get_num_coordinates(found) <= shapely.get_num_coordinates(outlines)).all()


def test_simplified_by_hand():
    bent = polygon((0, 0), (5, 0.5), (10, 0), (10, 10), (5, 10), (0, 10))
    straight, kept = simplified(np.array([bent, bent]), 0.6), simplified(np.array([bent]), 0)
    assert [len(found.exterior.coords) for found in straight] == [5, 5]
    assert len(kept[0].exterior.coords) == 6
    speck = shapely.box(0, 0, 0.01, 0.01)
    assert simplified(np.array([speck]), 5)[0].area > 0
    assert simplified(np.array([shapely.Polygon()]), 5)[0].is_empty


@pytest.mark.parametrize("change", [regularized, lambda rows: simplified(rows, 1)])
def test_no_outlines(change):
    assert change(np.empty(0, dtype=object)).shape == (0,)
