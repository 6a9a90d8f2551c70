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
from huggingface_hub import constants

from sdg import Pipeline
from sdg.app.checkpoints import main
from sdg.diffusion.samplers import DDPM
from sdg.errors import UserError
from sdg.io.digest import content
from sdg.io.hub import is_hub_name, located
from sdg.io.weights_folder import save_folder
from sdg.models.registry import from_pretrained, load_clip, load_clip_noisy, load_denoiser

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
def address():
    """The address of that hub, which holds nothing yet."""
    Hub.files = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def hub(address, tmp_path, monkeypatch):
    """Makes it this process's hub, as its environment makes it that of a new one.

    huggingface_hub reads its environment when it is imported.
    """
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setenv("HF_TOKEN", Hub.token)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def process(address, tmp_path):
    """Runs Python in a new process whose hub it is: (exit code, what it printed)."""
    told = {
        "HF_ENDPOINT": address,
        "HF_TOKEN": Hub.token,
        "HF_HOME": str(tmp_path / "cache"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "no_proxy": "127.0.0.1",
    }

    def run(*words: str) -> tuple[int, str]:
        command = [sys.executable, *words]
        environment = os.environ | told
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        return done.returncode, done.stdout + done.stderr

    return run


def pushed(folder, *options: str) -> None:
    main(["push", *options, str(folder), NAME])


@pytest.mark.slow
def test_what_is_pushed_is_what_is_fetched(process, weights, tmp_path):
    denoiser = load_denoiser(weights / "denoiser.safetensors")
    folder = save_folder(tmp_path / "folder", "denoiser", denoiser)
    (folder / "notes.txt").write_text("not for others")
    code, said = process("-m", "sdg.app.checkpoints", "push", str(folder), NAME)
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
    code, said = process(
        "-c",
        f"import torch; from sdg import from_pretrained; x = torch.load('{tmp_path}/x.pt'); "
        f"torch.save(from_pretrained('{NAME}')(x, 3).output, '{tmp_path}/y.pt')",
    )
    assert code == 0, said
    assert torch.equal(torch.load(tmp_path / "y.pt"), denoiser(x, 3).output)


def test_a_name_on_the_hub_serves_wherever_a_file_does(hub, weights, tmp_path, tiny, run, capsys):
    pushed(save_folder(tmp_path / "clip", "clip", load_clip(weights / "clip.safetensors")))
    run("sample.py", *tiny, f"encoder.clip={NAME}@main", f"eval.clip={NAME}", "num_samples=2")
    assert len(list((tmp_path / "run" / "images").iterdir())) == 2
    capsys.readouterr()
    main(["inspect", NAME])
    assert "this project's, a clip" in capsys.readouterr().out


def test_a_whole_pipeline_is_pushed_and_fetched(hub, weights, tmp_path):
    whole = Pipeline(
        load_denoiser(weights / "denoiser.safetensors"),
        load_clip_noisy(weights / "clip_noisy.safetensors"),
        load_clip(weights / "clip.safetensors"),
        gamma=5.0,
        sampler=DDPM(3),
        negative_captions=["a ring", "a star"],
    )
    pushed(whole.save_pretrained(tmp_path / "whole"))
    for path in (NAME, f"{NAME}@main"):
        again = Pipeline.from_pretrained(path)
        assert again.negative_captions == ["a ring", "a star"]
        ours, theirs = (each("a red heart", progress=False).tensors for each in (whole, again))
        assert torch.equal(ours, theirs)
    with pytest.raises(UserError, match="holds a whole pipeline"):
        from_pretrained(NAME)


def test_of_a_stable_diffusion_what_is_read_is_fetched(hub, tmp_path):
    pytest.importorskip("transformers")
    from stable_diffusion import saved, stable_diffusion

    folder = saved(stable_diffusion(tmp_path / "words"), tmp_path / "folder")
    Hub.files |= {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }
    needed = set(Hub.files)
    Hub.files |= dict.fromkeys(
        (
            "v1-5-pruned.safetensors",
            "unet/diffusion_pytorch_model.bin",
            "unet/diffusion_pytorch_model.fp16.safetensors",
            "unet/diffusion_pytorch_model.non_ema.safetensors",
            "text_encoder/pytorch_model.bin",
            "text_encoder/model.fp16.safetensors",
            "safety_checker/model.safetensors",
        ),
        b"not read",
    )
    denoiser = from_pretrained(NAME, prompt="a barn")
    place = located(NAME)
    fetched = {file.relative_to(place).as_posix() for file in place.rglob("*") if not file.is_dir()}
    assert fetched == needed
    own = from_pretrained(folder, prompt="a barn")
    assert torch.equal(denoiser.network.prompts, own.network.prompts)


def test_a_pipeline_that_is_not_on_the_hub_is_said_in_one_line(hub, weights, tmp_path):
    with pytest.raises(UserError, match="no such model could be fetched from the hub") as refused:
        Pipeline.from_pretrained("nobody/nothing")
    assert "\n" not in str(refused.value)
    pushed(save_folder(tmp_path / "clip", "clip", load_clip(weights / "clip.safetensors")))
    with pytest.raises(UserError, match=f"{NAME} has no pipeline.json"):
        Pipeline.from_pretrained(NAME)


def test_what_is_private_is_pushed_where_nobody_sees_it(hub, weights, tmp_path, monkeypatch):
    monkeypatch.setattr(Hub, "private", True)
    pushed(
        save_folder(tmp_path / "clip", "clip", load_clip(weights / "clip.safetensors")), "--private"
    )
    assert Hub.files


def test_what_is_private_is_not_pushed_where_all_can_see_it(hub, weights, tmp_path):
    folder = save_folder(tmp_path / "clip", "clip", load_clip(weights / "clip.safetensors"))
    message = f"error: {NAME} is there already and public, so nothing was pushed"
    with pytest.raises(SystemExit, match=message):
        pushed(folder, "--private")
    assert not Hub.files


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
    digests = []
    for kind in ("clip", "clip", "judge"):
        model = from_pretrained(weights / f"{kind}.safetensors")
        pushed(save_folder(tmp_path / kind, kind, model))
        digests.append(content(NAME))
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(
    "words, message",
    [
        (("push", "FOLDER", NAME), "could not be pushed to somebody/part"),
        (("push", "NONE", NAME), "is no folder of a trained part or of a pipeline"),
        (("inspect", "nobody/nothing"), "no such model could be fetched from the hub"),
    ],
)
def test_what_the_hub_refuses_is_one_line(hub, weights, tmp_path, monkeypatch, words, message):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    (tmp_path / "NONE").mkdir()
    save_folder(tmp_path / "FOLDER", "clip", load_clip(weights / "clip.safetensors"))
    with pytest.raises(SystemExit) as stop:
        main([str(tmp_path / word) if word.isupper() else word for word in words])
    said = str(stop.value.code)
    assert said.startswith("error: ") and message in said and "\n" not in said
