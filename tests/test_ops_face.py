"""The lazy face of d2det_ops."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import d2det_ops, sys
assert set(d2det_ops.__all__) <= set(dir(d2det_ops))
assert "torch" not in sys.modules and "nms" not in vars(d2det_ops)
first = d2det_ops.nms
assert callable(first) and vars(d2det_ops)["nms"] is first
import d2det_ops.nms
assert d2det_ops.nms is first
from d2det_ops.nms import nms
assert nms is first
try:
    d2det_ops.none
except AttributeError as error:
    print(error)
"""


def test_operators_are_listed_found_once_and_never_hidden_by_their_folders() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout == "module 'd2det_ops' has no attribute 'none'\n"
