"""Checkpoints of PyTorch before 0.2: read as torch reads them, but without running what they ask for."""

import io
import os
import pickle
import struct
import tarfile
from collections import OrderedDict

import pytest
import torch

from d2det_geo.errors import InputError
from d2det_geo.model.official import read_official
from d2det_geo.model.tar_checkpoint import is_tar

KINDS = {torch.float32: "Float", torch.float16: "Half", torch.int64: "Long", torch.uint8: "Byte"}


def system(*, little_endian=True):
    return pickle.dumps({"protocol_version": 1000, "little_endian": little_endian, "type_sizes": {"long": 8}}, 2)


class Referring(pickle.Pickler):
    """Writes a number in place of each tensor, and remembers the tensor."""

    def __init__(self, file):
        super().__init__(file, protocol=2)
        self.tensors = {}

    def persistent_id(self, item):
        if not isinstance(item, torch.Tensor):
            return None
        self.tensors[id(item)] = item
        return str(id(item))


def members(document, **replaced):
    """Lay a document out as the format has it: pickles, and among them sizes and raw numbers."""
    main = io.BytesIO()
    pickler = Referring(main)
    pickler.dump(document)
    tensors, storages = pickle.dumps(len(pickler.tensors), 2), {}
    for key, tensor in pickler.tensors.items():
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = tensor.dtype, bytes(storage)
        tensors += pickle.dumps((key, storage.data_ptr(), getattr(torch, f"{KINDS[tensor.dtype]}Tensor")), 2)
        layout = (*tensor.shape, *tensor.stride(), tensor.storage_offset())
        tensors += struct.pack(f"<i4x{len(layout)}q", tensor.ndim, *layout)
    numbers = pickle.dumps(len(storages), 2)
    for key, (dtype, data) in storages.items():
        numbers += pickle.dumps((key, "cpu", getattr(torch, f"{KINDS[dtype]}Storage")), 2)
        numbers += struct.pack("<q", len(data) // dtype.itemsize) + data
    numbers += pickle.dumps([], 2)  # no storage is a part of another
    return {"sys_info": system(), "pickle": main.getvalue(), "tensors": tensors, "storages": numbers} | replaced


def write_tar(path, contents):
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


def checkpoint():
    weights = torch.arange(24.0).reshape(2, 3, 4)
    state = OrderedDict(
        {
            "module.backbone.conv1.weight": weights,
            "module.part": weights[1, :, 1:3],  # shares its storage with the first
            "module.turned": torch.arange(6.0).half().reshape(2, 3).t(),
            "module.count": torch.tensor([7]),
            "module.none": torch.zeros(0, dtype=torch.uint8),
        }
    )
    momentum = {0: {"momentum_buffer": torch.ones(3)}}
    return {
        "meta": {"epoch": 24, "time": "Mon"},
        "state_dict": state,
        "optimizer": {"state": momentum, "groups": [0.02]},
    }


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """Work in an empty folder, so that whatever a file writes beside itself is seen."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_tensors_of_every_kind_come_back(alone):
    path = write_tar(alone / "old.pth", members(checkpoint()))
    assert is_tar(path)
    found, given = read_official(path), checkpoint()["state_dict"]
    assert {f"module.{name}" for name in found} == set(given)
    for name, value in found.items():
        torch.testing.assert_close(value, given[f"module.{name}"], rtol=0, atol=0)
    assert sorted(alone.iterdir()) == [path]


def test_torch_reads_the_same_from_the_files_of_these_tests(alone):
    path = write_tar(alone / "old.pth", members(checkpoint()))
    theirs = torch.load(path, weights_only=False)["state_dict"]
    for name, value in read_official(path).items():
        torch.testing.assert_close(value, theirs[f"module.{name}"], rtol=0, atol=0)


def test_the_state_alone_and_parts_of_storages(alone):
    state = {"whole": torch.arange(5.0), "middle": torch.arange(2.0)}
    contents = members(state)
    whole, middle = (value.untyped_storage().data_ptr() for value in state.values())
    views = pickle.dumps([(middle, whole, 2, 3)], 2)
    contents["storages"] = contents["storages"].removesuffix(pickle.dumps([], 2)) + views
    found = read_official(write_tar(alone / "old.pth", contents))
    assert found["whole"].tolist() == [0, 1, 2, 3, 4]
    assert found["middle"].tolist() == [2, 3]


class Runs:
    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call[0], self.call[1:]


EVIL = [
    (Runs(os.system, "touch trace"), "posix.system|os.system"),
    (Runs(open, "trace", "w"), "(__builtin__|io|_io).open"),
    (Runs(eval, "open('trace', 'w')"), "__builtin__.eval"),
    (Runs(getattr, OrderedDict, "fromkeys"), "__builtin__.getattr"),
    (torch.nn.Linear(1, 1), "torch.nn.modules.linear.Linear"),
]


@pytest.mark.parametrize("member", ["sys_info", "storages", "tensors", "pickle"])
@pytest.mark.parametrize(("evil", "name"), EVIL, ids=[name for _, name in EVIL])
def test_a_member_that_would_run_code_is_refused(alone, member, evil, name):
    path = write_tar(alone / "evil.pth", members(checkpoint(), **{member: pickle.dumps(evil, 2)}))
    with pytest.raises(InputError, match=f"refused: it asks to run ({name}), and"):
        read_official(path)
    assert sorted(alone.iterdir()) == [path]


@pytest.mark.parametrize("protocol", [0, 4])
def test_dotted_names_and_other_ways_to_name_a_class_lead_nowhere(alone, protocol):
    calls = (
        pickle.dumps(Runs(torch.FloatStorage.from_file, "trace"), 4)
        if protocol == 4
        else b"(S'touch trace'\nios\nsystem\n."
    )
    path = write_tar(alone / "evil.pth", members(checkpoint(), pickle=calls))
    with pytest.raises(InputError, match="refused: it asks to run"):
        read_official(path)
    assert sorted(alone.iterdir()) == [path]


def test_members_are_never_unpacked(alone):
    contents = {"../outside": b"x", str(alone / "absolute"): b"x", **members(checkpoint())}
    path = write_tar(alone / "old.pth", contents)
    assert len(read_official(path)) == 5
    assert sorted(alone.iterdir()) == [path]
    assert not (alone.parent / "outside").exists()


def huge(count):
    return pickle.dumps(1, 2) + pickle.dumps((1, "cpu", torch.FloatStorage), 2) + struct.pack("<q", count)


def layout(*numbers):
    one = pickle.dumps(1, 2) + pickle.dumps((1, 1, torch.FloatTensor), 2)
    return one + struct.pack(f"<i4x{len(numbers)}q", (len(numbers) - 1) // 2, *numbers)


FOUR = huge(4) + bytes(16) + pickle.dumps([], 2)


@pytest.mark.parametrize(
    "replaced",
    [
        {"sys_info": system(little_endian=False)},
        {"pickle": b""},
        {"pickle": b"\x80\x02Q."},
        {"pickle": b"\x80\x02K\x01Q(K\x01K\x02K\x03K\x04tb."},  # sets the state of a tensor
        {"storages": huge(1 << 40)},
        {"storages": huge(-1)},
        {"storages": huge(4) + bytes(8)},
        {"storages": FOUR, "tensors": layout(5, 1, 0)},
        {"storages": FOUR, "tensors": layout(2, 1, 3)},
        {"storages": FOUR, "tensors": layout(2, 1, -1)},
        {"storages": FOUR, "tensors": layout(2, -1, 1)},
        {"storages": FOUR, "tensors": layout(1 << 40, 0, 0)},
        {"storages": FOUR, "tensors": layout(2, 2, 4, 1)[:-8]},
    ],
)
def test_what_does_not_add_up_is_refused_in_words(alone, replaced):
    path = write_tar(alone / "old.pth", members({"a": torch.zeros(1)}, **replaced))
    with pytest.raises(InputError, match="damaged or truncated") as caught:
        read_official(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", ["sys_info", "storages", "tensors", "pickle"])
def test_a_tar_of_something_else_is_refused(alone, missing):
    contents = members(checkpoint())
    del contents[missing]
    with pytest.raises(InputError, match="damaged or truncated PyTorch checkpoint, or none"):
        read_official(write_tar(alone / "other.pth", contents))


@pytest.mark.parametrize("left", [600, 2000, 3500])
def test_a_truncated_tar_is_refused(alone, left):
    path = write_tar(alone / "old.pth", members(checkpoint()))
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(InputError, match="damaged"):
        read_official(path)
