"""The benchmarks run, and time nothing that is wrong. How fast anything is, is not looked at here."""

import math
from dataclasses import replace

import pytest
import torch

import d2det_ops
from benchmarks import report, run
from benchmarks.case import Case, Setting
from benchmarks.gate import disagreement, red_tests
from benchmarks.measure import compare, copy_ceiling, peak_bytes
from benchmarks.naive import deform_roi_pool as deform_by_grid
from benchmarks.registry import OPERATORS
from benchmarks.report import Row
from benchmarks.traffic import pooled, streamed

CPU = torch.device("cpu")
QUICK = Setting(CPU, quick=True)


def doubling(rival=lambda values: 2 * values, tolerance=1e-6):
    return Case(
        op="doubling",
        shape="3 by 5",
        make=lambda: (torch.ones(3, 5),),
        ours=lambda values: 2 * values,
        rivals={"rival": rival},
        moved=streamed,
        tolerance=tolerance,
    )


def test_every_operator_is_compared():
    assert set(d2det_ops.__all__) == set(OPERATORS)


@pytest.mark.parametrize("op", OPERATORS)
def test_every_comparison_runs_on_tiny_shapes(op):
    cases = list(OPERATORS[op](QUICK))
    assert {case.op for case in cases} == {op}
    for case in cases:
        rows = run.measure(case, CPU, rounds=1, ceiling=1e9)
        assert [row.contestant for row in rows] == list(case.contestants)
        assert rows[0].contestant == "ours"
        assert len(rows) >= 2
        assert all(row.moved > 0 and math.isfinite(sum(row.seconds)) for row in rows)


@pytest.mark.parametrize("op", OPERATORS)
def test_shapes_that_are_timed_differ_in_words(op):
    cases = [(case.shape, case.backward) for case in OPERATORS[op](Setting(CPU, many=True))]
    assert len(cases) == len(set(cases))


def test_contestants_take_turns():
    order = []
    seconds = compare({name: lambda name=name: order.append(name) for name in "ab"}, CPU, 3)
    assert order == ["a", "b"] * 2 + (["a"] * 10 + ["b"] * 10) * 2  # warm up, look how fast they are, measure
    assert {name: len(values) for name, values in seconds.items()} == {"a": 21, "b": 21}


def test_peak_counts_what_a_call_allocates_and_frees():
    peak = peak_bytes(lambda: torch.ones(1 << 24).sum(), CPU)
    assert peak is None or 0.95 < peak / (1 << 26) < 1.5


def test_copying_has_a_speed():
    assert copy_ceiling(CPU, 1 << 16) > 0


def test_gradients_are_part_of_a_backward_call():
    case = replace(doubling(), trained=(0,), backward=True)
    (values,) = arguments = case.arguments(CPU)
    (gradient,) = case.call(case.ours, arguments)()
    assert values.requires_grad
    assert gradient.shape == values.shape


def test_bytes_that_must_move_by_hand():
    arguments, result = (torch.zeros(3, 5), torch.zeros(2)), torch.zeros(7)
    assert streamed(arguments, result, backward=False) == 4 * (15 + 2 + 7)
    assert streamed(arguments, result, backward=True) == 4 * (15 + 2 + 7) + 4 * (2 * 17 + 7)

    def pool(features, rois, offsets=None):
        return deform_by_grid(features, rois, offsets, bins=1, samples=1, strides=(4,))

    features, rois = [torch.ones(2, 3, 7, 6)], torch.tensor([[1.0, 8, 8, 12, 16]])  # one sample at x = 2, y = 2.5
    cells = 4 * 3 * 2  # two cells of three channels
    result = torch.zeros(1, 3, 1, 1)
    assert pooled(pool, (features, rois), result, False) == cells + 20 + 12
    assert pooled(pool, (features, rois), result, True) == cells + 20 + 12 + 12 + 20 + 4 * 252
    offsets = torch.zeros(1, 2, 1, 1)
    assert pooled(pool, (features, rois, offsets), result, True) == 2 * cells + 2 * 20 + 3 * 8 + 2 * 12 + 4 * 252


def test_results_that_differ_are_refused():
    assert disagreement(doubling(), CPU) is None
    assert "rival" in disagreement(doubling(lambda values: 2 * values + 1e-3), CPU)
    assert "rival" in disagreement(doubling(lambda values: values * math.nan), CPU)
    assert disagreement(doubling(lambda values: values, tolerance=None), CPU) is None
    with pytest.raises(run.RefusedError, match=r"3 by 5: 100\.00% of the values differ from rival"):
        run.measure(doubling(lambda values: values), CPU, 1, 1.0)


def test_a_red_operator_is_not_timed(tmp_path, monkeypatch, capsys):
    (tmp_path / "test_nms.py").write_text("def test_good():\n    pass\n")
    (tmp_path / "test_nms_classes.py").write_text("def test_bad():\n    assert False\n")
    monkeypatch.setattr(run, "TESTS", tmp_path)
    monkeypatch.setattr(run, "measure", lambda *_: pytest.fail("it was timed"))
    assert run.main(["--ops", "nms,soft_nms", "--quick", "--device", "cpu", "--threads", "1"]) == 1
    printed = capsys.readouterr().out
    assert "nms: REFUSED: FAILED" in printed
    assert "test_nms_classes.py::test_bad" in printed
    assert "soft_nms: REFUSED: there are no tests" in printed


def test_a_green_operator_is_timed(tmp_path, monkeypatch, capsys):
    (tmp_path / "test_nms.py").write_text("def test_good():\n    pass\n")
    (tmp_path / "test_nmsx.py").write_text("def test_of_another():\n    assert False\n")
    monkeypatch.setattr(run, "TESTS", tmp_path)
    assert red_tests("nms", tmp_path) is None
    assert run.main(["--ops", "nms", "--quick", "--device", "cpu", "--threads", "1", "--rounds", "1"]) == 0
    printed = capsys.readouterr().out
    assert "REFUSED" not in printed
    assert "torchvision" in printed


def test_unknown_operators_are_refused(capsys):
    with pytest.raises(SystemExit):
        run.main(["--ops", "nms,nsm"])
    assert "no operator nsm; there are roi_align" in capsys.readouterr().err


def test_a_row_by_hand():
    row = Row("3 by 5", True, "rival", [0.004, 0.002, 0.003], 6_000_000, 4e9, 12_000_000, 0.0015)
    assert row.cells() == ["3 by 5", "forward + backward", "rival", "3.000", "2.000", "2.00", "50%", "12.0", "2.0x"]
    assert replace(row, contestant="ours", peak=None).cells()[-2:] == ["-", ""]
    lines = report.markdown([row]).splitlines()
    assert lines[1].count("---") == len(report.COLUMNS)
    assert lines[2].startswith("| 3 by 5 | forward + backward |")
    assert len(report.plain([row]).splitlines()) == 2


def test_writing_replaces_only_its_own_section(tmp_path):
    path = tmp_path / "RESULTS.md"
    report.write("Machine A", {"nms": "first", "roi_align": "kept"}, path)
    report.write("Machine B", {"nms": "of B"}, path)
    before = path.read_text()
    report.write("Machine A", {"nms": "second\n\n| a |\n|---|"}, path)
    assert path.read_text() == before.replace("first", "second\n\n| a |\n|---|")
    assert before.startswith(report.PROLOGUE)
    assert before.endswith("## Machine B\n\n### nms\n\nof B\n")
