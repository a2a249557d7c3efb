"""Normalised pooling with exponential weights, in plain torch."""

from torch import Tensor
from torch.nn.functional import avg_pool2d


def discriminative_pool(features: Tensor, gate: Tensor) -> Tensor:
    """Average each 3x3 neighbourhood, at stride 2, by the weights ``exp(12 sigmoid(gate))``.

    D2Det specification, section 5.3: windows are clipped to the map, and the sum of weights
    divides out, so any common factor does too. The exponent is centred on 0: weights lie in
    ``[e^-6, e^6]`` and a gate of 0 weighs 1. Computed in float32 whatever comes in.

    Args:
        features: ``[K, C, 2P, 2P]`` samples.
        gate: ``[K, C, 2P, 2P]`` logits of the weights.

    Returns:
        ``[K, C, P, P]`` float32.
    """
    weights = (12 * gate.float().sigmoid() - 6).exp()
    pooled: Tensor = avg_pool2d(weights * features.float(), 3, 2, 1) / avg_pool2d(weights, 3, 2, 1)
    return pooled
