"""PyTorch's file format before 0.2, a tar of a few members, read in memory; nothing in it is run or unpacked to disk.

``torch.load`` reads this format only by running whatever its pickles ask for. Here a pickle gets dictionaries, types of
numbers, and the tensors of the other members, and what asks for more is refused.
"""

from __future__ import annotations

import pickle
import struct
import tarfile
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import closing
from math import prod
from pathlib import Path
from typing import IO, Any, NamedTuple

import torch
from torch import Tensor

_NUMBERS = {
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
}


class _Reference(NamedTuple):
    """A tensor as a pickle sees it: one itself would let the pickle set its memory."""

    number: int


class _Unpickler(pickle.Unpickler):
    """An unpickler that reaches nothing but an ordered dictionary, types of numbers, and tensors by number."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file, encoding="utf-8")  # of the strings of Python 2

    def find_class(self, module: str, name: str) -> Any:
        """Give what a pickle names, or refuse."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        kind = name.removesuffix("Storage").removesuffix("Tensor")
        if module in {"torch", "torch.cuda"} and kind != name and kind in _NUMBERS:
            return _NUMBERS[kind]
        raise pickle.UnpicklingError(f"GLOBAL {module}.{name} is not among what a checkpoint needs")

    def persistent_load(self, saved: Any) -> _Reference:
        """Give what stands for the tensor a pickle refers to."""
        return _Reference(int(saved))


def is_tar(path: Path) -> bool:
    """Tell whether ``path`` is an uncompressed tar."""
    try:
        with tarfile.open(path, "r:"):
            return True
    except tarfile.TarError:
        return False


def read_tar(path: Path) -> Any:
    """Read what was saved: dictionaries, lists and plain values with tensors in them, on the CPU.

    Raises:
        pickle.UnpicklingError: it asks for more; the message has ``GLOBAL`` and what it asks for.
        Exception: any other, as damaged pickles raise.
    """
    with tarfile.open(path, "r:") as archive:
        with _member(archive, "sys_info") as file:
            if not _Unpickler(file).load()["little_endian"]:
                raise ValueError("written by a big-endian machine")
        with _member(archive, "storages") as file:
            storages = _read_storages(file, path.stat().st_size)
        with _member(archive, "tensors") as file:
            tensors = _read_tensors(file, storages)
        with _member(archive, "pickle") as file:
            return _with_tensors(_Unpickler(file).load(), tensors)


def _with_tensors(value: Any, tensors: Mapping[int, Tensor]) -> Any:
    """Put the tensors where they are referred to, in dictionaries, lists and tuples."""
    match value:
        case _Reference(number):
            return tensors[number]
        case dict():
            return type(value)((key, _with_tensors(part, tensors)) for key, part in value.items())
        case list() | tuple():
            return type(value)(_with_tensors(part, tensors) for part in value)
        case _:
            return value


def _member(archive: tarfile.TarFile, name: str) -> closing[IO[bytes]]:
    file = archive.extractfile(name)
    if file is None:
        raise ValueError(f"{name} is no file")
    return closing(file)


def _read_storages(file: IO[bytes], most: int) -> dict[int, Tensor]:
    """Read the flat storages of the tensors, none above ``most`` bytes, and then their parts that are storages too."""
    storages = {}
    for _ in range(_Unpickler(file).load()):
        key, _device, dtype = _Unpickler(file).load()
        (count,) = struct.unpack("<q", file.read(8))
        if not 0 <= count * dtype.itemsize <= most:
            raise ValueError(f"{count} numbers in {most} bytes")
        data = bytearray(file.read(count * dtype.itemsize))
        storages[key] = torch.frombuffer(data, dtype=dtype, count=count) if count else torch.empty(0, dtype=dtype)
    for key, root, offset, count in _Unpickler(file).load():
        storages[key] = storages[root].narrow(0, offset, count)
    return storages


def _read_tensors(file: IO[bytes], storages: Mapping[int, Tensor]) -> dict[int, Tensor]:
    tensors = {}
    for _ in range(_Unpickler(file).load()):
        key, storage, _dtype = _Unpickler(file).load()
        (dimensions,) = struct.unpack("<i4x", file.read(8))
        shape = struct.unpack(f"<{dimensions}q", file.read(8 * dimensions))
        strides = struct.unpack(f"<{dimensions}q", file.read(8 * dimensions))
        (offset,) = struct.unpack("<q", file.read(8))
        flat = storages[storage]
        if prod(shape) > flat.numel():
            raise ValueError(f"a tensor of {prod(shape)} numbers in a storage of {flat.numel()}")
        start = flat.storage_offset() + offset  # of a part of another, counted from the start of the whole
        # There were no tensors of one number without a dimension: none means empty.
        tensors[key] = flat.as_strided(shape, strides, start) if dimensions else flat[:0]
    return tensors
