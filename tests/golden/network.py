"""The authors' configurations with the weights their numbers were recorded with."""

from __future__ import annotations

import torch

from d2det_geo.model.bundle import build_from_card
from d2det_geo.model.convention import Convention, from_corners
from d2det_geo.model.d2det import D2Det
from d2det_geo.model.official import translate
from d2det_geo.pipeline.import_weights import Arch, official_card
from tests.golden import weights_rule
from tests.golden.goldens import HERE

KEYS = {"r50": "r50_det", "r101": "r101_det", "r101-dcn": "r101_dcn_det", "r101-inst": "r101_inst"}
SEED, IMAGE_SEED = 7, 100
IMAGE_SIZE = (250, 310)  # of the valid part


def official_network(arch: Arch) -> D2Det:
    """Build a network as ``import-weights`` does, stem and first stage frozen, in evaluation mode."""
    with torch.device("meta"):
        network = build_from_card(official_card(arch), trainable_stages=3)
    weights = weights_rule.make_state_dict(str(HERE / f"state_dict_keys_{KEYS[arch]}.json"), SEED)
    network.load_state_dict(translate(weights, network.state_dict()), assign=True)
    return network.to(memory_format=torch.channels_last).eval()


def images() -> torch.Tensor:
    """Make the two images of the numbers, ``[2, 3, 256, 320]``, normalised and padded."""
    return weights_rule.make_image(IMAGE_SEED)


def our_boxes(theirs: torch.Tensor) -> torch.Tensor:
    """Put boxes ``[..., 4]`` that end at their last pixel, or RoIs with the image in front, into our frame."""
    return torch.cat([theirs[..., :-4], from_corners(theirs[..., -4:], Convention.LEGACY)], -1)
