"""Files that mean harm: they run code, claim what they do not hold, or name what lies elsewhere."""

import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch

SAFETENSORS = {  # headers, of which none is one
    "header-of-exabytes": struct.pack("<Q", 1 << 62),
    "header-of-a-gigabyte": struct.pack("<Q", 1 << 30) + b"{",
    "header-cut": struct.pack("<Q", 100) + b'{"a":',
    "no-json": struct.pack("<Q", 4) + b"\xff\xfe\xfd\xfc",
}
HEADERS = {  # JSON, of which none is true
    "beyond-the-end": {"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 1 << 40]}},
    "negative": {"a": {"dtype": "F32", "shape": [-4], "data_offsets": [0, 16]}},
    "enormous": {"a": {"dtype": "F32", "shape": [1 << 62, 1 << 62], "data_offsets": [0, 16]}},
    "unlike-its-shape": {"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 16]}},
    "unknown-type": {"a": {"dtype": "PYOBJ", "shape": [4], "data_offsets": [0, 16]}},
    "config-no-json": {"__metadata__": {"sdg": "{"}},
    "config-a-list": {"__metadata__": {"sdg": "[]"}},
    "config-deep": {"__metadata__": {"sdg": "[" * 100_000}},
    "config-null": {"__metadata__": {"sdg": '{"kind": null, "config": {}}'}},
}
KINDS = ("denoiser", "clip", "clip_noisy", "judge", "classifier_noisy")
CONFIGS = {  # of a model, which build none, or one of somebody else's
    "empty": {},
    "hub": {"model_name": "hf-hub:nobody/nothing", "factors": {"a": 2}},
    "local": {"model_name": "local-dir:/tmp", "factors": {"a": 2}},
    "huge": {"model_name": "resnet_tiny", "factors": {"a": 1 << 40}},
    "target": {"_target_": "os.system", "command": "true"},
}


class Harm:
    """An object whose pickle makes a file when it is read.

    Arguments:
        marker: that file.
    """

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return exec, (f"open({str(self.marker)!r}, 'w').close()",)


def pickles(folder: Path, marker: Path) -> list[Path]:
    """Pickles that run code, in every coat."""
    harm = Harm(marker)
    raw = pickle.dumps(harm, 2)
    zipped = io.BytesIO()
    torch.save({"state_dict": {"a": torch.ones(2)}, "global_step": 1, "harm": harm}, zipped)
    legacy = io.BytesIO()
    torch.save({"a": harm}, legacy, _use_new_zipfile_serialization=False)
    array = io.BytesIO()
    np.save(array, np.array([harm], dtype=object), allow_pickle=True)
    arrays = io.BytesIO()
    np.savez(arrays, a=np.array([harm], dtype=object))
    files = []
    for coat in ("pt", "pth", "ckpt", "bin", "safetensors"):
        for name, content in (("raw", raw), ("zipped", zipped.getvalue())):
            files.append(written(folder / f"{name}.{coat}", content))
    files.append(written(folder / "legacy.pt", legacy.getvalue()))
    for coat in ("npy", "pt", "safetensors"):
        files.append(written(folder / f"array-in.{coat}", array.getvalue()))
    files.append(written(folder / "arrays.npz", arrays.getvalue()))
    return files


def damaged(folder: Path) -> list[Path]:
    """Files that are cut, empty, bombs, or none at all."""
    whole = io.BytesIO()
    torch.save({"a": torch.ones(1000)}, whole)
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("archive/data.pkl", "archive/data/0"):
            archive.writestr(name, bytes(1 << 26))
    files = [
        written(folder / "empty.safetensors", b""),
        written(folder / "empty.pt", b""),
        written(folder / "cut.pt", whole.getvalue()[:2000]),
        written(folder / "bomb.pt", bomb.getvalue()),
        written(folder / "no-dictionary.pt", saved([1, 2, 3])),
        written(folder / "text.safetensors", b"not weights\n"),
    ]
    for name, content in SAFETENSORS.items():
        files.append(written(folder / f"{name}.safetensors", content))
    for name, header in HEADERS.items():
        files.append(written(folder / f"{name}.safetensors", with_header(header)))
    for kind in KINDS:
        for name, config in CONFIGS.items():
            text = json.dumps({"kind": kind, "config": config})
            header = {"__metadata__": {"sdg": text}}
            files.append(written(folder / f"{kind}-{name}.safetensors", with_header(header)))
    pipe = folder / "pipe.safetensors"
    if not pipe.exists():
        os.mkfifo(pipe)
    return [*files, pipe]


def images(folder: Path) -> list[Path]:
    """Files that pass for images."""
    bomb = struct.pack(">IIBBBBB", 1 << 30, 1 << 30, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + bomb
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(bomb)) + chunk
    png += struct.pack(">I", zlib.crc32(chunk))
    return [
        written(folder / "bomb.png", png),
        written(folder / "cut.png", png[:20]),
        written(folder / "empty.png", b""),
        written(folder / "text.jpg", b"no image"),
        written(folder / "program.png", b"%!PS\n(/etc/passwd) run\n"),
    ]


def metadata(folder: Path) -> list[Path]:
    """Lists of captions that are none."""
    rows = {
        "deep.jsonl": "[" * 100_000,
        "number.jsonl": "1\n",
        "null.jsonl": '{"file_name": null, "text": "x"}\n',
        "elsewhere.jsonl": '{"file_name": "../../etc/passwd", "text": "x"}\n',
        "nul.csv": "file_name,text\na\0.png,x\n",
        "wide.csv": "file_name,text\na.png," + "x" * 200_000 + "\n",
        "object.jsonl": '{"file_name": {"a": 1}, "text": {"b": 2}}\n',
    }
    return [written(folder / name, text.encode()) for name, text in rows.items()]


def shards(folder: Path, marker: Path) -> list[Path]:
    """Tar files with members that leave the folder, pickles, links, and no tar at all."""
    raw = pickle.dumps(Harm(marker), 2)
    members = {
        "leaving": {"../../../escaped.png": b"x"},
        "absolute": {f"{marker}": b"x", f"{marker}.png": b"x"},
        "pickles": {"a.pyd": raw, "a.pickle": raw, "a.pth": raw, "a.png": raw},
        "deep": {"a.png": b"x", "a.json": b"[" * 100_000},
    }
    files = [written(folder / "no.tar", b"no tar"), written(folder / "none.tar", b"")]
    for name, contents in members.items():
        with tarfile.open(folder / f"{name}.tar", "w") as shard:
            for member, content in contents.items():
                info = tarfile.TarInfo(member)
                info.size = len(content)
                shard.addfile(info, io.BytesIO(content))
            link = tarfile.TarInfo("link.png")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            shard.addfile(link)
        files.append(folder / f"{name}.tar")
    return files


def with_header(header: dict) -> bytes:
    """A safetensors with this header and 16 bytes."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(16)


def saved(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def written(file: Path, content: bytes) -> Path:
    file.write_bytes(content)
    return file
