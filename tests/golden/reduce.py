"""Make the reductions in this folder from the whole set: ``python -m tests.golden.reduce`` from the repository."""

from __future__ import annotations

import shutil

import numpy as np

from tests.golden.goldens import HERE, KEPT, LEFT_OUT, shared


def main() -> None:
    """Write the reduction of every array file, and copy the lists and sums of parameters."""
    for source in sorted(shared().glob("*.npz")):
        left_out, kept = LEFT_OUT.get(source.stem, set()), KEPT.get(source.stem, {})
        with np.load(source, allow_pickle=False) as archive:
            arrays = {key: archive[key][kept.get(key, ())] for key in archive.files if key not in left_out}
        np.savez_compressed(HERE / source.name, **arrays)
    for source in sorted(shared().glob("*.json")):
        shutil.copy(source, HERE)
        (HERE / source.name).chmod(0o644)


if __name__ == "__main__":
    main()
