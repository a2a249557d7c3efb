import warnings
from types import SimpleNamespace

import pytest
import torch

from d2det_ops import gpu


@pytest.fixture
def machine(monkeypatch):
    """Give a function that makes up a GPU and what is installed beside it."""

    def make(capability=(9, 0), *, triton=True, version="3.7.0+git1", compiler="/usr/bin/gcc"):
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "Made-up 1080")
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: capability)
        monkeypatch.setattr(gpu, "find_spec", lambda name: object() if triton else None)
        monkeypatch.setattr(gpu, "import_module", lambda name: SimpleNamespace(__version__=version))
        monkeypatch.setattr(gpu.shutil, "which", lambda name: compiler)
        monkeypatch.delenv("CC", raising=False)
        gpu.problem_of.cache_clear()
        gpu._say.cache_clear()

    yield make
    gpu.problem_of.cache_clear()
    gpu._say.cache_clear()


@pytest.mark.parametrize("capability", [(7, 5), (8, 0), (12, 0)])
def test_recent_gpus_are_used_without_a_word(machine, capability):
    machine(capability)
    assert gpu.usable(torch.device("cuda"))
    assert gpu.usable(torch.device("cuda", 1))


@pytest.mark.parametrize(
    ("makeshift", "reason"),
    [
        ({"capability": (6, 1)}, "Made-up 1080 has compute capability 6.1, and our kernels need 7.5"),
        ({"triton": False}, "triton is not installed"),
        ({"version": "3.6.1"}, "triton 3.6.1 is older than 3.7"),
        ({"compiler": None}, "no C compiler"),
    ],
)
def test_a_reason_is_said_once(machine, makeshift, reason):
    machine(**makeshift)
    with pytest.warns(UserWarning, match=reason):
        assert not gpu.usable(torch.device("cuda"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not gpu.usable(torch.device("cuda", 0))


def test_the_compiler_may_be_named(machine, monkeypatch):
    machine(compiler=None)
    monkeypatch.setenv("CC", "/opt/cc")
    assert gpu.usable(torch.device("cuda"))


def test_unwritten_memory_is_poisoned():
    assert torch.empty(2, 3).isnan().all()
    assert torch.empty_like(torch.ones(2, dtype=torch.float16)).isnan().all()
    assert (torch.ones(2).new_empty(3, dtype=torch.int64) == torch.iinfo(torch.int64).max).all()
    assert torch.empty_strided((2, 3), (1, 2), requires_grad=True).isnan().all()
