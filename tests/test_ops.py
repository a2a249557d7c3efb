"""The operators against arithmetic by hand."""

import math

import pytest
import torch

from d2det_ops import discriminative_pool
