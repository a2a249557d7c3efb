"""Modulated deformable convolution (DCNv2)."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models import ResNet
from torchvision.ops import deform_conv2d


class DeformableConv(nn.Conv2d):
    """A 3x3 convolution without bias whose taps move, each with a weight of its own, as its input says."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__(inputs, outputs, 3, stride, padding=1, bias=False)
        self.conv_offset = nn.Conv2d(inputs, 27, 3, stride, padding=1)
        nn.init.zeros_(self.conv_offset.weight)  # starts as half of the plain convolution
        nn.init.zeros_(self.conv_offset.bias)  # type: ignore[arg-type]

    def forward(self, input: Tensor) -> Tensor:
        """Convolve ``[N, C, H, W]``."""
        moves = self.conv_offset(input)
        offsets, mask = moves[:, :18], moves[:, 18:].sigmoid()
        convolved: Tensor = deform_conv2d(
            input, offsets, self.weight, None, self.stride, self.padding, self.dilation, mask
        )
        return convolved


def deform(body: ResNet) -> None:
    """Make the 3x3 convolutions of a ResNet of bottlenecks deformable in c3 to c5, with random weights."""
    for stage in (body.layer2, body.layer3, body.layer4):
        for block in stage:
            old = block.conv2
            block.conv2 = DeformableConv(old.in_channels, old.out_channels, old.stride[0])
