"""Scored boxes of classes, for the tests of suppression."""

import torch
from hypothesis import strategies as st
from torch import Tensor

Crowd = tuple[Tensor, Tensor, Tensor]


def crowd(count: int, classes: int, side: float = 200, copies: int = 6, seed: int = 0) -> Crowd:
    """Boxes, scores and labels: ``copies`` or so of each object, shifted and stretched, all of its class."""
    generator = torch.Generator().manual_seed(seed)
    objects = max(count // copies, 1)
    of = torch.randint(objects, (count,), generator=generator)
    centre = torch.rand(objects, 2, generator=generator)[of] * side
    size = torch.exp(torch.randn(objects, 2, generator=generator) * 0.6)[of] * 20
    centre = centre + size * torch.randn(count, 2, generator=generator) * 0.15
    size = size * torch.exp(torch.randn(count, 2, generator=generator) * 0.15)
    scores = torch.rand(count, generator=generator)
    labels = torch.randint(classes, (objects,), generator=generator)[of]
    return torch.cat([centre - size / 2, centre + size / 2], 1), scores, labels


def strangers(count: int) -> Crowd:
    """As many boxes that are empty, inside out, not finite or not a number, and scores that are not, among others."""
    boxes, scores, labels = crowd(count, 3, seed=count)
    nan, inf = float("nan"), float("inf")
    odd = torch.tensor(
        [
            [5, 5, 5, 9],
            [9, 9, 5, 5],
            [9, 1, 5, 8],
            [nan, 0, 9, 9],
            [0, 0, inf, 9],
            [-inf, -inf, inf, inf],
            [0, 0, 9, nan],
        ]
    )
    boxes[: len(odd)] = odd
    boxes[len(odd) : 2 * len(odd)] = odd
    boxes[-3] += 900
    scores[-3:-1] = nan
    return boxes, scores, labels


@st.composite
def lattice_crowds(draw: st.DrawFn, most: int = 14, scales: tuple[float, ...] = (1, 1e-3, 1e6, 1e-161, 1e160)) -> Crowd:
    """Boxes on few places, so that they touch, coincide, tie and are empty; float64, at any scale."""
    count = draw(st.integers(0, most))
    corners = [draw(st.tuples(*[st.integers(0, 6)] * 4)) for _ in range(count)]
    boxes = torch.tensor(corners, dtype=torch.float64).reshape(count, 4)
    if draw(st.booleans()):
        boxes = torch.cat([torch.minimum(boxes[:, :2], boxes[:, 2:]), torch.maximum(boxes[:, :2], boxes[:, 2:])], 1)
    boxes = boxes * draw(st.sampled_from(scales)) + draw(st.sampled_from([0, -3, 1e6]))
    scores = torch.tensor([draw(st.sampled_from([0.1, 0.5, 0.9])) for _ in range(count)], dtype=torch.float64)
    labels = torch.tensor([draw(st.sampled_from([0, 2, -7])) for _ in range(count)], dtype=torch.int64)
    return boxes, scores, labels
