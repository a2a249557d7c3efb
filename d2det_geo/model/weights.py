"""Pretrained backbones, read without pickle."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models.detection.backbone_utils import BackboneWithFPN

from d2det_geo.errors import InputError


def load_backbone(pyramid: BackboneWithFPN, path: Path) -> None:
    """Fill a pyramid's backbone from a file with torchvision's parameter names.

    A file with folded batch norms gives only their ``bias``: scale 1, mean 0 and variance 1 then stand.
    One of plain convolutions fills deformable ones, which then start undeformed.
    Entries the pyramid does not tap (a classifier, later layers) are left out.

    Args:
        pyramid: from ``build_pyramid``.
        path: ``.npz`` or ``.safetensors``.

    Raises:
        InputError: the file is unreadable, or a tensor the backbone needs is missing or mis-shaped.
    """
    tensors = {name.removeprefix("features."): value for name, value in _read(path).items()}
    wanted = pyramid.body.state_dict()
    neutral = _folded_norms(pyramid.body, tensors) | _undeformed(wanted)
    missing = sorted(set(wanted) - set(tensors) - set(neutral))
    if missing:
        raise InputError(
            f"{path}: lacks {len(missing)} tensors of this backbone, first {missing[0]}; is it another one?"
        )
    state = {name: tensors.get(name, neutral.get(name)) for name in wanted}
    for name, value in state.items():
        if value is None or value.shape != wanted[name].shape:
            shape = None if value is None else list(value.shape)
            raise InputError(f"{path}: {name} has shape {shape}, this backbone needs {list(wanted[name].shape)}")
    pyramid.body.load_state_dict(
        {name: value.to(wanted[name].dtype) for name, value in state.items() if value is not None}
    )


def _folded_norms(body: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give the neutral rest of every batch norm of which ``tensors`` has only the bias."""
    neutral: dict[str, Tensor] = {}
    for name, module in body.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            neutral[f"{name}.num_batches_tracked"] = torch.tensor(0)
            if f"{name}.bias" in tensors and f"{name}.weight" not in tensors:
                neutral[f"{name}.weight"] = torch.ones(module.num_features)
                neutral[f"{name}.running_mean"] = torch.zeros(module.num_features)
                neutral[f"{name}.running_var"] = torch.ones(module.num_features) - module.eps
    return neutral


def _undeformed(wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.zeros_like(value) for name, value in wanted.items() if ".conv_offset." in name}


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                return {name: torch.from_numpy(archive[name].astype(np.float32)) for name in archive.files}
        return load_file(path)
    except (OSError, ValueError, zipfile.BadZipFile, SafetensorError) as error:
        raise InputError(
            f"{path}: cannot read backbone weights ({error}); give an .npz or .safetensors file"
        ) from error
