"""The Triton kernels of discriminative pooling against plain torch."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from d2det_ops import discriminative_pool
from d2det_ops.discriminative_pool.reference import discriminative_pool as reference
from tests.ops.aot import Kernel, compile_ahead

kernel = pytest.importorskip("d2det_ops.discriminative_pool.kernel")

ORDERS = {"planes": torch.contiguous_format, "cells": torch.channels_last}
SIZES = [(3, 5, 6, 8), (2, 67, 8, 4), (2, 16, 7, 5), (1, 1, 2, 2), (3, 130, 1, 3), (0, 3, 4, 6)]
SIDES = dict.fromkeys(("rows", "columns", "channels"), "i32")


def draw(size, device, order="cells", gate_order="cells", spread=3.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    features, gate = (torch.randn(size, generator=generator).to(device) for _ in range(2))
    gradient = torch.randn(*size[:2], (size[2] + 1) // 2, (size[3] + 1) // 2, generator=generator).to(device)
    features, gate = features.to(memory_format=ORDERS[order]), (spread * gate).to(memory_format=ORDERS[gate_order])
    return features, gate, gradient


def exact(features, gate, gradient):
    """Pool in float64, with gradients."""
    inputs = [part.double().requires_grad_() for part in (features, gate)]
    pooled = reference(*inputs)
    return pooled, *torch.autograd.grad(pooled, inputs, gradient.double())


def check(features, gate, gradient, tolerance=1e-5):
    pooled = kernel.forward(features, gate)
    found = pooled, *kernel.backward(gradient, features, gate)
    for ours, theirs, like in zip(found, exact(features, gate, gradient), (features, features, gate), strict=True):
        assert ours.dtype == like.dtype
        torch.testing.assert_close(ours.double(), theirs, atol=tolerance, rtol=tolerance)
    assert pooled.is_contiguous(memory_format=torch.channels_last)
    for change, like in zip(found[1:], (features, gate), strict=True):
        assert change.is_contiguous() == like.is_contiguous()


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_cell_is_written(kernel_device, size):
    check(*draw(size, kernel_device))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("gate_order", ORDERS)
def test_orders_in_memory(kernel_device, order, gate_order):
    check(*draw(SIZES[0], kernel_device, order, gate_order))


@settings(deadline=None, max_examples=8)
@given(
    size=st.tuples(st.integers(1, 2), st.integers(1, 9), st.integers(1, 6), st.integers(1, 6)),
    spread=st.sampled_from([0.0, 1.0, 10.0, 1e4]),
    seed=st.integers(0, 1000),
)
def test_any_size(kernel_device, size, spread, seed):
    check(*draw(size, kernel_device, "planes", "planes", spread, seed))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_float32_inside(kernel_device, dtype):
    features, gate, gradient = draw(SIZES[0], kernel_device)
    gate[0], gate[1, :, ::2] = 1e4, -1e4
    check(features.to(dtype), gate.to(dtype), gradient.to(dtype), torch.finfo(dtype).eps)
    check(features, gate.to(dtype), gradient, torch.finfo(dtype).eps)


def test_what_is_not_a_number_stays_in_its_windows(kernel_device):
    features, gate, _ = draw((1, 5, 8, 8), kernel_device)
    gate[0, 1, 3, 4], features[0, 2, 3, 4], gate[0, 3, 0, 0] = torch.nan, math.nan, math.inf
    pooled = kernel.forward(features, gate)
    assert pooled.isnan().nonzero().tolist() == [[0, channel, row, 2] for channel in (1, 2) for row in (1, 2)]


def test_the_kernels_compile_for_every_gpu():
    types = [("*fp32", "*fp32"), ("*bf16", "*fp16")]
    constants = {"WINDOWS": 8, "BLOCK": kernel.CHANNELS}
    kernels = [
        Kernel("d2det_ops.discriminative_pool.kernel", name, {**maps, **SIDES}, constants)
        for features, gate in types
        for name, maps in (
            ("_pool", {"features": features, "gate": gate, "pooled": features}),
            (
                "_unpool",
                {"features": features, "gate": gate, "grad": features, "change": features, "gate_change": gate},
            ),
        )
    ]
    for built in compile_ahead(kernels):
        assert built.local == 0, built


@pytest.mark.gpu
@pytest.mark.parametrize("order", ORDERS)
def test_ten_thousand_regions_on_a_gpu(order):
    features, gate, gradient = draw((10_000, 256, 14, 14), "cuda", "cells", order)
    inputs = features.requires_grad_(), gate.requires_grad_()
    pooled = discriminative_pool(*inputs)
    found = pooled, *torch.autograd.grad(pooled, inputs, gradient)
    again = discriminative_pool(*inputs)
    assert torch.equal(pooled, again)
    for one, other in zip(found[1:], torch.autograd.grad(again, inputs, gradient), strict=True):
        assert torch.equal(one, other)
    for start in range(0, 10_000, 1000):
        part = slice(start, start + 1000)
        for ours, theirs in zip(found, exact(features[part], gate[part], gradient[part]), strict=True):
            torch.testing.assert_close(ours[part].double(), theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.gpu
def test_more_values_than_an_int32_counts_on_a_gpu():
    features = torch.randn(45_000, 256, 14, 14, device="cuda", dtype=torch.bfloat16)
    pooled = discriminative_pool(features, torch.zeros(1, device="cuda").expand_as(features))
    expected = reference(features[-3:], torch.zeros_like(features[-3:]))
    torch.testing.assert_close(pooled[-3:], expected)


@pytest.mark.gpu
def test_without_our_kernels_on_a_gpu(monkeypatch):
    features, gate, gradient = draw(SIZES[0], "cuda")
    inputs = features.requires_grad_(), gate.requires_grad_()
    pooled = discriminative_pool(*inputs)
    expected = pooled, *torch.autograd.grad(pooled, inputs, gradient)
    monkeypatch.setattr("d2det_ops.discriminative_pool.op.usable", lambda device: False)
    pooled = discriminative_pool(*inputs)
    torch.testing.assert_close((pooled, *torch.autograd.grad(pooled, inputs, gradient)), expected)
