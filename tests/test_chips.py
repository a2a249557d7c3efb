"""Training chips: pixels and objects under one affine view, their place, and the sampler."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rasterio.features import rasterize

from d2det_geo.data.chips import MASK_CELLS, Augment, ChipSampler, draw_chip
from d2det_geo.data.images import LabelledImage, array_reader
from d2det_geo.data.towns import town_images
from d2det_geo.data.truth import ClassMap, Truth
from d2det_geo.data.vector import labelled_scene

WIDTH, HEIGHT = 230, 170
SIZE = 64
ANY = Augment(flip=True, rotate="any", scale=(0.7, 1.5))
QUARTER = Augment(flip=True, rotate="quarter")


def coordinates():
    """An image whose first band says x and whose second says y of each pixel."""
    image = np.zeros((3, HEIGHT, WIDTH), np.uint8)
    image[0], image[1] = np.arange(WIDTH), np.arange(HEIGHT)[:, None]
    return image


def polygons(*shapes):
    return np.array(shapes, dtype=object)


def outlined(*shapes, image=None, ignored=(), **options):
    truth = Truth.of_polygons(polygons(*shapes), np.arange(len(shapes)), polygons(*ignored))
    pixels = coordinates() if image is None else image
    return LabelledImage("x", pixels.shape[2], pixels.shape[1], truth, array_reader(pixels), **options)


def boxed(*boxes, image=None):
    truth = Truth(np.array(boxes, np.float64).reshape(-1, 4), np.arange(len(boxes)))
    pixels = coordinates() if image is None else image
    return LabelledImage("x", pixels.shape[2], pixels.shape[1], truth, array_reader(pixels))


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("seed", range(12))
def test_quarter_turns_are_pixel_exact(seed):
    """Decode where each chip pixel came from: a whole square of the image, turned and mirrored."""
    image = coordinates()
    image[2, 80:110, 60:100] = 255
    chip = draw_chip(outlined(shapely.box(60, 80, 100, 110), image=image), 96, QUARTER, rng(seed))
    x, y = chip.image[0].astype(int), chip.image[1].astype(int)
    assert x.max() - x.min() == y.max() - y.min() == 95
    assert len(set(zip(x.ravel(), y.ravel(), strict=True))) == 96 * 96
    assert np.array_equal(chip.image, image[:, y, x])
    rows, columns = np.nonzero(chip.image[2])
    if len(chip.boxes):
        expected = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert chip.boxes.tolist() == [expected]
        assert chip.masks.all()


@pytest.mark.parametrize("seed", range(8))
def test_outlines_follow_the_pixels(seed):
    """Paint the object, turn both: the mask pasted into the chip is the painted area."""
    shape = shapely.Polygon([(70, 60), (150, 50), (160, 95), (115, 90), (120, 130), (80, 120)])
    image = np.zeros((3, HEIGHT, WIDTH), np.uint8)
    image[:] = rasterize([shape], (HEIGHT, WIDTH), default_value=255, dtype=np.uint8)
    chip = draw_chip(outlined(shape, image=image), 128, ANY, rng(seed))
    painted = chip.image[0] > 127
    if not len(chip.boxes):
        assert painted.sum() < 0.3 * shape.area * 1.5**2
        return
    x1, y1, x2, y2 = chip.boxes[0]
    columns = np.floor((np.arange(128) + 0.5 - x1) / (x2 - x1) * MASK_CELLS).astype(int)
    rows = np.floor((np.arange(128) + 0.5 - y1) / (y2 - y1) * MASK_CELLS).astype(int)
    pasted = np.zeros((128, 128), bool)
    inside = np.ix_((rows >= 0) & (rows < MASK_CELLS), (columns >= 0) & (columns < MASK_CELLS))
    pasted[inside] = chip.masks[0][np.ix_(rows[inside[0].ravel()], columns[inside[1].ravel()])]
    assert (pasted & painted).sum() / (pasted | painted).sum() > 0.95


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6))
def test_boxes_lie_in_the_chip_and_masks_touch_every_side(seed):
    random = rng(seed)
    centres = random.uniform(0, [WIDTH, HEIGHT], (40, 2))
    shapes = [shapely.Point(c).buffer(r, quad_segs=3) for c, r in zip(centres, random.uniform(1, 25, 40), strict=True)]
    chip = draw_chip(outlined(*shapes), SIZE, ANY, random)
    assert chip.image.shape == (3, SIZE, SIZE)
    assert chip.boxes.dtype == chip.ignored.dtype == np.float32
    assert chip.masks.shape == (len(chip.boxes), MASK_CELLS, MASK_CELLS)
    assert len(chip.labels) == len(chip.boxes)
    for boxes in (chip.boxes, chip.ignored):
        assert (boxes >= 0).all()
        assert (boxes <= SIZE).all()
    assert (chip.boxes[:, 2:] - chip.boxes[:, :2] >= 2 - 1e-4).all()
    # Discs, perhaps cut: convex, so they fill at least half of their box and no row of cells is empty for long.
    assert (chip.masks.mean(axis=(1, 2)) > 0.45).all()


def test_nothing_changes_by_default():
    image = outlined(image=rng(1).integers(0, 256, (3, SIZE, SIZE), np.uint8))
    assert np.array_equal(draw_chip(image, SIZE, Augment(), rng(8)).image, image.read(0, 0, SIZE, SIZE))


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6))
def test_pixels_outside_the_aoi_never_appear(seed):
    """Outside the AOI the image is red; a chip must not hold a trace of it, whatever is drawn."""
    aoi = shapely.Polygon([(20, 30), (190, 12), (170, 120), (100, 70), (60, 150)])
    image = np.full((3, HEIGHT, WIDTH), 90, np.uint8)
    image[0] = np.where(rasterize([aoi], (HEIGHT, WIDTH), dtype=np.uint8), 0, 255)
    chip = draw_chip(outlined(image=image, aoi=aoi), SIZE, ANY, rng(seed))
    assert not chip.image[0].any()
    assert set(np.unique(chip.image[1])) <= {0, 90}
    assert chip.image[1].any()


def test_noise_stays_inside_the_aoi():
    aoi = shapely.box(100, 80, 130, 100)
    augment = Augment(brightness=0.3, contrast=0.5, noise=20)
    chip = draw_chip(outlined(image=np.full((3, HEIGHT, WIDTH), 90, np.uint8), aoi=aoi), SIZE, augment, rng(4))
    assert np.count_nonzero(chip.image.any(axis=0)) == pytest.approx(30 * 20, abs=1)


@pytest.mark.parametrize("rotate", ["none", "quarter", "any"])
def test_chips_stay_inside_an_image_that_is_large_enough(rotate):
    image = outlined(shapely.box(0, 0, 9, 9), shapely.box(220, 160, 229, 169), image=coordinates() // 2 + 1)
    for seed in range(40):
        assert draw_chip(image, SIZE, Augment(flip=True, rotate=rotate), rng(seed)).image.all()


def test_a_chip_larger_than_the_image_shows_all_of_it():
    image = np.full((3, 33, 47), 50, np.uint8)
    for seed in range(10):
        chip = draw_chip(boxed((5, 6, 20, 30), image=image), SIZE, QUARTER, rng(seed))
        assert np.count_nonzero(chip.image[0]) == 33 * 47
        assert len(chip.boxes) == 1
        assert np.prod(chip.boxes[0, 2:] - chip.boxes[0, :2]) == 15 * 24


def test_half_of_the_chips_seek_an_object():
    image = boxed((200, 150, 210, 156))
    seen = [len(draw_chip(image, 40, Augment(), rng(seed)).boxes) for seed in range(200)]
    by_chance = 40 * 40 / (WIDTH - 40) / (HEIGHT - 40)
    assert np.mean(seen) == pytest.approx(0.5 + by_chance / 2, abs=0.12)


def same(one, other):
    names = ("image", "boxes", "labels", "masks", "ignored")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


def test_a_chip_is_a_function_of_three_numbers():
    image = outlined(*[shapely.Point(x, y).buffer(7) for x in range(10, 220, 25) for y in range(10, 160, 25)])
    everything = Augment(True, "any", (0.8, 1.3), 0.2, 0.2, 0.2, 0.1, 0.5, 5.0)
    one = ChipSampler([(1.0, [image]), (2.0, [image, image])], SIZE, everything)
    other = ChipSampler([(1.0, [image]), (2.0, [image, image])], SIZE, everything)
    keys = [(s, t, i) for s in (0, 5) for t in (0, 1, 900) for i in (0, 1)]
    chips = {key: one.draw(*key) for key in keys}
    assert all(same(other.draw(*key), chips[key]) for key in reversed(keys))
    assert len({chip.image.tobytes() for chip in chips.values()}) == len(keys)


def flat(value, width, height, **options):
    return outlined(image=np.full((3, height, width), value, np.uint8), **options)


def test_sources_by_weight_and_images_by_usable_area():
    large, small = flat(10, 120, 80), flat(20, 40, 80, weight=3.0)
    corner = flat(30, 200, 200, aoi=shapely.box(0, 0, 40, 40))
    sampler = ChipSampler([(3.0, [large, small]), (1.0, [corner, flat(40, 40, 120)])], 8, Augment())
    values = [int(sampler.draw(1, 2, i).image.max()) for i in range(400)]
    shares = [values.count(value) / 400 for value in (10, 20, 30, 40)]
    assert shares == pytest.approx([0.375, 0.375, 0.0625, 0.1875], abs=0.08)


def test_a_sampler_needs_images():
    for sources in ([], [(1.0, [])], [(1.0, [boxed()]), (2.0, [])]):
        with pytest.raises(ValueError, match="at least one source"):
            ChipSampler(sources, SIZE, Augment())


@pytest.mark.parametrize("aoi", [shapely.box(-1, 0, 20, 20), shapely.box(0, 0, 231, 20), shapely.Polygon()])
def test_an_aoi_must_be_an_area_of_the_image(aoi):
    with pytest.raises(ValueError, match="AOI of x must be an area inside 230 x 170"):
        outlined(aoi=aoi)


def test_towns():
    own, coarse = (town_images(41, 2, 256, 0.3, target, label=2) for target in (None, 0.45))
    assert [(image.name, image.width) for image in own] == [("town 41", 256), ("town 42", 256)]
    assert coarse[0].width == coarse[0].height == round(256 * 0.3 / 0.45)
    scale = coarse[0].width / 256
    for fine, reduced in zip(own, coarse, strict=True):
        assert len(fine.truth) > 2
        assert set(fine.truth.labels) == {2}
        assert reduced.truth.boxes == pytest.approx(fine.truth.boxes * scale)
    assert not np.array_equal(own[0].read(0, 0, 256, 256), own[1].read(0, 0, 256, 256))
    pixels = Image.fromarray(own[0].read(0, 0, 256, 256).transpose(1, 2, 0))
    side = coarse[0].width
    oracle = np.asarray(pixels.resize((side, side), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    assert np.array_equal(coarse[0].read(5, 9, 60, 50), oracle[:, 9:59, 5:65])


def test_real_chips_hold_whole_roofs(shared_data):
    buildings = shared_data("buildings")
    image = labelled_scene(
        buildings / "scene.tif",
        buildings / "labels.geojson",
        class_map=ClassMap(("building",)),
        aoi=buildings / "aoi_train.geojson",
    )
    sampler = ChipSampler([(1.0, [image])], 384, Augment(flip=True, rotate="any", scale=(0.8, 1.33)))
    chips = [sampler.draw(0, 0, index) for index in range(12)]
    areas = np.concatenate(
        [np.prod(c.boxes[:, 2:] - c.boxes[:, :2], axis=1) * c.masks.mean(axis=(1, 2)) for c in chips]
    )
    assert len(areas) > 12 * 8
    # 30 to 900 square metres at 0.132 m/px, cut and zoomed.
    assert 1500 < np.median(areas) < 15_000
    assert np.mean([c.image.any(axis=0).mean() for c in chips]) > 0.97
