"""Every operator's comparisons: shapes of a detector on an 800 px chip, and who else can compute them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import batched_nms

from benchmarks import inputs, naive
from benchmarks.case import Case, Setting
from benchmarks.rivals import paste_images, reference_levels, reference_masks, torchvision_levels
from benchmarks.traffic import pooled, streamed
from d2det_ops import deform_roi_pool, discriminative_pool, nms, paste_masks, roi_align, soft_nms
from d2det_ops.discriminative_pool.reference import discriminative_pool as discriminative_pool_reference
from d2det_ops.nms.reference import nms as nms_reference
from d2det_ops.soft_nms.reference import soft_nms as soft_nms_reference

CHIP = 800  # px
CHANNELS = 256
TOLERANCE = 1e-4
"""of float32, which rounds a place 200 cells from the origin to 1.5e-5 of a cell, and the features are noise;
torchvision rounds RoIs to the type of the features, so half precision is not compared"""
NCHW, NHWC = torch.contiguous_format, torch.channels_last
LAYOUTS = {NCHW: "NCHW", NHWC: "NHWC"}


def roi_align_cases(setting: Setting) -> Iterator[Case]:
    """Plain pooling, at the layout torchvision wants and at the network's."""
    for images, count, bins, layout, dtype in _pools(setting):
        options: dict[str, Any] = {"bins": bins, "samples": 2, "strides": inputs.STRIDES}
        cells = partial(naive.deform_roi_pool, offsets=None, **options)
        for backward in (False, True):
            yield Case(
                op="roi_align",
                shape=_words(images, count, bins, layout, dtype),
                make=partial(_pool_inputs, setting, images, count, layout, dtype),
                ours=partial(roi_align, **options),
                rivals={
                    "torchvision": partial(torchvision_levels, **options),
                    "naive": partial(reference_levels, **options),
                },
                moved=partial(pooled, cells),
                trained=(0,),
                backward=backward,
                layout=layout,
                tolerance=TOLERANCE if dtype == torch.float32 else None,
            )


def deform_roi_pool_cases(setting: Setting) -> Iterator[Case]:
    """Pooling with an offset a bin; 14x14 is what discriminative pooling asks for."""
    for images, count, bins, layout, dtype in _pools(setting):
        options: dict[str, Any] = {"bins": bins, "samples": 2, "strides": inputs.STRIDES}
        by_grid = partial(naive.deform_roi_pool, **options)
        for backward in (False, True):
            yield Case(
                op="deform_roi_pool",
                shape=_words(images, count, bins, layout, dtype),
                make=partial(_deform_inputs, setting, images, count, layout, dtype, bins),
                ours=partial(deform_roi_pool, **options),
                rivals={"naive (grid_sample)": by_grid},
                moved=partial(pooled, by_grid),
                trained=(0, 2),
                backward=backward,
                layout=layout,
                tolerance=TOLERANCE if dtype == torch.float32 else None,
            )


def discriminative_pool_cases(setting: Setting) -> Iterator[Case]:
    """The weighted average of the 14x14 samples of each RoI, channels last as they come from the pooling."""
    count, channels, side = (6, 8, 6) if setting.quick else (1000, CHANNELS, 14)

    def make() -> tuple[Tensor, Tensor]:
        drawn = torch.randn(2, count, channels, side, side, generator=inputs.generator(5))
        samples, gate = (part.contiguous(memory_format=NHWC) for part in drawn)
        return samples, gate

    for backward in (False, True):
        yield Case(
            op="discriminative_pool",
            shape=f"{count} RoIs, {channels} ch, {side}x{side} to {side // 2}x{side // 2}, NHWC",
            make=make,
            ours=discriminative_pool,
            rivals={"naive": discriminative_pool_reference},
            moved=streamed,
            trained=(0, 1),
            backward=backward,
            layout=NHWC,
            tolerance=TOLERANCE,
        )


def nms_cases(setting: Setting) -> Iterator[Case]:
    """Greedy suppression of the candidates of a dense chip."""
    for count in (60,) if setting.quick else (1000, 20_000, 100_000):
        for classes in (15, 1):
            yield Case(
                op="nms",
                shape=f"{count} boxes, {classes} classes" if classes > 1 else f"{count} boxes, 1 class",
                make=partial(_boxes, count, classes, 0.5),
                ours=nms,
                rivals={"torchvision": batched_nms} | ({"naive": nms_reference} if count <= 1000 else {}),
                moved=streamed,
            )


def soft_nms_cases(setting: Setting) -> Iterator[Case]:
    """Decaying scores, of one chip's refined boxes and of many."""
    for count in (30,) if setting.quick else (125, 1000, 5000):
        yield Case(
            op="soft_nms",
            shape=f"{count} boxes, 15 classes",
            make=partial(_boxes, count, 15),
            ours=soft_nms,
            rivals={"naive": soft_nms_reference},
            moved=streamed,
        )


def paste_masks_cases(setting: Setting) -> Iterator[Case]:
    """The masks of a dense chip; torchvision draws each of them into an image."""
    count, side = (5, 40) if setting.quick else (500, CHIP)
    size = (side, side)
    yield Case(
        op="paste_masks",
        shape=f"{count} masks of 28x28 in {side}x{side} px",
        make=partial(inputs.masks, count, side),
        ours=partial(paste_masks, image_size=size),
        rivals={
            "torchvision": partial(paste_images, image_size=size),
            "naive": partial(reference_masks, image_size=size),
        },
        moved=streamed,
    )


def _pools(setting: Setting) -> Iterator[tuple[int, int, int, torch.memory_format, torch.dtype]]:
    """Images, RoIs, bins, layout and type of what is pooled."""
    if setting.quick:
        yield 2, 20, 3, NHWC, torch.float32
        return
    gpu = setting.device.type == "cuda"
    for images, count in ((1, 1000), (4, 4000)) if gpu or setting.many else ((1, 1000),):
        yield images, count, 7, NCHW, torch.float32
        yield images, count, 7, NHWC, torch.float32
        yield images, count, 14, NHWC, torch.float32
    if gpu:
        yield 4, 4000, 7, NHWC, torch.float16


def _pool_inputs(
    setting: Setting, images: int, count: int, layout: torch.memory_format, dtype: torch.dtype
) -> tuple[list[Tensor], Tensor]:
    side, channels = (128, 8) if setting.quick else (CHIP, CHANNELS)
    return inputs.pyramid(images, channels, side, layout, dtype), inputs.rois(count, images, side)


def _deform_inputs(
    setting: Setting, images: int, count: int, layout: torch.memory_format, dtype: torch.dtype, bins: int
) -> tuple[list[Tensor], Tensor, Tensor]:
    features, rois = _pool_inputs(setting, images, count, layout, dtype)
    return features, rois, inputs.offsets(count, bins)


def _boxes(count: int, classes: int, *rest: float) -> tuple[Tensor | float, ...]:
    return *inputs.candidates(count, classes), *rest


def _words(images: int, count: int, bins: int, layout: torch.memory_format, dtype: torch.dtype) -> str:
    chips = f"{images} images, " if images > 1 else ""
    half = ", float16" if dtype == torch.float16 else ""
    return f"{chips}{count} RoIs, {bins}x{bins}, S=2, {LAYOUTS[layout]}{half}"


OPERATORS: Mapping[str, Callable[[Setting], Iterator[Case]]] = MappingProxyType(
    {
        "roi_align": roi_align_cases,
        "deform_roi_pool": deform_roi_pool_cases,
        "discriminative_pool": discriminative_pool_cases,
        "nms": nms_cases,
        "soft_nms": soft_nms_cases,
        "paste_masks": paste_masks_cases,
    }
)
