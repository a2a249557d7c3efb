"""Masks as pixels of an image, in both conventions."""

import pytest
import torch

from d2det_geo.model.convention import Convention, from_corners
from d2det_geo.model.paste import paste_masks
from tests.oracle import flow


def test_masks_are_pasted_where_they_belong():
    left = torch.zeros(1, 28, 28)
    left[:, :, :14] = 1.0
    box = torch.tensor([[4.0, 2.0, 12.0, 10.0]])
    drawn = paste_masks(left, box, (12, 10), Convention.ALIGNED)
    assert drawn.windows.tolist() == [[4, 2, 10, 10]]
    assert drawn.crop(0)[:, :4].all()  # the left half; the image ends in the right one
    assert not drawn.crop(0)[:, 4:].any()
    squeezed = paste_masks(left, box, (12, 10), Convention.LEGACY)
    assert squeezed.windows.tolist() == [[4, 2, 10, 10]]
    assert squeezed.crop(0)[:, :3].all()  # half of the six columns that are left
    assert not squeezed.crop(0)[:, 3:].any()


@pytest.mark.parametrize("image_size", [(90, 70), (20, 31)])
def test_legacy_masks_are_the_authors(image_size):
    random = torch.Generator().manual_seed(0)
    coarse = torch.rand(60, 1, 5, 5, generator=random)
    masks = torch.nn.functional.interpolate(coarse, size=28, mode="bilinear")[:, 0]
    low = torch.rand(60, 2, generator=random) * 110 - 30
    theirs = torch.cat([low, low + torch.rand(60, 2, generator=random) ** 2 * 60 - 1], 1)
    drawn = paste_masks(masks, from_corners(theirs, Convention.LEGACY), image_size, Convention.LEGACY)
    for index, (mask, box) in enumerate(zip(masks, theirs, strict=True)):
        ours = torch.zeros(image_size, dtype=torch.bool)
        x1, y1, x2, y2 = drawn.windows[index].tolist()
        ours[y1:y2, x1:x2] = drawn.crop(index)
        wanted = flow.paste(mask, box, image_size)
        assert (ours ^ wanted).sum() <= 0.002 * wanted.numel()
        assert (ours & wanted).sum() >= 0.99 * (ours | wanted).sum()
