"""Compiled loops and their threads."""

import threading

import pytest
import torch

from d2det_ops.compiled import compiled, in_threads


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [0, 1, 2, 5, 17])
@pytest.mark.parametrize("number", [1, 2, 4])
def test_the_blocks_make_up_the_whole(threads, number, count):
    threads(number)
    blocks, workers = [], set()

    def work(start, stop):
        workers.add(threading.get_ident())
        blocks.append((start, stop))

    in_threads(count, work)
    assert [index for start, stop in sorted(blocks) for index in range(start, stop)] == list(range(count))
    assert len(blocks) <= number
    assert threading.get_ident() in workers


def test_what_goes_wrong_in_a_thread_is_told(threads):
    threads(3)

    def work(start, stop):
        if start:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        in_threads(6, work)


def test_a_function_of_no_file_is_compiled_without_a_cache():
    scope = {}
    exec("def twice(number):\n    return 2 * number", scope)  # noqa: S102
    assert compiled(scope["twice"])(4) == 8
