"""The operators against torchvision, arithmetic by hand and numeric gradients."""

import math

import numpy as np
import pytest
import torch
from torchvision.ops import roi_align

from d2det_ops import discriminative_pool, roi_pool

# image, x1, y1, x2, y2 on features of 2 images, 13 x 17 cells of 4 px: inside, crossing, outside, thin, whole
ROIS = torch.tensor(
    [
        [0, 3.0, 5.0, 31.0, 40.0],
        [1, -9.5, -7.0, 20.0, 18.0],
        [0, 60.0, 40.0, 80.0, 70.0],
        [1, 200.0, 200.0, 240.0, 260.0],
        [0, 10.0, 10.0, 10.5, 30.0],
        [1, 0.0, 0.0, 68.0, 52.0],
    ]
)


@pytest.mark.parametrize(("bins", "samples"), [(3, 1), (7, 2), (14, 1), (2, 3)])
@pytest.mark.parametrize("rois", [ROIS, ROIS[:1], ROIS[:0]], ids=["many", "one", "none"])
def test_roi_pool_without_offsets_is_roi_align(bins, samples, rois):
    features = torch.randn(2, 5, 13, 17)
    expected = roi_align(features, rois, bins, 1 / 4, samples, aligned=True)
    torch.testing.assert_close(
        roi_pool(features, rois, bins=bins, samples=samples, stride=4), expected, atol=1e-5, rtol=1e-5
    )


def test_roi_pool_gradient_is_that_of_roi_align():
    features = torch.randn(2, 5, 13, 17, requires_grad=True)
    ours = roi_pool(features, ROIS, bins=3, samples=2, stride=4)
    theirs = roi_align(features, ROIS, 3, 1 / 4, 2, aligned=True)
    weights = torch.randn_like(ours)
    torch.testing.assert_close(
        *(torch.autograd.grad(out, features, weights)[0] for out in (ours, theirs)), atol=1e-4, rtol=1e-4
    )


def test_an_offset_moves_a_bin_by_its_share_of_the_roi():
    features = torch.randn(1, 3, 20, 24)
    roi = torch.tensor([[0, 16.0, 16.0, 48.0, 40.0]])
    offsets = torch.zeros(1, 2, 2, 2)
    offsets[:, 0], offsets[:, 1] = 0.25, 0.5  # 8 px right, 12 px down
    moved = torch.tensor([[0, 24.0, 28.0, 56.0, 52.0]])
    torch.testing.assert_close(
        roi_pool(features, roi, bins=2, samples=2, stride=4, offsets=offsets),
        roi_pool(features, moved, bins=2, samples=2, stride=4),
    )


def test_a_box_that_is_not_a_number_pools_to_zero():
    rois = torch.tensor([[0, math.nan, 0, 10, 10], [0, 0, 0, 8, math.inf], [0, 4.0, 4, 20, 20]])
    pooled = roi_pool(torch.ones(1, 3, 13, 17), rois, bins=2, samples=1, stride=4)
    assert pooled[0].abs().max() == 0
    assert pooled[2].min() == 1


def test_each_bin_has_its_own_offset():
    features = torch.randn(1, 3, 20, 24)
    roi = torch.tensor([[0, 16.0, 16.0, 48.0, 40.0]])
    offsets = torch.zeros(1, 2, 3, 3)
    offsets[0, 0, 1, 2] = 0.1
    changed = roi_pool(features, roi, bins=3, samples=1, stride=4, offsets=offsets) != roi_pool(
        features, roi, bins=3, samples=1, stride=4
    )
    assert changed.any(1)[0].nonzero().tolist() == [[1, 2]]


def test_offset_gradients_match_differences():
    torch.manual_seed(3)
    features = torch.randn(1, 2, 9, 11)
    roi = torch.tensor([[0, 3.3, 4.1, 27.7, 25.9]])
    offsets = (torch.randn(1, 2, 2, 2) * 0.07).requires_grad_()
    weights = torch.randn(1, 2, 2, 2)

    def value(shift):
        return (roi_pool(features, roi, bins=2, samples=1, stride=4, offsets=shift) * weights).sum()

    (gradient,) = torch.autograd.grad(value(offsets), offsets)
    step = 1e-3
    for index in np.ndindex(2, 2, 2):
        bump = torch.zeros_like(offsets)
        bump[(0, *index)] = step
        difference = (value(offsets + bump) - value(offsets - bump)) / (2 * step)
        assert gradient[(0, *index)].item() == pytest.approx(difference.item(), abs=2e-2)


def test_discriminative_pool_with_even_weights_is_a_clipped_mean():
    features = torch.randn(2, 3, 14, 14)
    pooled = discriminative_pool(features, torch.zeros_like(features))
    assert pooled.shape == (2, 3, 7, 7)
    torch.testing.assert_close(pooled[:, :, 0, 0], features[:, :, :2, :2].mean((2, 3)))
    torch.testing.assert_close(pooled[:, :, 3, 5], features[:, :, 5:8, 9:12].mean((2, 3)))


def test_discriminative_pool_weighs_by_the_exponent():
    features = torch.zeros(1, 1, 2, 2)
    features[0, 0, 1, 1] = 1.0
    gate = torch.zeros(1, 1, 2, 2)
    gate[0, 0, 1, 1] = 0.3
    weight = math.exp(12 / (1 + math.exp(-0.3)) - 6)
    assert discriminative_pool(features, gate).item() == pytest.approx(weight / (3 + weight), rel=1e-5)


def test_discriminative_pool_survives_half_precision_extremes():
    features = torch.full((1, 2, 4, 4), 3.0, dtype=torch.bfloat16)
    gate = torch.tensor([-80.0, 80.0]).repeat(8).view(1, 1, 4, 4).expand(1, 2, 4, 4).to(torch.bfloat16)
    torch.testing.assert_close(discriminative_pool(features, gate), torch.full((1, 2, 2, 2), 3.0))
