"""What a ledger keeps of one batch of windows, as bytes and back, to the last bit.

A frame of raw little-endian arrays with their sizes before them: nothing in it can run, and a size
that does not fit the bytes is an error before anything is allocated.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from d2det_geo.detections import MASK_SIDE, Detections

Part = tuple[Detections, Window]

_CELLS = MASK_SIDE**2
_LENGTH = struct.Struct("<I")
_PART = struct.Struct("<4qIBBB")  # window, detections, how masks are kept, whether mask scores are, whether capped
_NO_MASKS, _HALF_MASKS, _FULL_MASKS = range(3)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """What came of the windows ``first`` to ``last - 1`` of a run's list; none of them is looked at again."""

    first: int
    last: int
    parts: list[Part]
    """detections in grid px, each with the window they were seen in; empty where all windows were skipped"""
    counts: dict[str, int]
    """whatever the run adds up over its windows"""


def packed(batch: Batch) -> bytes:
    """Write parts and counts as bytes.

    Masks whose values are all exact in float16 take 16 bits a value; the high bytes, which alone
    are compressible, are compressed. Other masks take 32.

    Raises:
        ValueError: detections that would not come back the same: pieces, other types, windows between pixels.
    """
    counts = json.dumps(batch.counts).encode()
    frame = [_LENGTH.pack(len(counts)), counts, _LENGTH.pack(len(batch.parts))]
    for detections, window in batch.parts:
        frame += _packed_part(detections, window)
    return b"".join(frame)


def unpacked(first: int, last: int, content: bytes) -> Batch:
    """Read back what ``packed`` wrote.

    Raises:
        ValueError: the bytes are not such a frame, whole and nothing but it.
    """
    frame = _Frame(content)
    counts = json.loads(frame.take(frame.number()))
    parts = [_unpacked_part(frame) for _ in range(frame.number())]
    frame.end()
    return Batch(first, last, parts, counts)


def _packed_part(found: Detections, window: Window) -> Iterator[bytes]:
    if found.pieces is not None:
        raise ValueError("a ledger keeps what chips give, before it is stitched: detections must have no pieces")
    place = [int(value) for value in window.flatten()]
    if place != list(window.flatten()):
        raise ValueError(f"windows must be whole pixels, got {window}")
    how, masks = _packed_masks(found.masks)
    yield _PART.pack(*place, len(found), how, found.mask_scores is not None, found.capped)
    yield _raw(found.boxes, "<f8")
    yield _raw(found.scores, "<f4")
    yield _raw(found.labels, "<i8")
    if found.mask_scores is not None:
        yield _raw(found.mask_scores, "<f4")
    yield masks


def _unpacked_part(frame: _Frame) -> Part:
    *place, count, how, scored, capped = _PART.unpack(frame.take(_PART.size))
    return Detections(
        boxes=frame.array("<f8", count, 4),
        scores=frame.array("<f4", count),
        labels=frame.array("<i8", count),
        mask_scores=frame.array("<f4", count) if scored else None,
        masks=_unpacked_masks(frame, how, count),
        capped=bool(capped),
    ), Window(*place)


def _packed_masks(masks: NDArray[np.float32] | None) -> tuple[int, bytes]:
    if masks is None:
        return _NO_MASKS, b""
    if masks.shape[1:] != (MASK_SIDE, MASK_SIDE):
        raise ValueError(f"masks must be [D, {MASK_SIDE}, {MASK_SIDE}], got {list(masks.shape)}")
    full = _raw(masks, "<f4")
    with np.errstate(over="ignore", invalid="ignore"):
        half = masks.astype("<f2")
        if half.astype("<f4").tobytes() != full:
            return _FULL_MASKS, full
    low, high = half.view(np.uint8).reshape(-1, 2).T
    # Runs of equal high bytes are all there is to find: a search for longer matches takes half as long again.
    squeeze = zlib.compressobj(level=1, strategy=zlib.Z_RLE)
    compressed = squeeze.compress(high.tobytes()) + squeeze.flush()
    return _HALF_MASKS, low.tobytes() + _LENGTH.pack(len(compressed)) + compressed


def _unpacked_masks(frame: _Frame, how: int, count: int) -> NDArray[np.float32] | None:
    if how == _NO_MASKS:
        return None
    if how == _FULL_MASKS:
        return frame.array("<f4", count, MASK_SIDE, MASK_SIDE)
    if how != _HALF_MASKS:
        raise ValueError(f"masks of unknown kind {how}")
    cells = np.empty((count * _CELLS, 2), np.uint8)
    cells[:, 0] = frame.array("u1", count * _CELLS)
    cells[:, 1] = np.frombuffer(_inflated(frame.take(frame.number()), count * _CELLS), np.uint8)
    half = cells.view("<f2").reshape(count, MASK_SIDE, MASK_SIDE)
    return half.astype(np.float32)


def _inflated(compressed: bytes, size: int) -> bytes:
    inflate = zlib.decompressobj()
    try:
        content = inflate.decompress(compressed, max_length=size + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if len(content) != size or not inflate.eof:
        raise ValueError(f"masks of {len(content)} values where {size} should be")
    return content


def _raw(array: NDArray[Any], dtype: str) -> bytes:
    if array.dtype != np.dtype(dtype):
        raise ValueError(f"expected an array of {np.dtype(dtype).name}, got {array.dtype}")
    return array.tobytes()


class _Frame:
    """Bytes that are read from front to back."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def take(self, size: int) -> bytes:
        start, self._at = self._at, self._at + size
        if self._at > len(self._content):
            raise ValueError(f"ends at byte {len(self._content)}, before byte {self._at}")
        return self._content[start : self._at]

    def number(self) -> int:
        (value,) = _LENGTH.unpack(self.take(_LENGTH.size))
        return int(value)

    def array(self, dtype: str, *shape: int) -> NDArray[Any]:
        kind = np.dtype(dtype)
        values = np.frombuffer(self.take(kind.itemsize * int(np.prod(shape))), kind)
        return values.reshape(shape).astype(kind.newbyteorder("="))

    def end(self) -> None:
        if self._at != len(self._content):
            raise ValueError(f"has {len(self._content) - self._at} bytes too many")
