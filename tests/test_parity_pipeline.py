"""How pixels are fed to the authors' network, against numbers from their code."""

import pytest
import torch
from torch.nn import functional as F

from d2det_geo.pipeline.detect import normalised
from d2det_geo.pipeline.import_weights import official_card
from tests.golden.goldens import golden

NUMBERS = golden("pipeline_golden")
CARD = official_card("r50")


@pytest.mark.parametrize("view", ["noflip", "flip"])
def test_bands_are_normalised_and_padded_alike(view):
    height, width = NUMBERS[f"{view}_img_shape"][:2].tolist()
    theirs = NUMBERS[f"{view}_img_chw"]
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (CARD.mean, CARD.std))
    levels = (theirs[:, :height, :width] * std + mean).round()
    red_first = NUMBERS["bgr_uint8"].flip(2).permute(2, 0, 1)[None].float()
    resized = F.interpolate(red_first, (height, width), mode="bilinear")[0]
    assert (resized - (levels.flip(2) if view == "flip" else levels)).abs().max() <= 1
    ours = normalised([levels.to(torch.uint8).numpy()], CARD, torch.device("cpu"))[0]
    assert list(ours.shape[1:]) == NUMBERS[f"{view}_pad_shape"][:2].tolist()
    NUMBERS.close(f"{view}_img_chw", ours, 1e-5)
