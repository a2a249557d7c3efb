"""The boxes the region proposal network starts from."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator

from d2det_geo.model.backbones import STRIDES
from d2det_geo.model.convention import Convention

RATIOS = (0.5, 1.0, 2.0)


class Anchors(AnchorGenerator):  # type: ignore[misc] # torchvision is untyped
    """torchvision's anchors; legacy ones lie on the centres of their cells and keep the stride of their level."""

    def __init__(self, sizes: tuple[int, ...], convention: Convention) -> None:
        super().__init__(tuple((size,) for size in sizes), (RATIOS,) * len(sizes))
        self.convention = convention
        if convention is Convention.LEGACY:
            self.cell_anchors = [_legacy_cell(size, stride) for size, stride in zip(sizes, STRIDES, strict=True)]

    def set_cell_anchors(self, dtype: torch.dtype, device: torch.device) -> None:
        """Move the anchors of a cell to ``device``; autocast's ``dtype`` counts in steps of px, so in float32."""
        super().set_cell_anchors(torch.promote_types(dtype, torch.float32), device)

    def grid_anchors(self, grid_sizes: list[list[int]], strides: list[list[Tensor]]) -> list[Tensor]:
        """Lay the anchors of each level over its cells; ``[cells * ratios, 4]`` a level, row by row."""
        if self.convention is Convention.LEGACY:
            strides = [
                [torch.tensor(stride, device=old[0].device)] * 2 for stride, old in zip(STRIDES, strides, strict=True)
            ]
        anchors: list[Tensor] = super().grid_anchors(grid_sizes, strides)
        return anchors


def _legacy_cell(size: int, stride: int) -> Tensor:
    """Anchors ``[3, 4]`` of the first cell: on its centre, corners rounded."""
    ratios = torch.tensor(RATIOS, device="cpu")
    half = torch.stack([size / ratios.sqrt(), size * ratios.sqrt()], 1) / 2
    first, last = stride / 2 - half, stride / 2 + half - 1
    return torch.cat([first.round(), last.round() + 1], 1)
