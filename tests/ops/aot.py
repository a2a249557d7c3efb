"""Compile Triton kernels for GPUs that are not there: in a process of its own, since here they are interpreted.

A test lists its kernels and looks at what comes out::

    KERNELS = [Kernel("d2det_ops.nms.kernel", "_pairs", {"boxes": "*fp64", "count": "i32", ...})]

    def test_kernels_compile_for_every_gpu():
        for built in compile_ahead(KERNELS):
            assert built.local == 0, built
"""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest

ARCHITECTURES = (75, 80, 90)  # Turing, Ampere, Hopper


@dataclass(frozen=True)
class Kernel:
    """A kernel with the types of its arguments."""

    module: str
    name: str
    signature: dict[str, Any]
    """type of each argument that is not constexpr, as ``*fp32``, ``i32``; a list for a tuple. Pointers are aligned."""
    constants: dict[str, Any] = field(default_factory=dict)
    warps: int = 4
    options: dict[str, Any] = field(default_factory=dict)
    """what else a launch gives the compiler, as ``enable_fp_fusion``"""


@dataclass(frozen=True)
class Built:
    """A kernel in machine code."""

    name: str
    architecture: int
    registers: int
    local: int
    """bytes of memory each thread needs beside its registers: what spilled"""
    shared: int
    """bytes"""
    ptx: str = field(repr=False)


def compile_ahead(kernels: Sequence[Kernel], architectures: Sequence[int] = ARCHITECTURES) -> list[Built]:
    """Compile each kernel for each architecture; an error of the compiler fails the test with its text."""
    pytest.importorskip("triton")
    return _in_process({"kernels": [asdict(kernel) for kernel in kernels], "architectures": list(architectures)})


def compile_launches(function: str, architectures: Sequence[int] = ARCHITECTURES) -> list[Built]:
    """Call ``module:function``, which starts kernels on CPU tensors, and give what was compiled for it.

    All happens as on a GPU of each architecture, but nothing is started. It shows what ``compile_ahead`` cannot: that
    kernels and what starts them agree.
    """
    pytest.importorskip("triton")
    return _in_process({"launches": function, "architectures": list(architectures)})


def _in_process(work: dict[str, Any]) -> list[Built]:
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    with tempfile.TemporaryDirectory() as cache:
        environment["TRITON_CACHE_DIR"] = cache
        run = subprocess.run(
            [sys.executable, __file__],
            input=json.dumps(work),
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    assert run.returncode == 0, run.stderr[-4000:]
    return [Built(**built) for built in json.loads(run.stdout)]


def _main() -> None:
    work = json.load(sys.stdin)
    built = []
    for architecture in work["architectures"]:
        for kernel in work.get("kernels", ()):
            built.append(_build(Kernel(**kernel), architecture))
        if "launches" in work:
            built.extend(_launch(work["launches"], architecture))
    json.dump([asdict(kernel) for kernel in built], sys.stdout)


def _build(kernel: Kernel, architecture: int) -> Built:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    function = getattr(importlib.import_module(kernel.module), kernel.name)
    signature = {name: _typed(kernel.signature.get(name, "constexpr")) for name in function.arg_names}
    aligned = {place: [["tt.divisibility", 16]] for place in _pointers(list(signature.values()))}
    source = ASTSource(function, signature, kernel.constants, aligned)
    options = {"num_warps": kernel.warps, **kernel.options}
    return _built(triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=options))


def _launch(function: str, architecture: int) -> list[Built]:
    from triton import compiler
    from triton.runtime import driver

    compiled = []
    compile_one = compiler.compile

    def keep(*arguments: Any, **options: Any) -> Any:
        compiled.append(compile_one(*arguments, **options))
        return compiled[-1]

    module, name = function.split(":")
    driver.set_active(_AbsentGpu(architecture))
    compiler.compile = keep
    getattr(importlib.import_module(module), name)()
    compiler.compile = compile_one
    return [_built(code) for code in compiled]


class _AbsentGpu:
    """What Triton asks of a GPU's driver; kernels are compiled and loaded, but never run."""

    def __init__(self, architecture: int) -> None:
        self.architecture = architecture
        self.utils = self

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", self.architecture, 32)

    def get_current_device(self) -> int:
        return self.architecture  # each has a cache of its own

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_device_properties(self, device: int) -> dict[str, int]:
        return {"max_shared_mem": 64 * 1024}  # Turing's, the least

    def load_binary(self, name: str, code: bytes, shared: int, device: int) -> tuple[int, int, int, int, int]:
        return 1, 1, 0, 0, 1024

    def unload_module(self, module: int) -> None:
        """Nothing was loaded."""

    def launcher_cls(self, source: Any, metadata: Any) -> Callable[..., None]:
        return lambda *arguments: None


def _built(code: Any) -> Built:
    return Built(
        code.metadata.name, code.metadata.target.arch, *_resources(code.asm["cubin"]), code.metadata.shared,
        code.asm["ptx"],
    )  # fmt: skip


def _typed(kind: Any) -> Any:
    return tuple(_typed(part) for part in kind) if isinstance(kind, list) else kind


def _pointers(kinds: Sequence[Any], place: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    for index, kind in enumerate(kinds):
        if isinstance(kind, tuple):
            yield from _pointers(kind, (*place, index))
        elif kind.startswith("*"):
            yield (*place, index)


def _resources(cubin: bytes) -> tuple[int, int]:
    """Find registers and bytes of local memory of the kernel in a cubin."""
    from triton import knobs

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernel.cubin")
        path.write_bytes(cubin)
        usage = subprocess.run(
            [knobs.nvidia.cuobjdump.path, "--dump-resource-usage", str(path)],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
    registers, stack, local = (int(re.findall(rf"\b{word}:(\d+)", usage)[0]) for word in ("REG", "STACK", "LOCAL"))
    return registers, stack + local


if __name__ == "__main__":
    _main()
