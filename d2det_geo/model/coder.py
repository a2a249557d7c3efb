"""Boxes as shifts and stretches of other boxes."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder

from d2det_geo.model.convention import Convention


class DeltaCoder(BoxCoder):  # type: ignore[misc] # torchvision is untyped
    """Faster R-CNN's coder; a legacy one limits how far a box shrinks, too."""

    def __init__(self, weights: tuple[float, float, float, float], convention: Convention) -> None:
        super().__init__(weights)
        self.convention = convention

    def decode_single(self, rel_codes: Tensor, boxes: Tensor) -> Tensor:
        """Apply deltas ``[B, 4]`` (dx, dy, dw, dh times ``weights``) to ``[B, 4]`` boxes, in no less than float32."""
        rel_codes = rel_codes.to(torch.promote_types(rel_codes.dtype, torch.float32))
        if self.convention is Convention.LEGACY:
            limit = -self.bbox_xform_clip
            least = [-float("inf"), -float("inf"), limit * self.weights[2], limit * self.weights[3]]
            rel_codes = rel_codes.maximum(rel_codes.new_tensor(least))
        decoded: Tensor = super().decode_single(rel_codes, boxes)
        return decoded
