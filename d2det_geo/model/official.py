"""Checkpoints of the authors' code (mmdetection 1): reading them safely, and their parameter names in ours.

Both lists of names are of equal length and every tensor has one home; what differs is the background channel
of the mask and mask-IoU heads, which the authors keep and nobody reads.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from d2det_geo.errors import InputError
from d2det_geo.model.tar_checkpoint import is_tar, read_tar

NAMED = 3  # keys an error lists before it counts

_HEADS = {
    "rpn_head.rpn_conv": "rpn.head.conv.0.0",
    "rpn_head.rpn_cls": "rpn.head.cls_logits",
    "rpn_head.rpn_reg": "rpn.head.bbox_pred",
    "bbox_head.shared_fcs.0": "classifier.layers.1",
    "bbox_head.shared_fcs.1": "classifier.layers.3",
    "bbox_head.fc_cls": "classifier.layers.5",
    "D2Det_head.D2Det_reg": "localiser.votes.offsets",
    "D2Det_head.D2Det_mask": "localiser.votes.overlap",
    "D2Det_head.deconv1": "localiser.mask.up1",
    "D2Det_head.norm1": "localiser.mask.norm",
    "D2Det_head.deconv2": "localiser.mask.up2",
    "D2Det_head.D2Det_instance": "localiser.mask.logits",
    "D2Det_head.fcs.0": "localiser.mask_iou.layers.1",
    "D2Det_head.fcs.1": "localiser.mask_iou.layers.3",
    "D2Det_head.fc_instance_iou": "localiser.mask_iou.layers.5",
}
_REPEATED = {
    "neck.lateral_convs.{0}.conv": ("pyramid.fpn.inner_blocks.{0}.0", 4),
    "neck.fpn_convs.{0}.conv": ("pyramid.fpn.layer_blocks.{0}.0", 4),
    "bbox_roi_extractor.roi_layers.{0}.awp.weight.conv": ("classifier.pooling.levels.{0}.gate.0", 4),
    "bbox_roi_extractor.roi_layers.{0}.awp.weight.bn": ("classifier.pooling.levels.{0}.gate.1", 4),
    "bbox_roi_extractor.roi_layers.{0}.offset_fc.0": ("classifier.pooling.levels.{0}.offsets.1", 4),
    "bbox_roi_extractor.roi_layers.{0}.offset_fc.2": ("classifier.pooling.levels.{0}.offsets.3", 4),
    "bbox_roi_extractor.roi_layers.{0}.offset_fc.4": ("classifier.pooling.levels.{0}.offsets.5", 4),
}
_LAYERS_PER_CONV = 3  # of the dense trunk: convolution, norm, activation
_TRUNK = {
    f"D2Det_head.convs.{conv}.{part}": f"localiser.trunk.layers.{_LAYERS_PER_CONV * conv + layer}"
    for conv in range(8)
    for layer, part in enumerate(("conv", "gn"))
}
_MODULES = (
    _HEADS
    | _TRUNK
    | {
        theirs.format(level): ours.format(level)
        for theirs, (ours, count) in _REPEATED.items()
        for level in range(count)
    }
)
_THEIRS = {ours: theirs for theirs, ours in _MODULES.items()}
_WITH_BACKGROUND = ("localiser.mask.logits.", "localiser.mask_iou.layers.5.")
_BACKBONE, _BODY = "backbone.", "pyramid.body."
_COUNTER = ".num_batches_tracked"


def official_name(name: str) -> str:
    """Give the authors' name of one of our parameters."""
    if name.startswith(_BODY):
        return _BACKBONE + name.removeprefix(_BODY)
    module, _, leaf = name.rpartition(".")
    return f"{_THEIRS[module]}.{leaf}"


def read_official(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint by the authors' names; nothing in the file is run.

    All three file formats of PyTorch are read (zip; the stream of pickles before 1.6; the tar before 0.2), with the
    state alone or wrapped with optimiser and meta data. Prefixes of data-parallel training are removed, and names of
    older mmdetection brought up to date.

    Raises:
        InputError: the file is missing, damaged, no checkpoint, or holds more than tensors and plain values.
    """
    document = _load(path)
    state = document.get("state_dict", document) if isinstance(document, Mapping) else None
    if not isinstance(state, Mapping) or not state or not all(isinstance(name, str) for name in state):
        raise InputError(f"{path}: holds no parameters by name; expected a checkpoint of the authors' code")
    odd = next((name for name, value in state.items() if not isinstance(value, Tensor)), None)
    if odd is not None:
        raise InputError(
            f"{path}: {odd} is {type(state[odd]).__name__}, not a tensor; expected the authors' checkpoint"
        )
    return {_current(name): value for name, value in state.items()}


def _current(name: str) -> str:
    return name.removeprefix("module.").replace(".conv2_offset.", ".conv2.conv_offset.")


def _load(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            start = file.read(2)
    except OSError as error:
        raise InputError(f"{path}: cannot read the checkpoint ({error.strerror}); give the path of a .pth") from error
    tar = is_tar(path)
    try:
        if tar:
            return read_tar(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle protocols; what is read is checked below
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can fail in any way
        known = tar or start == b"PK" or start[:1] == b"\x80"
        raise InputError(f"{path}: {_reason(error, known)}") from error


def _reason(error: Exception, known: bool) -> str:
    code = re.search(r"GLOBAL (\S+)", str(error))
    if code:
        return f"refused: it asks to run {code[1]}, and a checkpoint needs only tensors and plain values"
    if not known:
        return "not a PyTorch checkpoint; expected a .pth of the authors' code"
    return "a damaged or truncated PyTorch checkpoint, or none; download it again"


def translate(official: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give every tensor our name, without the background channel of the mask heads.

    Args:
        official: tensors by the authors' names, from ``read_official``.
        wanted: our parameters, for names and shapes only.

    Returns:
        A state the network loads strictly, in float32.

    Raises:
        InputError: names or shapes differ; the message counts them and names the first.
    """
    shapes = {official_name(ours): _official_shape(ours, tensor) for ours, tensor in wanted.items()}
    misshaped = [
        f"{name} is {list(official[name].shape)} and not {shapes[name]}"
        for name in sorted(shapes.keys() & official.keys())
        if list(official[name].shape) != shapes[name]
    ]
    missing = sorted(name for name in shapes.keys() - official.keys() if not name.endswith(_COUNTER))
    problems = {"missing": missing, "unexpected": sorted(official.keys() - shapes.keys()), "mis-shaped": misshaped}
    if any(problems.values()):
        raise InputError("; ".join(_listed(what, found) for what, found in problems.items() if found))
    return {ours: _ours(ours, official.get(official_name(ours))) for ours in wanted}


def _official_shape(ours: str, tensor: Tensor) -> list[int]:
    shape = list(tensor.shape)
    return [shape[0] + 1, *shape[1:]] if ours.startswith(_WITH_BACKGROUND) else shape


def _ours(name: str, tensor: Tensor | None) -> Tensor:
    if tensor is None:  # PyTorch before 0.4.1 kept no counters
        return torch.zeros((), dtype=torch.int64)
    kept = tensor[1:] if name.startswith(_WITH_BACKGROUND) else tensor
    return kept.float() if kept.is_floating_point() else kept


def _listed(what: str, found: list[str]) -> str:
    rest = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return f"{len(found)} {what}: {', '.join(found[:NAMED])}{rest}"
