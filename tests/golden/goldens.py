"""Numbers recorded from the authors' code: whole where they are at hand, reduced in this folder."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

HERE = Path(__file__).parent
REPOSITORY = HERE.parent.parent

ALL = slice(None)
EVERY = {2: slice(None, None, 2), 4: slice(None, None, 4), 8: slice(None, None, 8), 16: slice(None, None, 16)}
LEFT_OUT = {"r50_features_rpn": {"image"}, "r50_train": {"image"}}  # a rule makes it as well
KEPT: dict[str, dict[str, tuple[slice, ...]]] = {  # part of an array the reduction keeps
    "r50_features_rpn": {
        "C2_slice": (ALL, EVERY[4], EVERY[2]),
        "C3_slice": (ALL, EVERY[8]),
        "C4_slice": (ALL, EVERY[8]),
        "C5_slice": (ALL, EVERY[8]),
        "P2_slice": (ALL, EVERY[8]),
        "P3_slice": (ALL, EVERY[4]),
        "P4_slice": (ALL, EVERY[8]),
        "P5_slice": (ALL, EVERY[8]),
        "P6_slice": (ALL, EVERY[4]),
        "rpn_reg_0": (ALL, ALL, EVERY[4]),
        "rpn_reg_1": (ALL, ALL, EVERY[2]),
    },
    "r50_roi_heads": {
        "pool1_3x3": (ALL, EVERY[16]),
        "pool2_14x14_ch8": (ALL, EVERY[16]),
        "pool2_14x14_first4": (ALL, EVERY[16]),
        "awp_gate_ch8": (ALL, EVERY[16]),
        "bbox_feats": (ALL, EVERY[16]),
        "bbox_fc": (ALL, EVERY[8]),
        "roialign_14x14_ch16": (ALL, EVERY[8]),
        "roialign_first4": (ALL, EVERY[16]),
        "head_convs_ch8": (ALL, EVERY[8]),
    },
    "r50_train": {
        "cls_score": (EVERY[8],),
        "reg_points": (EVERY[4],),
        "reg_targets": (EVERY[4],),
        "reg_decoded_target": (EVERY[16],),
        "rpn_assign_anchor_inside_0": (EVERY[16],),
        "rpn_assign_anchor_inside_1": (EVERY[16],),
        "grad.D2Det_head.D2Det_reg.weight": (ALL, EVERY[8]),
        "grad.D2Det_head.D2Det_mask.weight": (ALL, EVERY[4]),
    },
}


def shared() -> Path:
    """Give the folder of the whole set; it need not exist."""
    return Path(os.environ.get("D2DET_SHARED", REPOSITORY.parent / "shared")) / "golden" / "d2det"


class Golden:
    """One file: its arrays as tensors, and what of a result to compare them with."""

    def __init__(self, name: str) -> None:
        whole = shared() / f"{name}.npz"
        self.whole = whole.is_file()
        with np.load(whole if self.whole else HERE / f"{name}.npz", allow_pickle=False) as archive:
            self.arrays: dict[str, NDArray[Any]] = {key: archive[key] for key in archive.files}
        self.kept = {} if self.whole else KEPT.get(name, {})

    def __getitem__(self, key: str) -> Tensor:
        return torch.from_numpy(self.arrays[key])

    def close(self, key: str, result: Tensor, atol: float, rtol: float = 0.0) -> None:
        """Compare the array ``key`` with the whole ``result``, or the part of it that was kept."""
        part = result.detach()[self.kept.get(key, ())]
        torch.testing.assert_close(
            part, self[key].to(part.dtype), atol=atol, rtol=rtol, msg=lambda text: f"{key}: {text}"
        )


@cache
def golden(name: str) -> Golden:
    """Read a file once."""
    return Golden(name)
