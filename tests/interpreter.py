"""Kernels run in Triton's interpreter where no GPU is. Import it before torchvision, which imports triton."""

from __future__ import annotations

import os

import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
