"""The heads of the second stage (D2Det specification, sections 5.4, 6, 7 and 10.1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from d2det_geo.model.coder import DeltaCoder
from d2det_geo.model.convention import Convention, from_corners, to_corners
from d2det_geo.model.pooling import PlainPooling
from d2det_geo.model.targets import CELLS, cell_centres

GROUP = 16  # channels of a GroupNorm group


def fully_connected(inputs: int, width: int, outputs: int) -> nn.Sequential:
    """Two hidden layers and a linear one, initialised as the authors do."""
    layers = nn.Sequential(
        nn.Flatten(),
        nn.Linear(inputs, width),
        nn.ReLU(inplace=True),
        nn.Linear(width, width),
        nn.ReLU(inplace=True),
        nn.Linear(width, outputs),
    )
    linears = [layer for layer in layers if isinstance(layer, nn.Linear)]
    for layer in linears[:-1]:
        nn.init.xavier_uniform_(layer.weight)
    nn.init.normal_(linears[-1].weight, std=0.01)
    for layer in linears:
        nn.init.zeros_(layer.bias)
    return layers


class ClassificationHead(nn.Module):
    """Pooled RoIs to class logits; column 0 is background."""

    def __init__(self, pooling: nn.Module, channels: int, width: int, classes: int) -> None:
        super().__init__()
        self.pooling = pooling
        self.layers = fully_connected(channels * CELLS**2, width, classes + 1)

    def forward(self, features: Sequence[Tensor], rois: Tensor) -> Tensor:
        """Return ``[K, M + 1]`` logits of ``[K, 5]`` RoIs."""
        logits: Tensor = self.layers(self.pooling(features, rois))
        return logits.float()


class DenseTrunk(nn.Module):
    """RoIAlign 14x14 and a stack of convolutions, the first of stride 2, to 7x7 cells."""

    def __init__(self, channels: int, width: int, convs: int, convention: Convention) -> None:
        super().__init__()
        self.pooling = PlainPooling(2 * CELLS, convention)
        layers: list[nn.Module] = []
        for index in range(convs):
            conv = nn.Conv2d(width if index else channels, width, 3, stride=1 if index else 2, padding=1, bias=False)
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            layers += [conv, nn.GroupNorm(width // GROUP, width), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Sequence[Tensor], rois: Tensor) -> Tensor:
        """Return ``[K, width, 7, 7]`` of ``[K, 5]`` RoIs."""
        cells: Tensor = self.layers(self.pooling(features, rois))
        return cells


class DenseLocalRegression(nn.Module):
    """Each of 7x7 cells votes for a box; an overlap map picks the votes that count."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.offsets = nn.Conv2d(width, 4, 3, padding=1)
        self.overlap = nn.Conv2d(width, 1, 3, padding=1)
        for layer, bias in ((self.offsets, 0.5), (self.overlap, 0.0)):
            nn.init.normal_(layer.weight, std=0.001)
            # Votes start at half the RoI on every side: in a frame where a box of no width is
            # empty, the authors' start at zero has no gradient.
            nn.init.constant_(layer.bias, bias)  # type: ignore[arg-type]

    def forward(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Return non-negative offsets ``[K, 4, 7, 7]`` (left, right, top, bottom) and overlap logits ``[K, 7, 7]``."""
        return F.relu(self.offsets(cells)).float(), self.overlap(cells)[:, 0].float()


def decode_votes(offsets: Tensor, boxes: Tensor, convention: Convention) -> Tensor:
    """Turn offsets, shares of the RoI's size, into each cell's box (section 7.5).

    Args:
        offsets: ``[K, 4, 7, 7]`` as left, right, top, bottom.
        boxes: ``[K, 4]`` RoIs.
        convention: decides the width of a RoI.

    Returns:
        ``[K, 7, 7, 4]`` xyxy.
    """
    corners = to_corners(boxes, convention)
    x, y = cell_centres(corners)
    width, height = (side[:, None, None] for side in (corners[:, 2:] - corners[:, :2]).unbind(1))
    left, right, top, bottom = offsets.unbind(1)
    votes = torch.stack([x - left * width, y - top * height, x + right * width, y + bottom * height], -1)
    return from_corners(votes, convention)


def combine_votes(votes: Tensor, overlap: Tensor, boxes: Tensor, convention: Convention) -> Tensor:
    """Average the votes of the cells whose overlap logit is positive (section 9 step 5).

    Args:
        votes: ``[K, 7, 7, 4]``.
        overlap: ``[K, 7, 7]`` logits.
        boxes: ``[K, 4]`` RoIs; one without a positive cell keeps its box, a legacy one becomes the first pixel.
        convention: see ``boxes``.

    Returns:
        ``[K, 4]``.
    """
    chosen = (overlap > 0).float()[..., None]
    count = chosen.sum((1, 2))
    if convention is Convention.LEGACY:
        total = (to_corners(votes, convention) * chosen).sum((1, 2))
        return from_corners(total / (count + 1e-5), convention)
    mean = (votes * chosen).sum((1, 2)) / count.clamp(min=1)
    return torch.where(count > 0, mean, boxes)


class GlobalRegression(nn.Module):
    """One box per RoI from fully connected layers: the paper's baseline for dense local regression."""

    def __init__(self, channels: int, width: int, convention: Convention) -> None:
        super().__init__()
        self.pooling = PlainPooling(CELLS, convention)
        self.layers = fully_connected(channels * CELLS**2, width, 4)
        self.coder = DeltaCoder((10.0, 10.0, 5.0, 5.0), convention)

    def forward(self, features: Sequence[Tensor], rois: Tensor) -> Tensor:
        """Return the box deltas ``[K, 4]`` of ``[K, 5]`` RoIs."""
        deltas: Tensor = self.layers(self.pooling(features, rois))
        return deltas.float()

    def decode(self, deltas: Tensor, boxes: Tensor) -> Tensor:
        """Apply ``[K, 4]`` deltas to ``[K, 4]`` boxes."""
        refined: Tensor = self.coder.decode_single(deltas, boxes)
        return refined

    def loss(self, deltas: Tensor, boxes: Tensor, objects: Tensor) -> Tensor:
        """Smooth L1 between deltas and the ones that reach ``objects``, averaged over RoIs."""
        truth = self.coder.encode_single(objects, boxes)
        return F.smooth_l1_loss(deltas, truth, reduction="sum") / max(len(boxes), 1)


class MaskHead(nn.Module):
    """Trunk cells to one 28x28 mask per class."""

    def __init__(self, inputs: int, width: int, classes: int) -> None:
        super().__init__()
        self.up1 = nn.ConvTranspose2d(inputs, width, 2, stride=2)
        self.norm = nn.GroupNorm(width // GROUP, width)
        self.up2 = nn.ConvTranspose2d(width, width, 2, stride=2)
        self.logits = nn.Conv2d(width, classes, 3, padding=1)
        for layer in (self.up1, self.up2, self.logits):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, cells: Tensor, labels: Tensor) -> Tensor:
        """Return ``[K, 28, 28]`` logits of each RoI's class ``labels [K]``."""
        hidden = F.relu(self.up2(F.relu(self.norm(self.up1(cells)))))
        logits: Tensor = self.logits(hidden)
        return logits[torch.arange(len(labels), device=labels.device), labels].float()


class MaskIoUHead(nn.Module):
    """Trunk cells and a predicted mask to the IoU that mask will have."""

    def __init__(self, inputs: int, width: int, classes: int) -> None:
        super().__init__()
        self.layers = fully_connected((inputs + 1) * CELLS**2, width, classes)

    def forward(self, cells: Tensor, mask_logits: Tensor, labels: Tensor) -> Tensor:
        """Return ``[K]`` IoUs. The masks ``[K, 28, 28]`` are looked at, not trained, through here."""
        glance = F.max_pool2d(mask_logits.detach()[:, None], 4, 4, 1).sigmoid()
        predicted: Tensor = self.layers(torch.cat([cells, glance.to(cells.dtype)], 1))
        return predicted[torch.arange(len(labels), device=labels.device), labels].float()
