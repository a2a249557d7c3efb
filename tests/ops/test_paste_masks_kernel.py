"""The Triton kernel of pasting against the reference."""

import pytest
import torch
from hypothesis import given, settings

from tests.ops.aot import Kernel, compile_ahead
from tests.ops.pastes import drawn, expected, lattice_masks, odd_frames

kernel = pytest.importorskip("d2det_ops.paste_masks.kernel")

INTEGERS = ("windows", "starts", "owners", "firsts")
KERNELS = [
    Kernel(
        "d2det_ops.paste_masks.kernel",
        "_fill",
        {"masks": "*fp32", "frames": "*fp32", "pixels": "*u8", "limit": "fp32", **dict.fromkeys(INTEGERS, "*i64")},
        {"SIDE": 28, "BLOCK": kernel.BLOCK},
        options={"enable_fp_fusion": False},
    )
]


def check(device, masks, frames, limit=0.5, **options):
    wanted = expected(masks, frames, limit)
    parts = [part.to(device) for part in (masks, frames, wanted.windows, wanted.starts)]
    pixels = kernel.fill(*parts, limit, **options)
    assert pixels.device.type == device.type
    assert pixels.dtype == torch.bool
    assert torch.equal(pixels.cpu(), wanted.pixels)


@pytest.mark.parametrize(("side", "block"), [(1, 64), (5, 32), (28, 128), (28, kernel.BLOCK)])
def test_masks_of_many_sizes(kernel_device, side, block):
    check(kernel_device, *drawn(30, side, seed=side), block=block)


def test_other_limits(kernel_device):
    check(kernel_device, *drawn(9, 6), 0.3)
    check(kernel_device, *drawn(9, 6), 0.0)


def test_odd_frames(kernel_device):
    frames = odd_frames()
    check(kernel_device, torch.rand(len(frames), 7, 7, generator=torch.Generator().manual_seed(2)), frames)


def test_what_is_no_number_belongs_to_no_mask(kernel_device):
    masks, frames = drawn(8, 5, seed=1)
    masks[::2, 1:3, 2] = torch.nan
    masks[1::2, 2:, 0] = torch.nan  # next in memory to the last cell of a row above
    check(kernel_device, masks, frames)


def test_nothing_to_paste(kernel_device):
    check(kernel_device, torch.zeros(0, 28, 28), torch.zeros(0, 4))
    check(kernel_device, torch.zeros(2, 28, 28), torch.zeros(2, 4))


@settings(deadline=None, max_examples=25)
@given(lattice_masks())
def test_ties_fall_as_in_the_reference(kernel_device, lattice):
    check(kernel_device, *lattice, block=64)


def test_the_kernel_compiles_for_every_gpu():
    for built in compile_ahead(KERNELS):
        assert built.local == 0, built
        assert "fma.rn.f32" not in built.ptx
