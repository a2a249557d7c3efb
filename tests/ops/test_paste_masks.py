"""Pasting masks: by hand, against an image-sized version, against torchvision, and as an operator."""

import pytest
import torch
from hypothesis import given, settings
from torch.nn import functional as F
from torchvision.models.detection.roi_heads import paste_masks_in_image

from d2det_ops.paste_masks import paste_masks
from d2det_ops.paste_masks.crops import windows_of
from tests.ops.pastes import IMAGE_SIZE, drawn, expected, lattice_masks, odd_frames


def in_image(pasted, image_size=IMAGE_SIZE):
    """Draw the crops into images ``[D, h, w]``."""
    images = torch.zeros(len(pasted.windows), *image_size, dtype=torch.bool)
    for index, (x1, y1, x2, y2) in enumerate(pasted.windows.tolist()):
        images[index, y1:y2, x1:x2] = pasted.crop(index)
    return images


def values_in_image(masks, frames, image_size):
    """Read every mask at every pixel of the image, and tell where a pixel's centre is inside its frame."""
    height, width = image_size
    size = frames[:, 2:] - frames[:, :2]
    x = (torch.arange(width) + 0.5 - frames[:, :1]) / size[:, :1]
    y = (torch.arange(height) + 0.5 - frames[:, 1:2]) / size[:, 1:]
    inside = ((y > 0) & (y < 1))[:, :, None] & ((x > 0) & (x < 1))[:, None, :]
    shape = (len(frames), height, width)
    grid = torch.stack([x[:, None, :].expand(shape), y[:, :, None].expand(shape)], -1) * 2 - 1
    return F.grid_sample(masks[:, None], grid, padding_mode="border", align_corners=False)[:, 0], inside


def assert_equal(pasted, other):
    for part, wanted in zip(pasted, other, strict=True):
        assert part.dtype == wanted.dtype
        assert torch.equal(part, wanted)


def test_a_mask_of_four_cells_by_hand():
    masks = torch.tensor([[[0.0, 1.0], [0.0, 1.0]]])
    pasted = paste_masks(masks, torch.tensor([[1.0, 2.0, 5.0, 4.0]]), (9, 8))
    assert pasted.windows.tolist() == [[1, 2, 5, 4]]
    assert pasted.starts.tolist() == [0, 8]
    # over 4 px the values are 0, 1/4, 3/4, 1
    assert pasted.crop(0).tolist() == [[False, False, True, True]] * 2


def test_windows_hold_the_pixels_whose_centre_is_inside():
    frames = torch.tensor([[1.4, 0.6, 3.6, 2.4], [1.5, 0.5, 3.5, 2.5], [-3.0, -3, 99, 99], [50.0, 0, 60, 9]])
    windows, starts = windows_of(frames, (5, 7))
    assert windows.tolist() == [[1, 1, 4, 2], [2, 1, 3, 2], [0, 0, 7, 5], [7, 0, 7, 5]]
    assert starts.tolist() == [0, 3, 4, 39, 39]


def test_a_half_belongs_to_the_mask_unless_strictly():
    masks, frames = torch.full((1, 3, 3), 0.5), torch.tensor([[0.0, 0.0, 6.0, 5.0]])
    assert paste_masks(masks, frames, (5, 6)).pixels.all()
    assert not paste_masks(masks, frames, (5, 6), strict=True).pixels.any()
    assert not paste_masks(masks, frames, (5, 6), threshold=0.51).pixels.any()


@pytest.mark.parametrize("side", [1, 4, 28])
def test_it_draws_what_reading_at_every_pixel_draws(side):
    masks, frames = drawn(60, side)
    values, inside = values_in_image(masks, frames, IMAGE_SIZE)
    images = in_image(paste_masks(masks, frames, IMAGE_SIZE))
    sure = (values - 0.5).abs() > 1e-5
    assert sure.float().mean() > 0.99
    assert torch.equal(images[sure], ((values > 0.5) & inside)[sure])


def test_it_draws_what_torchvision_draws_but_for_its_borders():
    """Torchvision stretches a mask over a pixel more than its box has, which shows less in larger boxes."""
    random = torch.Generator().manual_seed(1)
    steps = torch.linspace(-1, 1, 28)
    masks = 1.1 - (steps[:, None] ** 2 + steps**2)[None] * (1 + torch.rand(20, 1, 1, generator=random))
    corner, size = torch.randint(-30, 150, (2, 20, 2), generator=random)
    frames = torch.cat([corner, corner + size.abs() + 60], 1).float()
    theirs = paste_masks_in_image(masks[:, None], frames, (200, 170))[:, 0] >= 0.5
    images = in_image(paste_masks(masks, frames, (200, 170)), (200, 170))
    shared, joined = (theirs & images).sum((1, 2)), (theirs | images).sum((1, 2))
    assert (joined > 0).sum() > 15
    assert ((shared / joined)[joined > 0] > 0.9).all()


@pytest.mark.parametrize("threads", [1, 3])
def test_compiled_loops_are_the_reference_to_the_last_bit(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        masks, frames = drawn(80, 28, seed=3)
        masks[:40], frames[:40] = 0.0, torch.tensor([3.0, 3, 4, 4])  # a pixel each: threads meet wherever they may
        assert_equal(paste_masks(masks, frames, IMAGE_SIZE, strict=True), expected(masks, frames))
        assert_equal(paste_masks(masks[:40], frames[:40], IMAGE_SIZE, strict=True), expected(masks[:40], frames[:40]))
    finally:
        torch.set_num_threads(before)


@settings(deadline=None, max_examples=40)
@given(lattice_masks())
def test_ties_fall_as_in_the_reference(lattice):
    assert_equal(paste_masks(*lattice, IMAGE_SIZE, strict=True), expected(*lattice))


def test_odd_frames():
    frames = odd_frames()
    masks = torch.ones(len(frames), 7, 7)
    pasted = paste_masks(masks, frames, IMAGE_SIZE)
    assert_equal(pasted, expected(masks, frames))
    assert pasted.pixels.all()
    areas = pasted.starts.diff().tolist()
    assert areas == [0, 0, 37 * 53, 7 * 53, 4 * 5, 1, 0, 0, 0, 0, 37 * 53]


def test_what_is_no_number_belongs_to_no_mask():
    masks, frames = torch.ones(1, 4, 4), torch.tensor([[0.0, 0, 4, 4]])
    masks[0, 1, 1] = torch.nan
    pasted = paste_masks(masks, frames, (37, 53), strict=True)
    assert not pasted.crop(0)[1, 1]
    assert pasted.crop(0)[2:].all()
    assert_equal(pasted, expected(masks, frames))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_types_are_read_as_float32(dtype):
    masks, frames = drawn(9, 5, seed=4)
    masks = masks.to(dtype)
    assert_equal(paste_masks(masks, frames.double(), IMAGE_SIZE), paste_masks(masks.float(), frames, IMAGE_SIZE))


def test_nothing_to_paste():
    pasted = paste_masks(torch.zeros(0, 28, 28), torch.zeros(0, 4), IMAGE_SIZE)
    assert [list(part.shape) for part in pasted] == [[0], [1], [0, 4]]
    assert pasted.starts.tolist() == [0]
    assert len(paste_masks(*drawn(3, 4), (0, 0)).pixels) == 0


@pytest.mark.parametrize(
    ("masks", "frames", "size", "words"),
    [
        (torch.zeros(2, 3, 4), torch.zeros(2, 4), (5, 5), r"\[D, M, M\]"),
        (torch.zeros(2, 3, 3), torch.zeros(3, 4), (5, 5), "for 2 masks"),
        (torch.zeros(2, 3, 3, dtype=torch.bool), torch.zeros(2, 4), (5, 5), "floating point"),
        (torch.zeros(2, 3, 3), torch.zeros(2, 4), (1 << 16, 1 << 16), "65536x65536"),
    ],
)
def test_wrong_arguments_are_refused(masks, frames, size, words):
    with pytest.raises(ValueError, match=words):
        paste_masks(masks, frames, size)


def test_it_is_a_proper_operator():
    masks, frames = drawn(6, 4)
    windows, starts = windows_of(frames, IMAGE_SIZE)
    torch.library.opcheck(torch.ops.d2det.fill_masks.default, (masks, frames, windows, starts, 0.5))


def test_it_compiles_whole():
    masks, frames = drawn(6, 4)
    compiled = torch.compile(paste_masks, fullgraph=True, backend="aot_eager")
    assert_equal(compiled(masks, frames, IMAGE_SIZE), paste_masks(masks, frames, IMAGE_SIZE))


@pytest.mark.gpu
def test_many_masks_on_a_gpu():
    random = torch.Generator().manual_seed(5)
    masks = torch.rand(10_000, 28, 28, generator=random)
    corner = torch.rand(10_000, 2, generator=random) * 900 - 50
    frames = torch.cat([corner, corner + 200 * torch.rand(10_000, 2, generator=random) ** 3], 1)
    pasted = paste_masks(masks.cuda(), frames.cuda(), (800, 800))
    assert_equal([part.cpu() for part in pasted], paste_masks(masks, frames, (800, 800)))


def test_strides_do_not_matter():
    masks, frames = drawn(6, 4)
    across = masks.transpose(1, 2).contiguous().transpose(1, 2), frames.t().contiguous().t()
    assert_equal(paste_masks(*across, IMAGE_SIZE), paste_masks(masks, frames, IMAGE_SIZE))
