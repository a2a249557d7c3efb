"""Model bundles: one ``.safetensors`` file that knows how it wants to be fed.

The tensors are the network's state; the metadata holds one JSON document, the ``Card``. Reading a
bundle never runs code from it. Bundles in ``d2det_geo/bundles`` ship with the package and go by name.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open

from d2det_geo.errors import InputError, UsageError

if TYPE_CHECKING:
    from d2det_geo.model.d2det import D2Det

SUFFIX = ".safetensors"
COUNTER = "num_batches_tracked"  # of a batch norm; nothing reads it, so bundles leave it out
FOLDER = Path(__file__).parent.parent / "bundles"


class Card(BaseModel):
    """What a bundle says about itself; ``predict`` obeys it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["d2det-bundle/1"] = "d2det-bundle/1"
    name: str
    description: str = ""
    classes: tuple[str, ...]
    gsd_m: float | None = None
    """metres per pixel of the training chips; None where training did not resample"""
    gsd_range_m: tuple[float, float] | None = None
    bands: tuple[str, str, str] = ("red", "green", "blue")
    dtype: Literal["uint8"] = "uint8"
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    chip_size: int
    overlap: int
    score: float
    """default of ``predict --score``"""
    architecture: dict[str, Any]
    """arguments of ``build.Architecture``"""
    proposals: dict[str, int]
    """arguments of ``build.ProposalLimits``"""
    sampling: dict[str, Any]
    """arguments of ``d2det.Sampling``"""
    inference: dict[str, Any]
    """arguments of ``d2det.Inference``"""
    data: tuple[str, ...] = ()
    """training data with licence and attribution, one line each"""
    training: dict[str, str | float] = {}
    """command, steps, duration, machine"""
    scores: dict[str, float] = {}
    """held-out scores"""
    git_revision: str = ""


def packaged_bundles() -> dict[str, Path]:
    """List the bundles that ship with the package, name to file."""
    return {path.stem: path for path in sorted(FOLDER.glob(f"*{SUFFIX}"))}


def find_bundle(name_or_path: str | Path) -> Path:
    """Find a bundle: the name of a packaged one, or a path.

    Raises:
        UsageError: neither; the message lists the names.
    """
    packaged = packaged_bundles()
    if str(name_or_path) in packaged:
        return packaged[str(name_or_path)]
    path = Path(name_or_path)
    if path.is_file():
        return path
    names = ", ".join(packaged) or "none"
    raise UsageError(f"{name_or_path}: no such model; packaged are: {names}; or give the path of a {SUFFIX} bundle")


def read_card(name_or_path: str | Path) -> Card:
    """Read what a bundle says about itself, without its tensors.

    Raises:
        UsageError: there is no such bundle.
        InputError: the file is not a d2det bundle.
    """
    path = find_bundle(name_or_path)
    try:
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get("d2det")
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: {_not_a_bundle(path)}; expected a {SUFFIX} file written by d2det train") from error
    if text is None:
        raise InputError(f"{path}: a safetensors file without a d2det card; expected one written by d2det train")
    try:
        return Card.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "card"
        raise InputError(
            f"{path}: unreadable d2det card ({key}: {first['msg']}); written by another version?"
        ) from error


def _not_a_bundle(path: Path) -> str:
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if start[:2] == b"PK" or start[:1] == b"\x80":
        return "a PyTorch pickle, which could run code when loaded"
    return "not a model bundle, or a damaged one"


def load_model(name_or_path: str | Path, device: str = "cpu") -> D2Det:
    """Load a bundle as a network in evaluation mode; its card is ``.card``.

    Args:
        name_or_path: a packaged name (``d2det models`` lists them) or the path of a bundle.
        device: where the network goes, in torch's words.

    Raises:
        UsageError: there is no such bundle.
        InputError: the file is not a d2det bundle, or its tensors do not fit its card.
    """
    from safetensors.torch import load_file  # noqa: PLC0415 - cards are read without torch

    path = find_bundle(name_or_path)
    card = read_card(path)
    try:
        network = build_from_card(card)
        counters = {name: value for name, value in network.state_dict().items() if name.endswith(COUNTER)}
        tensors = {name: tensor.float() for name, tensor in load_file(path).items()}
        network.load_state_dict(counters | tensors)
    except (SafetensorError, OSError, AttributeError, LookupError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: damaged bundle, its tensors do not fit its card ({reason})") from error
    network.card = card
    return network.eval().to(device)


def build_from_card(card: Card, *, trainable_stages: int = 5) -> D2Det:
    """Build the network a card describes, with random weights."""
    from d2det_geo.model.build import Architecture, ProposalLimits, build_model  # noqa: PLC0415
    from d2det_geo.model.convention import Convention  # noqa: PLC0415
    from d2det_geo.model.d2det import Inference, Sampling  # noqa: PLC0415

    parts = {
        **card.architecture,
        "anchor_sizes": tuple(card.architecture["anchor_sizes"]),
        "convention": Convention(card.architecture.get("convention", "aligned")),
    }
    return build_model(
        Architecture(**parts),
        ProposalLimits(**card.proposals),
        Sampling(**card.sampling),
        Inference(**card.inference),
        trainable_stages=trainable_stages,
    )


def save_bundle(path: Path, network: D2Det, card: Card, *, half: bool) -> None:
    """Write a bundle; float16 weights if ``half``. The caller makes the write atomic.

    Batch counters of the backbone's norms are left out: nothing reads them.
    """
    import torch  # noqa: PLC0415
    from safetensors.torch import save_file  # noqa: PLC0415

    kind = torch.float16 if half else torch.float32
    tensors = {
        name: value.detach().cpu().to(kind).contiguous()
        for name, value in network.state_dict().items()
        if not name.endswith(COUNTER)
    }
    save_file(tensors, path, metadata={"d2det": json.dumps(card.model_dump(mode="json"), sort_keys=True)})
    path.chmod(0o644)  # safetensors writes for the owner only, and a bundle is there to be shared
