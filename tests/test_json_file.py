"""JSON documents are parsed as Python's own parser does, and wrong ones told in its words."""

import gc
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d2det_geo.data.formats.json_file import parse_json
from d2det_geo.errors import InputError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES, st.booleans())
def test_documents_are_those_of_json(value, ascii_only):
    text = json.dumps(value, ensure_ascii=ascii_only)
    found = parse_json(text.encode("utf-8", "surrogatepass"), "a.json", "a file")
    assert json.dumps(found) == json.dumps(json.loads(text))


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', "[1e400, -0.0, NaN, -Infinity]", '["\\ud800x"]', f"[{10**30}]"])
def test_rare_ones_are_those_of_json(text):
    assert json.dumps(parse_json(text.encode(), "a.json", "a file")) == json.dumps(json.loads(text))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'{"a": [1, 2', "it ends too soon"),
        (b'{"a": 1,}', "line 1, column"),
        (b"[1] 2", "Extra data, line 1, column 5"),
        (b'["\xff"]', "can't decode byte 0xff"),
        (b"[" * 100_000, "nested too deep"),
        (b"[1" + b"0" * 5000 + b"]", "Exceeds the limit"),
    ],
)
def test_wrong_ones_are_told_in_the_words_of_json(data, words):
    with pytest.raises(InputError, match=r"^a\.json: Invalid JSON \(.*" + words):
        parse_json(data, "a.json", "a file")
    assert gc.isenabled()
