"""A killed prediction goes on where it stopped, and ends with the bytes of one that was never killed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from d2det_geo.pipeline.ledger import ledger_path
from tests.kills import digests, finish, kills_and_resumes, predict, write_inputs


def test_killed_and_resumed_is_the_same_file(tmp_path: Path) -> None:
    out = "out.gpkg"
    write_inputs(tmp_path, 200)
    finish(predict(tmp_path, out))
    whole = digests(tmp_path / out)
    (tmp_path / out).unlink()
    hits = kills_and_resumes(tmp_path, out, 3, 1.0, np.random.default_rng(0))
    assert hits >= 1
    assert digests(tmp_path / out) == whole
    assert not list(tmp_path.glob(".out*"))
    assert not ledger_path(tmp_path / out).exists()
