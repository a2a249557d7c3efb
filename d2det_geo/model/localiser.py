"""Where an object is: dense votes for its box, and its mask."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from d2det_geo.model import losses
from d2det_geo.model.convention import Convention, mask_frame
from d2det_geo.model.heads import (
    DenseLocalRegression,
    DenseTrunk,
    GlobalRegression,
    MaskHead,
    MaskIoUHead,
    combine_votes,
    decode_votes,
)
from d2det_geo.model.losses import Reading
from d2det_geo.model.targets import (
    Positives,
    mask_iou_targets,
    mask_targets,
    overlap_from_masks,
    overlap_labels,
)


class Localiser(nn.Module):
    """The localisation branch: a trunk of convolutions read by the vote, mask and mask-IoU heads."""

    def __init__(
        self,
        trunk: DenseTrunk | None,
        votes: DenseLocalRegression | None,
        plain: GlobalRegression | None,
        mask: MaskHead | None,
        mask_iou: MaskIoUHead | None,
        convention: Convention,
    ) -> None:
        """Assemble the branch.

        Args:
            trunk: RoIs to 7x7 cells; needed by every head but ``plain``.
            votes: dense local regression.
            plain: one box per RoI instead of votes (the paper's baseline).
            mask: masks of the cells, with ``mask_iou`` to judge them; None without masks.
            mask_iou: see ``mask``.
            convention: how votes and masks count pixels.

        Raises:
            ValueError: the parts do not make a branch.
        """
        super().__init__()
        if (votes is None) == (plain is None):
            raise ValueError("a localiser takes votes or a plain regression, one of them")
        if (mask is None) != (mask_iou is None):
            raise ValueError("masks and mask IoUs come together")
        if trunk is None and (votes is not None or mask is not None):
            raise ValueError("votes and masks need a trunk")
        self.trunk, self.votes, self.plain = trunk, votes, plain
        self.mask, self.mask_iou = mask, mask_iou
        self.convention = convention

    def losses(
        self, features: Sequence[Tensor], positives: Positives, reading: Reading = "masked"
    ) -> dict[str, Tensor]:
        """Compute the losses of the jittered positives of a batch (sections 8 and 10.3)."""
        boxes = positives.rois[:, 1:]
        result: dict[str, Tensor] = {}
        if self.plain is not None:
            deltas = self.plain(features, positives.rois)
            result["box"] = self.plain.loss(deltas, boxes, positives.objects)
        if self.trunk is None:
            return result
        cells = self.trunk(features, positives.rois)
        masks = None
        if self.mask is not None:
            if positives.masks is None:
                raise ValueError("masks are to be learned, but an image of the batch has none")
            masks = mask_targets(boxes, positives.objects, positives.masks, self.convention)
            result |= self._mask_losses(cells, masks, positives, reading)
        if self.votes is not None:
            overlap = (
                overlap_labels(boxes, positives.objects, self.convention)
                if masks is None
                else overlap_from_masks(masks)
            )
            offsets, logits = self.votes(cells)
            votes = decode_votes(offsets, boxes, self.convention)
            result["box"] = losses.regression_loss(votes, positives.objects, overlap, reading)
            result["overlap"] = losses.overlap_loss(logits, overlap)
        return result

    def _mask_losses(self, cells: Tensor, masks: Tensor, positives: Positives, reading: Reading) -> dict[str, Tensor]:
        assert self.mask is not None and self.mask_iou is not None and positives.masks is not None  # noqa: S101, PT018
        logits = self.mask(cells, positives.labels)
        predicted = self.mask_iou(cells, logits, positives.labels)
        frame = mask_frame(positives.rois[:, 1:], self.convention)
        reached = mask_iou_targets(logits.detach(), masks, frame, positives.objects, positives.masks)
        return {"mask": losses.mask_loss(logits, masks), "mask_iou": losses.mask_iou_loss(predicted, reached, reading)}

    def refine(self, features: Sequence[Tensor], rois: Tensor) -> Tensor:
        """Move ``[K, 5]`` RoIs onto their objects; ``[K, 4]``, not yet clipped to the image."""
        boxes = rois[:, 1:]
        if self.plain is not None:
            return self.plain.decode(self.plain(features, rois), boxes)
        assert self.trunk is not None and self.votes is not None  # noqa: S101, PT018
        offsets, overlap = self.votes(self.trunk(features, rois))
        return combine_votes(decode_votes(offsets, boxes, self.convention), overlap, boxes, self.convention)

    def masks(self, features: Sequence[Tensor], rois: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return mask probabilities ``[K, 28, 28]`` and predicted mask IoUs ``[K]`` of refined ``[K, 5]`` RoIs."""
        if self.trunk is None or self.mask is None or self.mask_iou is None:
            raise ValueError("this network was built without masks")
        cells = self.trunk(features, rois)
        logits = self.mask(cells, labels)
        return logits.sigmoid(), self.mask_iou(cells, logits, labels)
