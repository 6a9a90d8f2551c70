"""Headers of images and weights, damaged by chance: refused in one line, or read."""

import copy
import io
import json
import struct
import zlib

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save

from sdg.data.image import load_image
from sdg.errors import UserError
from sdg.io.weights import KEY, header, read_weights
from sdg.models.registry import from_pretrained

bounded = settings(
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
DAMAGE = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=6)
CUT = st.one_of(st.none(), st.floats(0, 1))


def encoded(kind: str) -> bytes:
    """A picture of this format."""
    file = io.BytesIO()
    image = Image.radial_gradient("L").resize((40, 30)).convert("RGB")
    options = {"save_all": True, "append_images": [image.rotate(90)]} if kind == "GIF" else {}
    image.save(file, kind, **options)
    return file.getvalue()


def damaged(whole: bytes, damage: list[tuple[float, int]], cut: float | None, head: int) -> bytes:
    """The bytes with some of the first `head` replaced, and cut off somewhere."""
    data = bytearray(whole)
    for place, value in damage:
        data[int(place * (min(head, len(data)) - 1))] = value
    return bytes(data if cut is None else data[: int(cut * len(data))])


def one_line(error: UserError) -> bool:
    return bool(str(error).strip()) and "\n" not in str(error)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
@bounded
@given(DAMAGE, CUT, st.sampled_from([40, 400]))
def test_pictures(tally, tmp_path, kind, damage, cut, head):
    file = tmp_path / f"picture.{kind.lower()}"
    file.write_bytes(damaged(encoded(kind), damage, cut, head))
    try:
        image = load_image(file, 8)
    except UserError as error:
        assert one_line(error), str(error)
        tally.add("clear line")
    else:
        assert image.shape == (3, 8, 8) and image.abs().amax() <= 1
        tally.add("right result")


def chunk(name: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("side", [20_000, 60_000, 2**31 - 1])
def test_a_picture_that_would_fill_the_memory(tally, tmp_path, side):
    """20 000 pixels a side are 400 million; the file has 100 bytes."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = (
        chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    with pytest.raises(UserError) as refused:
        load_image(tmp_path / "bomb.png", 8)
    assert one_line(refused.value)
    tally.add("clear line")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner),
    max_leaves=8,
)
ENTRY = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from(["F32", "BF16", "I64", "F4"]) | JSON,
        "shape": st.lists(st.integers(0, 2**63), max_size=4) | JSON,
        "data_offsets": st.lists(st.integers(0, 2**63), max_size=3) | JSON,
    },
)
HEADER = st.dictionaries(st.sampled_from(["a", "b", "__metadata__"]), ENTRY | JSON, max_size=3)


def refuses(call) -> None:
    """Reading a file that holds no model ends in one line."""
    with pytest.raises(UserError) as refused:
        call()
    assert one_line(refused.value), str(refused.value)


@bounded
@given(HEADER | JSON, st.binary(max_size=40), st.integers(-3, 3))
@example({"__metadata__": {"sdg": "["}}, b"", 0)
@example({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}, b"", 0)
def test_headers_of_weights(tally, tmp_path, header, data, off):
    text = json.dumps(header).encode()
    length = struct.pack("<Q", max(0, len(text) + off))
    (tmp_path / "it.safetensors").write_bytes(length + text + data)
    refuses(lambda: read_weights(tmp_path / "it.safetensors", "denoiser"))
    refuses(lambda: from_pretrained(tmp_path / "it.safetensors"))
    tally.add("clear line")


KINDS = st.sampled_from(["denoiser", "clip", "clip_noisy", "classifier_noisy", "judge"]) | JSON
OPTIONS = st.sampled_from(["prediction", "schedule", "network", "patch", "resolution", "model"])
OWN = st.fixed_dictionaries({"kind": KINDS, "config": st.dictionaries(OPTIONS, JSON, max_size=4)})


def key_paths(config, above=()):
    """The path of every key of a config, and of every key in those."""
    for key, value in config.items() if isinstance(config, dict) else ():
        yield (*above, key)
        yield from key_paths(value, (*above, key))


def without(config, path):
    """A copy of the config that lacks one key."""
    lacking = copy.deepcopy(config)
    section = lacking
    for key in path[:-1]:
        section = section[key]
    del section[path[-1]]
    return lacking


@pytest.mark.parametrize("kind", ["denoiser", "clip", "clip_noisy", "classifier_noisy", "judge"])
def test_every_key_that_a_config_lacks_is_named_or_has_a_default(tally, weights, tmp_path, kind):
    """What stands at the top is named; what a library reads ends in one line, or is no need."""
    whole = header(weights / f"{kind}.safetensors")["config"]
    for path in [(), *key_paths(whole)]:
        config = without(whole, path) if path else {}
        text = json.dumps({"kind": kind, "config": config})
        (tmp_path / "it.safetensors").write_bytes(save({"a": torch.zeros(1)}, {KEY: text}))
        with pytest.raises(UserError) as refused:
            from_pretrained(tmp_path / "it.safetensors")
        said = str(refused.value)
        assert one_line(refused.value), said
        assert "KeyError" not in said and "TypeError" not in said
        assert "it lacks" in said or len(path) > 0, said
        tally.add("clear line")


@bounded
@given((OWN | JSON).map(json.dumps))
@example("[" * 100_000)
@example('{"kind": "denoiser", "config": null}')
@example('{"kind": "denoiser", "config": {}}')
@example('{"kind": ["denoiser"], "config": {}}')
@example('{"kind": "denoiser", "config": {"schedule": {"kind": "cosine", "T": 1e999}}}')
def test_what_weights_say_of_themselves(tally, tmp_path, text):
    (tmp_path / "it.safetensors").write_bytes(save({"a": torch.zeros(1)}, {KEY: text}))
    refuses(lambda: from_pretrained(tmp_path / "it.safetensors"))
    tally.add("clear line")
