"""Texts that a user gives, made by chance: each is refused in one line, or read as it stands."""

import json
import math
import string
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sdg.data.annotations import captions_of, metadata
from sdg.data.csv_file import parse_table
from sdg.data.prompts import escape_prompt, parse_weighted_prompt, read_table
from sdg.errors import UserError
from sdg.io.csv_table import table_text, text_of_cell

bounded = settings(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
TEXT = st.text(max_size=60)
WORDS = st.text(
    st.sampled_from(string.ascii_letters + " |:\\/-+=@.,0123456789'\"\t\r\n"), max_size=40
)
SENTENCE = st.one_of(TEXT, WORDS)


def refused(call, *arguments):
    """What a call gives, None where it refuses in one line; whatever else it raises goes on."""
    try:
        return call(*arguments)
    except UserError as error:
        assert str(error).strip() and "\n" not in str(error), str(error)
        return None


@bounded
@given(SENTENCE)
@example("a | b:-0.5")
@example("a:1e999")
@example("a:nan")
@example("a:" + "9" * 5000)
@example("\0:1")
@example("x" * 5000 + ":1")
def test_a_weighted_prompt(tally, condition):
    parts = refused(parse_weighted_prompt, condition)
    tally.add("clear line" if parts is None else "right result")
    for text, weight in parts or ():
        assert text.strip() and math.isfinite(weight)


@bounded
@given(st.lists(st.tuples(st.text(string.ascii_letters, min_size=1), st.floats(-1e6, 1e6))))
def test_a_prompt_of_parts_has_their_weights(tally, parts):
    condition = " | ".join(f"{text}:{weight!r}" for text, weight in parts)
    tally.add("right result")
    weighs = any(weight for _, weight in parts)  # a prompt of no weight at all is refused
    assert (refused(parse_weighted_prompt, condition) or ()) == (tuple(parts) if weighs else ())


@bounded
@given(SENTENCE)
def test_a_sentence_as_it_stands_is_one_part_of_weight_1(tally, sentence):
    parts = refused(parse_weighted_prompt, escape_prompt(sentence))
    tally.add("clear line" if parts is None else "right result")
    if parts is None:
        assert not sentence.strip() or sentence.endswith("\\")
    elif not sentence.endswith("\\"):
        assert parts == ((sentence.replace("\\|", "|").strip(), 1.0),) or "\\" in sentence


@bounded
@given(st.binary(max_size=300) | SENTENCE.map(lambda text: text.encode("utf-8", "surrogatepass")))
@example(b'prompt\n"' + b"a" * 200_000 + b'"\n')
@example(b"prompt,prompt\na,b\n")
@example(b"prompt,text\na,b\n")
@example(b"prompt\na,b,c\n")
@example(b'prompt\n"a\n')
@example(b"prompt\n\0\n")
@pytest.mark.parametrize("name", ["prompts.csv", "prompts.txt"])
def test_a_file_of_prompts(tally, tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    columns = refused(read_table, tmp_path / name)
    tally.add("clear line" if columns is None else "right result")
    for values in (columns or {}).values():
        assert all(isinstance(value, str) for value in values)


CELL = SENTENCE.filter(lambda text: "\0" not in text)


@bounded
@given(st.lists(st.fixed_dictionaries({"prompt": CELL, "=class": CELL}), min_size=1, max_size=4))
@example([{"prompt": '=HYPERLINK("http://x")', "=class": "@SUM(1)"}])
@example([{"prompt": "'=1", "=class": "''+1"}])
def test_a_table_runs_nowhere_and_is_read_back(tally, rows):
    text = table_text(rows)
    cells = [cell for row in parse_table(text, "it") for item in row.items() for cell in item]
    assert not [cell for cell in cells if cell[:1] in tuple("=+-@\t\r")]
    back = [
        {text_of_cell(name): text_of_cell(value) for name, value in row.items()}
        for row in parse_table(text, "it")
    ]
    tally.add("right result")
    assert back == rows


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
ROW = st.fixed_dictionaries(
    {}, optional={"file_name": st.just("a.png") | JSON, "text": JSON, "caption": JSON}
)


@bounded
@given(st.lists(ROW | JSON, max_size=4).map(lambda rows: "\n".join(map(json.dumps, rows))) | TEXT)
@example("[" * 100_000)
@example('{"file_name": "\\u0000", "text": "a"}')
@example('{"file_name": "' + "a" * 5000 + '", "text": "a"}')
@example('{"file_name": "\\ud800", "text": "a"}')
@example('{"file_name": ' + "9" * 5000 + ', "text": "a"}')
def test_metadata_of_images(tally, content):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "a.png").write_bytes(b"")
        (root / "metadata.jsonl").write_text(content, encoding="utf-8", errors="surrogatepass")
        captions = refused(captions_of, root, [root / "a.png"])
    tally.add("clear line" if captions is None else "right result")
    for lines in captions or ():
        assert lines and all(line == line.strip() != "" for line in lines)


@bounded
@given(SENTENCE)
@example("file_name,text,text\na.png,b,c\n")
@example("file_name,text\na.png,b,c\n")
@example("file_name\n\0\n")
def test_metadata_of_images_as_a_table(tally, content):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "metadata.csv"
        file.write_text(content, encoding="utf-8", errors="surrogatepass", newline="")
        captions = refused(metadata, file)
    tally.add("clear line" if captions is None else "right result")
