"""Examine the machine d2det runs on, and say in words what is wrong and what to do.

Every probe imports what it looks at while it runs, so that a broken torch cannot keep the
others from reporting; this module itself needs nothing but the standard library.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any, Literal

OLDEST_PYTHON = (3, 11)
LEAST_MEMORY_GB = 2.0
MEMORY = Path("/proc/meminfo")
RASTER_DRIVERS = ("GTiff", "JPEG", "PNG", "VRT")
VECTOR_DRIVERS = ("GeoJSON", "GPKG", "ESRI Shapefile")

Status = Literal["ok", "warning", "broken"]


@dataclass(frozen=True, slots=True)
class Check:
    """What one probe found."""

    name: str
    status: Status
    """``warning``: works, but slower or with less than it could; ``broken``: something d2det needs does not work."""
    detail: str
    advice: str = ""
    """What to do about it; empty when there is nothing to do."""


def run_checks() -> list[Check]:
    """Run every probe; one that fails in a way it does not know reports itself as broken."""
    return [examine(name, probe) for name, probe in PROBES.items()]


def examine(name: str, probe: Callable[[str], Check]) -> Check:
    """Run one probe. Whatever it raises is its finding: a broken package can raise anything."""
    try:
        return probe(name)
    except ImportError as error:
        package = (error.name or "d2det").partition(".")[0]
        return Check(name, "broken", str(error), f"pip install --upgrade {package}")
    except Exception as error:
        return Check(name, "broken", f"{type(error).__name__}: {error}", "reinstall d2det in a fresh environment")


def installed(package: str) -> str:
    """Return a distribution's version, or 'not installed'."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def check_python(name: str) -> Check:
    """Compare the interpreter with the oldest supported one."""
    detail = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info >= OLDEST_PYTHON:
        return Check(name, "ok", detail)
    return Check(name, "broken", detail, "make the environment again with Python 3.11 or newer")


def check_torch(name: str) -> Check:
    """Run torchvision's NMS on the CPU: the operator that is missing when the two are not a pair."""
    torch = import_module("torch")
    pair = f"torch {torch.__version__} and torchvision {installed('torchvision')}"
    try:
        nms = import_module("torchvision.ops").nms
        kept = nms(torch.tensor([[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 3.9]]), torch.tensor([0.9, 0.8]), 0.5)
    except (RuntimeError, AttributeError) as error:
        return Check(name, "broken", f"{pair} do not fit together ({error})", _pair_advice())
    if kept.tolist() != [0]:
        return Check(name, "broken", f"{pair}: NMS of two equal boxes kept {kept.tolist()}, not [0]", _pair_advice())
    return Check(name, "ok", pair)


def _pair_advice() -> str:
    """Name what torchvision was built for, since pip resolves the pair only when both come from one index."""
    try:
        needs = [item for item in requires("torchvision") or () if item.startswith("torch") and ";" not in item]
    except PackageNotFoundError:
        needs = []
    wanted = f"this torchvision asks for {needs[0]}; " if needs else ""
    return f"{wanted}install both from the same index: pip install --force-reinstall torch torchvision"


def check_gpu(name: str) -> Check:
    """Multiply on the GPU if there is one; having none is no fault."""
    torch = import_module("torch")
    if not torch.cuda.is_available():
        if shutil.which("nvidia-smi") is None:
            return Check(name, "ok", "no NVIDIA GPU; the CPU is used")
        built = f"torch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "torch is built for CPU only"
        return Check(
            name, "warning", f"an NVIDIA driver is here, but {built}", "update the driver or install CUDA torch"
        )
    major, minor = torch.cuda.get_device_capability()
    device = f"{torch.cuda.get_device_name()}, compute capability {major}.{minor}, CUDA {torch.version.cuda}"
    try:
        torch.ones(8, 8, device="cuda").matmul(torch.ones(8, 8, device="cuda")).sum().item()
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        return Check(
            name, "warning", f"{device}: not usable ({reason})", "run with --device cpu, or install another torch"
        )
    problem = import_module("d2det_ops.gpu").problem_of(torch.cuda.current_device())
    if problem is not None:
        return Check(name, "warning", f"{device}: the operators run without kernels, far slower: {problem}")
    return Check(name, "ok", device)


def check_cpu(name: str) -> Check:
    """Say how many cores there are and whether they have matrix instructions for bfloat16."""
    info = Path("/proc/cpuinfo")
    flags = set(info.read_text(encoding="utf-8").split()) if info.exists() else set[str]()
    known = {"amx_bf16": "AMX bfloat16", "avx512_bf16": "AVX-512 bfloat16", "avx2": "AVX2"}
    found = [text for flag, text in known.items() if flag in flags]
    return Check(name, "ok", f"{os.cpu_count()} cores, {', '.join(found) or 'no vector extensions known'}")


def check_raster_drivers(name: str) -> Check:
    """Look for the GDAL raster formats in rasterio's build."""
    rasterio = import_module("rasterio")
    with rasterio.Env() as environment:
        present = set(environment.drivers())
    return _drivers(name, f"rasterio {rasterio.__version__}", RASTER_DRIVERS, present, "rasterio")


def check_vector_drivers(name: str) -> Check:
    """Look for the GDAL vector formats, writable, in pyogrio's build."""
    pyogrio = import_module("pyogrio")
    present = set(pyogrio.list_drivers(write=True))
    return _drivers(name, f"pyogrio {pyogrio.__version__}", VECTOR_DRIVERS, present, "pyogrio")


def _drivers(name: str, library: str, wanted: tuple[str, ...], present: set[str], package: str) -> Check:
    missing = [driver for driver in wanted if driver not in present]
    if missing:
        advice = f"install the wheel with GDAL inside: pip install --force-reinstall --only-binary :all: {package}"
        return Check(name, "broken", f"{library}: its GDAL lacks {', '.join(missing)}", advice)
    return Check(name, "ok", f"{library}: {', '.join(wanted)}")


def check_proj(name: str) -> Check:
    """Transform a known point with both PROJ copies, pyproj's and rasterio's."""
    origin, expected = (111_319.490793, 111_325.142866), (1.0, 1.0)  # EPSG:3857, m -> longitude, latitude, degrees
    by_pyproj = import_module("pyproj").Transformer.from_crs(3857, 4326, always_xy=True).transform(*origin)
    columns = import_module("rasterio.warp").transform("EPSG:3857", "EPSG:4326", [origin[0]], [origin[1]])
    for library, point in (("pyproj", by_pyproj), ("rasterio", tuple(column[0] for column in columns))):
        if max(abs(got - want) for got, want in zip(point, expected, strict=True)) > 1e-6:
            return Check(name, "broken", f"{library}: EPSG:3857 -> 4326 gave {point}, not {expected}", _proj_advice())
    return Check(name, "ok", f"pyproj {installed('pyproj')} and rasterio: EPSG:3857 -> 4326 is right")


def _proj_advice() -> str:
    stray = [key for key in ("PROJ_DATA", "PROJ_LIB") if key in os.environ]
    return f"unset {' and '.join(stray)}" if stray else "pip install --force-reinstall pyproj rasterio"


def check_numba(name: str) -> Check:
    """Compile a function: numba refuses a NumPy it does not know, and the operators need it."""
    advice = "pip install --upgrade numba"
    try:
        numba: Any = import_module("numba")
        four = numba.njit(lambda value: value + value)(2)
    except Exception as error:
        return Check(name, "broken", f"{type(error).__name__}: {error}", advice)
    if four != 4:
        return Check(name, "broken", f"numba {numba.__version__}: 2 + 2 gave {four}", advice)
    try:
        import_module("numba.core.caching").FunctionCache(check_numba)
    except RuntimeError:
        detail = f"numba {numba.__version__} compiles, but keeps nothing: no folder for it can be written"
        return Check(name, "warning", detail, "set NUMBA_CACHE_DIR to a folder that can be written")
    return Check(name, "ok", f"numba {numba.__version__} compiles")


def check_pycocotools(name: str) -> Check:
    """Encode a mask: its compiled part breaks when NumPy's binary interface changes."""
    numpy, masks = import_module("numpy"), import_module("pycocotools.mask")
    area = int(masks.area(masks.encode(numpy.asfortranarray(numpy.ones((2, 3), numpy.uint8)))))
    return Check(name, "ok" if area == 6 else "broken", f"pycocotools {installed('pycocotools')}")


def check_bundles(name: str) -> Check:
    """Read the card of every packaged model."""
    bundle = import_module("d2det_geo.model.bundle")
    cards = [bundle.read_card(path) for path in bundle.packaged_bundles().values()]
    if cards:
        return Check(name, "ok", ", ".join(card.name for card in cards))
    return Check(name, "broken", "no packaged model", "reinstall d2det: pip install --force-reinstall d2det")


def check_memory(name: str) -> Check:
    """Compare the memory that is free with what predicting a scene needs; only Linux says how much that is."""
    lines = MEMORY.read_text(encoding="utf-8").splitlines() if MEMORY.exists() else []
    kilobytes = next((int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)
    if kilobytes is None:
        return Check(name, "ok", "unknown")
    free = kilobytes / 1024**2
    if free < LEAST_MEMORY_GB:
        return Check(
            name, "warning", f"{free:.1f} GB free", f"predict needs about {LEAST_MEMORY_GB:.0f} GB; close something"
        )
    return Check(name, "ok", f"{free:.1f} GB free")


def check_temporary_folder(name: str) -> Check:
    """Write a file where temporary files go."""
    try:
        with tempfile.TemporaryFile() as file:
            file.write(b"d2det")
    except OSError as error:
        return Check(name, "broken", f"not writable ({error})", "set TMPDIR to a folder you can write to")
    free = shutil.disk_usage(tempfile.gettempdir()).free / 1024**3
    return Check(name, "ok", f"{tempfile.gettempdir()}, {free:.0f} GB free")


PROBES: dict[str, Callable[[str], Check]] = {
    "Python": check_python,
    "torch and torchvision": check_torch,
    "GPU": check_gpu,
    "CPU": check_cpu,
    "raster formats": check_raster_drivers,
    "vector formats": check_vector_drivers,
    "coordinate systems": check_proj,
    "numba": check_numba,
    "pycocotools": check_pycocotools,
    "packaged models": check_bundles,
    "memory": check_memory,
    "temporary folder": check_temporary_folder,
}
"""Name of a check -> its probe, in the order of the report."""
