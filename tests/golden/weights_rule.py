"""Deterministic weights and inputs, no files needed: numpy RandomState(crc32(key) ^ seed) per state-dict key.

make_state_dict(keys, seed): keys = list of [key, shape, dtype] in the OFFICIAL (mmdetection v1) naming
(state_dict_keys_*.json).  The value depends only on (key, shape, seed), never on the order of the keys.
"""

import json
import zlib
from pathlib import Path

import numpy as np
import torch

# (substring of key, gain) - first match wins; std = gain / sqrt(fan_in)   (default gain 1.414)
GAIN = [
    ("fpn_convs.0", 0.35),
    ("fpn_convs.1", 0.6),
    ("fpn_convs.2", 0.8),
    ("fpn_convs.3", 1.2),
    ("lateral_convs", 0.5),
    ("rpn_cls", 1.0),
    ("rpn_reg", 0.25),
    ("awp.weight.conv", 1.0),
    ("offset_fc.4", 1.5),
    ("fc_cls", 2.2),
    ("D2Det_reg", 0.3),
    ("D2Det_mask", 2.0),
    ("D2Det_instance", 3.0),
    ("fc_instance_iou", 1.0),
    ("conv_offset", 0.7),
]
# rows made zero-mean (outputs then vary around the bias instead of around a large common offset)
ZERO_MEAN = ("rpn_cls", "rpn_reg", "fc_cls", "D2Det_reg", "D2Det_mask", "D2Det_instance", "fc_instance_iou")
# additive bias constant (on top of 0.1 * randn)
BIAS = [("D2Det_reg.bias", 0.5), ("D2Det_mask.bias", 0.2), ("fc_instance_iou.bias", 0.5)]


def _rand(key, shape, seed, uniform=False):
    rs = np.random.RandomState((zlib.crc32(key.encode()) ^ seed) & 0xFFFFFFFF)
    n = int(np.prod(shape)) if len(shape) else 1
    x = rs.random_sample(n) if uniform else rs.standard_normal(n)
    return x.reshape(shape)


def make_tensor(key, shape, dtype="float32", seed=0):
    shape = tuple(shape)
    leaf = key.rsplit(".", 1)[-1]
    if leaf == "num_batches_tracked":
        return torch.zeros(shape, dtype=torch.int64)
    if leaf == "running_var":
        v = 1 + 0.1 * _rand(key, shape, seed, uniform=True)
    elif leaf == "running_mean":
        v = 0.1 * _rand(key, shape, seed)
    elif leaf == "bias":
        v = 0.1 * _rand(key, shape, seed) + next((c for s, c in BIAS if key.endswith(s)), 0.0)
    elif len(shape) == 1:  # BN / GN / IN weight
        v = 1 + 0.1 * _rand(key, shape, seed)
        if ".bn3." in key:  # last norm of a bottleneck: keeps residual sums bounded
            v = 0.25 * v
    else:  # conv (O,I,kh,kw), deconv (I,O,kh,kw), fc (O,I)
        fan_in = shape[0] if ".deconv" in key else int(np.prod(shape[1:]))
        gain = next((g for s, g in GAIN if s in key), 1.414)
        v = _rand(key, shape, seed) * (gain / np.sqrt(fan_in))
        if any(z in key for z in ZERO_MEAN):
            v = v - v.mean(axis=tuple(range(1, v.ndim)), keepdims=True)
    return torch.from_numpy(np.ascontiguousarray(v, dtype=np.float64).astype(np.float32))


def make_state_dict(keys, seed=0):
    if isinstance(keys, str):
        keys = json.loads(Path(keys).read_text())
    return {k: make_tensor(k, s, d, seed) for k, s, d in keys}


def make_image(seed, h=256, w=320, n=2):
    """Network-ready (already normalised) float32 tensor (n,3,h,w): smooth noise + ellipses and rectangles."""
    rs = np.random.RandomState(seed)
    yy, xx = np.mgrid[0:h, 0:w].astype(np.float64)
    out = np.zeros((n, 3, h, w))
    for b in range(n):
        img = 0.15 * rs.standard_normal((3, h, w))
        img += np.sin(xx / 37 + b)[None] * 0.4 + np.cos(yy / 29 - b)[None] * 0.4
        for k in range(10):
            cx, cy, rx, ry = rs.uniform(0, w), rs.uniform(0, h), rs.uniform(8, 90), rs.uniform(8, 80)
            col = rs.uniform(-2, 2, 3)
            u, v = (xx - cx) / rx, (yy - cy) / ry
            m = (np.maximum(abs(u), abs(v)) < 1) if k % 2 else (u * u + v * v < 1)
            img[:, m] = col[:, None] + 0.1 * img[:, m]
        out[b] = img
    return torch.from_numpy(out.astype(np.float32))


def checksum(t):
    """[sum, sum|x|, crc32 of the raw float32 bytes] - compare before blaming the network."""
    a = t.detach().cpu().contiguous().numpy()
    return [float(a.astype(np.float64).sum()), float(np.abs(a.astype(np.float64)).sum()), zlib.crc32(a.tobytes())]
