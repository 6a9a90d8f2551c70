"""Given to a hub and taken from it again.

The hub is a small server on this machine that speaks as much of the hub's protocol as that takes.
"""

import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import pytest
import torch

from sdg.app.checkpoints import main
from sdg.errors import UserError
from sdg.io.folder import save_folder
from sdg.io.hub import is_hub_name
from sdg.models.registry import from_pretrained, load_clip, load_denoiser

NAME = "somebody/part"


class Hub(BaseHTTPRequestHandler):
    """One repository, `NAME`, whose files are in `files`; `token` is asked of who writes."""

    protocol_version = "HTTP/1.1"
    files: dict[str, bytes] = {}
    token = "hf_right"
    private = False

    def commit(self) -> str:
        return hashlib.sha1(
            b"".join(name.encode() + data for name, data in sorted(self.files.items()))
        ).hexdigest()

    def reply(self, body: bytes = b"", status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        place = f"http://{self.headers['Host']}/{NAME}"
        if self.headers.get("Authorization") != f"Bearer {self.token}":
            self.reply(json.dumps({"error": "Invalid username or password."}).encode(), 401)
        elif self.path == "/api/repos/create":
            self.reply(json.dumps({"url": place}).encode())
        elif "/preupload/" in self.path:
            self.reply(
                json.dumps(
                    {
                        "files": [
                            {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                            for file in json.loads(sent)["files"]
                        ]
                    }
                ).encode()
            )
        elif "/commit/" in self.path:
            for line in map(json.loads, sent.splitlines()):
                if line["key"] == "file":
                    self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self.reply(
                json.dumps(
                    {"commitOid": self.commit(), "commitUrl": f"{place}/commit/{self.commit()}"}
                ).encode()
            )
        else:
            self.reply(b"{}")

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if path.startswith(f"/api/models/{NAME}/tree/"):
            self.reply(
                json.dumps(
                    [
                        {
                            "type": "file",
                            "path": name,
                            "size": len(data),
                            "oid": hashlib.sha1(data).hexdigest(),
                        }
                        for name, data in self.files.items()
                    ]
                ).encode()
            )
        elif path.startswith(f"/api/models/{NAME}"):
            self.reply(
                json.dumps(
                    {
                        "id": NAME,
                        "sha": self.commit(),
                        "private": self.private,
                        "siblings": [{"rfilename": name} for name in self.files],
                    }
                ).encode()
            )
        elif (
            data := self.files.get(path.partition(f"/{NAME}/resolve/")[2].partition("/")[2])
        ) is not None:
            self.reply(
                data, X_Repo_Commit=self.commit(), ETag=f'"{hashlib.sha1(data).hexdigest()}"'
            )
        else:
            self.reply(b"{}", 404, X_Error_Code="RepoNotFound")

    do_HEAD = do_GET

    def log_message(self, *_) -> None:
        """Nothing: the tests say what went wrong."""


@pytest.fixture
def hub(tmp_path):
    """A command of this project with that hub as its own: (exit code, what it printed)."""
    Hub.files = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def command(*words: str, token: str = Hub.token) -> tuple[int, str]:
        told = {
            "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
            "HF_TOKEN": token,
            "HF_HOME": str(tmp_path / "cache"),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "no_proxy": "127.0.0.1",
        }
        done = subprocess.run(
            [sys.executable, *words],
            env=os.environ | told,
            capture_output=True,
            text=True,
            timeout=300,
        )
        return done.returncode, done.stdout + done.stderr

    yield command
    server.shutdown()
    server.server_close()


def test_what_is_pushed_is_what_is_fetched(hub, weights, tmp_path):
    denoiser = load_denoiser(weights / "denoiser.safetensors")
    folder = save_folder(tmp_path / "folder", "denoiser", denoiser)
    (folder / "notes.txt").write_text("not for others")
    code, said = hub("-m", "sdg.app.checkpoints", "push", str(folder), NAME)
    assert code == 0 and "results: http://127.0.0.1" in said and f"{NAME}/" in said, said
    assert set(Hub.files) == {
        "config.json",
        "model_index.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "scheduler/scheduler_config.json",
    }
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.save(x, tmp_path / "x.pt")
    code, said = hub(
        "-c",
        f"import torch; from sdg import from_pretrained; x = torch.load('{tmp_path}/x.pt'); "
        f"torch.save(from_pretrained('{NAME}')(x, 3)[0], '{tmp_path}/y.pt')",
    )
    assert code == 0, said
    assert torch.equal(torch.load(tmp_path / "y.pt"), denoiser(x, 3)[0])


def test_a_name_on_the_hub_serves_wherever_a_file_does(hub, weights, tmp_path, tiny):
    clip = load_clip(weights / "clip.safetensors")
    assert (
        hub(
            "-m",
            "sdg.app.checkpoints",
            "push",
            str(save_folder(tmp_path / "clip", "clip", clip)),
            NAME,
        )[0]
        == 0
    )
    code, said = hub(
        "sample.py",
        *tiny,
        "data=shapes",
        f"encoder.clip={NAME}@main",
        f"eval.clip={NAME}",
        "num_samples=2",
    )
    assert code == 0 and len(list((tmp_path / "run" / "images").iterdir())) == 2, said
    code, said = hub("-m", "sdg.app.checkpoints", "inspect", NAME)
    assert code == 0 and "this project's, a clip" in said


@pytest.mark.parametrize("private", [False, True])
def test_what_is_private_is_not_pushed_where_all_can_see_it(
    hub, weights, tmp_path, monkeypatch, private
):
    monkeypatch.setattr(Hub, "private", private)
    folder = save_folder(tmp_path / "clip", "clip", load_clip(weights / "clip.safetensors"))
    code, said = hub("-m", "sdg.app.checkpoints", "push", "--private", str(folder), NAME)
    assert (code, bool(Hub.files)) == ((0, True) if private else (1, False)), said
    assert private or f"error: {NAME} is there already and public, so nothing was pushed" in said


def test_pickles_are_not_pushed(tmp_path):
    (tmp_path / "unet").mkdir()
    (tmp_path / "model_index.json").write_text("{}")
    (tmp_path / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(SystemExit, match="has no safetensors, and pickles are not pushed"):
        main(["push", str(tmp_path), NAME])


def test_an_error_without_words_is_still_one_line(weights, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise ConnectionError()

    monkeypatch.setattr("huggingface_hub.HfApi.create_repo", fail)
    folder = save_folder(tmp_path / "clip", "clip", load_clip(weights / "clip.safetensors"))
    with pytest.raises(
        SystemExit,
        match=r"could not be pushed to somebody/part \(ConnectionError: ConnectionError\)",
    ):
        main(["push", str(folder), NAME])


@pytest.mark.parametrize(
    "path, asked",
    [
        ("owner/name", True),
        ("owner/name@main", True),
        ("here/name", False),
        ("here/name@main", True),
        ("../name", False),
        ("./name", False),
        ("a/b/c", False),
        ("owner/x.pt", False),
    ],
)
def test_a_path_is_not_mistaken_for_a_name_on_the_hub(tmp_path, monkeypatch, path, asked):
    (tmp_path / "work" / "here").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    assert is_hub_name(path) == asked
    if path == "here/name":
        with pytest.raises(
            UserError,
            match="no weights at here/name.*If here/name is a name on the hub, say here/name@main",
        ):
            from_pretrained(path)


def test_samples_follow_what_the_name_holds(hub, weights, tmp_path):
    replies = []
    for kind in ("clip", "clip", "judge"):
        assert (
            hub(
                "-m",
                "sdg.app.checkpoints",
                "push",
                str(
                    save_folder(
                        tmp_path / kind, kind, from_pretrained(weights / f"{kind}.safetensors")
                    )
                ),
                NAME,
            )[0]
            == 0
        )
        replies.append(hub("-c", f"from sdg.io.digest import content; print(content('{NAME}'))"))
    digests = [said.split()[0] for _, said in replies]
    assert digests[0] == digests[1] != digests[2] and not any(code for code, _ in replies)


@pytest.mark.parametrize(
    "words, message",
    [
        (("push", "FOLDER", NAME), "could not be pushed to somebody/part"),
        (("push", "NONE", NAME), "is no folder of a trained part"),
        (("inspect", "nobody/nothing"), "no such model could be fetched from the hub"),
    ],
)
def test_what_the_hub_refuses_is_one_line(hub, weights, tmp_path, words, message):
    (tmp_path / "NONE").mkdir()
    save_folder(tmp_path / "FOLDER", "clip", load_clip(weights / "clip.safetensors"))
    code, said = hub(
        "-m",
        "sdg.app.checkpoints",
        *(str(tmp_path / word) if word.isupper() else word for word in words),
        token="hf_wrong",
    )
    assert code == 1 and message in said and "Traceback" not in said
