"""How weights change: optimiser, learning rate by step, running average of the weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from d2det_geo.config import OptimiserSettings
from d2det_geo.model.d2det import D2Det


def build_optimiser(network: D2Det, settings: OptimiserSettings) -> torch.optim.Optimizer:
    """Build SGD or AdamW over what learns; norms and biases do not decay.

    Every group keeps its share of the base rate as ``share``, for ``set_rate``.
    """
    in_backbone = {id(parameter) for parameter in network.pyramid.body.parameters()}
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for parameter in network.parameters():
        if parameter.requires_grad:
            groups.setdefault((id(parameter) in in_backbone, parameter.ndim > 1), []).append(parameter)
    arguments = [
        {
            "params": parameters,
            "share": settings.backbone_rate if backbone else 1.0,
            "weight_decay": settings.weight_decay if decays else 0.0,
        }
        for (backbone, decays), parameters in groups.items()
    ]
    if settings.kind == "adamw":
        return torch.optim.AdamW(arguments, lr=settings.learning_rate)
    return torch.optim.SGD(arguments, lr=settings.learning_rate, momentum=settings.momentum)


def set_rate(optimiser: torch.optim.Optimizer, settings: OptimiserSettings, step: int, steps: int) -> float:
    """Set the learning rate of ``step`` (from 0) in a run of ``steps``; return the base rate."""
    rate = settings.learning_rate * rate_share(settings, step, steps)
    for group in optimiser.param_groups:
        group["lr"] = rate * group["share"]
    return rate


def rate_share(settings: OptimiserSettings, step: int, steps: int) -> float:
    """Share of the peak learning rate at ``step``: a linear warm-up, then a cosine to 0 or steps of x0.1."""
    if step < settings.warmup_steps:
        start = settings.warmup_start or 1 / (settings.warmup_steps + 1)
        return start + (1 - start) * step / settings.warmup_steps
    if settings.schedule == "step":
        return 0.1 ** sum(step >= milestone * steps for milestone in settings.milestones)
    done = (step - settings.warmup_steps) / max(steps - settings.warmup_steps, 1)
    return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def update_average(average: dict[str, Tensor], network: nn.Module, decay: float, step: int) -> None:
    """Move the average of the weights towards the network; early on it forgets faster.

    Args:
        average: tensors by name, changed in place.
        network: whose state has the same names.
        decay: share of the old average that stays, once ``step`` is large.
        step: steps done before this one.
    """
    keep = min(decay, (1 + step) / (10 + step)) if decay else 0.0
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                average[name].lerp_(value, 1 - keep)
            else:
                average[name].copy_(value)
