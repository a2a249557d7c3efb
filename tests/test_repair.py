"""Valid polygons out of whatever comes in."""

import numpy as np
import shapely

from d2det_geo.vector.repair import parts_without_holes, polygonal, valid_polygons

BOW_TIE = shapely.Polygon([(0, 0), (4, 4), (4, 0), (0, 4)])


def test_polygonal_repairs_and_drops_lines():
    line = shapely.LineString([(0, 0), (9, 9)])
    mixed = shapely.GeometryCollection([line, shapely.box(0, 0, 3, 2)])
    given_shapes = np.array([BOW_TIE, mixed, line, shapely.box(0, 0, 1, 1)], dtype=object)
    result = polygonal(given_shapes)
    assert shapely.area(result).tolist() == [8, 6, 0, 1]
    assert shapely.is_valid(result).all()
    assert result[1].bounds == (0, 0, 3, 2)  # the line reached to (9, 9)
    assert given_shapes[0] is BOW_TIE  # the caller's array is left alone


def test_what_is_covered_twice_is_inside():
    # Around a square of 4 by 4, then on around a corner of it: even-odd rules would leave a hole there.
    twice = shapely.Polygon([(0, 0), (4, 0), (4, 4), (0, 4), (0, 0), (2, 0), (2, 2), (0, 2)])
    overlapping = shapely.MultiPolygon([shapely.box(0, 0, 3, 1), shapely.box(2, 0, 5, 1)])
    both = shapely.GeometryCollection([shapely.box(0, 0, 3, 1), shapely.box(2, 0, 5, 1)])
    valid, changed = valid_polygons(np.array([twice, overlapping, both, shapely.box(0, 0, 7, 1), None], dtype=object))
    assert shapely.area(valid).tolist() == [16, 5, 5, 7, 0]
    assert changed.tolist() == [True, True, True, False, False]
    assert shapely.is_valid(valid).all()


def test_nothing_comes_out_of_nothing():
    assert polygonal(np.empty(0, dtype=object)).shape == (0,)


def test_parts_without_holes():
    ring = shapely.box(0, 0, 9, 9) - shapely.box(3, 3, 6, 6)
    flat = shapely.Polygon([(0, 0), (9, 0), (4, 0)], [[(1, 0), (2, 0), (3, 0)]])
    bowtie = shapely.Polygon([(0, 0), (4, 4), (4, 0), (0, 4)])
    solid = shapely.box(20, 0, 21, 1)
    polygons = np.array([solid, shapely.MultiPolygon([solid, ring]), flat, bowtie], dtype=object)
    parts, owners = parts_without_holes(polygons)
    assert owners.tolist() == sorted(owners.tolist())
    assert set(owners.tolist()) == {0, 1, 3}
    assert all(not part.interiors for part in parts)
    assert shapely.equals(shapely.union_all(parts[owners == 1]), shapely.union_all([solid, ring]))
    assert parts[owners == 3][0] is bowtie or parts[owners == 3][0] == bowtie
    assert parts_without_holes(polygons[:1])[0].tolist() == [solid]
