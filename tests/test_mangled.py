"""A sample of ``tests/bench/mangled.py``: mangled scenes give an honest result or one clear line."""

import subprocess
import sys
from pathlib import Path

from tests.mangled_scenes import mangled_scenes

BENCH = Path(__file__).parent / "bench" / "mangled.py"


def test_a_sample_of_mangled_scenes():
    result = subprocess.run([sys.executable, BENCH, "--count", "12"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "12 mangled scenes: " in result.stdout
    assert " 0 misbehave" in result.stdout


def test_the_same_seed_mangles_in_the_same_way(tmp_path):
    first, second = (list(mangled_scenes(tmp_path / name, 200)) for name in ("first", "second"))
    assert [path.name for path in first] == [path.name for path in second]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert len({path.read_bytes() for path in first}) > 190
