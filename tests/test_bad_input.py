"""Wrong input gets one line that says what is wrong and what to do."""

import pytest
from PIL import Image

from sdg.data.captions import FACTORS
from sdg.io.weights import save
from sdg.models.judge import Judge


@pytest.mark.parametrize(
    "overrides, said",
    [
        (["guidance.gamma=banana"], "guidance.gamma must be a finite number, not 'banana'"),
        (["guidance.gamma=nan"], "guidance.gamma must be a finite number"),
        (["sampler.steps=0"], "sampler.steps must be an integer"),
        (["sampler.steps=2000"], "sampler.steps must be an integer from 1 to 1000"),
        (
            ["sampler.steps=2000", "data.resolution=64"],  # before the data are made
            "sampler.steps must be an integer from 1 to 1000",
        ),
        (["sampler.steps=1001"], "sampler.steps must be an integer from 1 to 1000"),
        (  # real levels, of which there are any number: what is refused comes later
            ["sampler.steps=1001", "sampler.spacing=karras", "data.resolution=64"],
            "data.resolution=64, but the denoiser draws 32",
        ),
        (
            ["sampler.steps=1001", "sampler.spacing=log_snr", "data.resolution=64"],
            "data.resolution=64, but the denoiser draws 32",
        ),
        (["num_samples=-3"], "num_samples must be an integer of at least 1, or null, not -3"),
        (["samples_per_prompt=0"], "samples_per_prompt must be"),
        (["batch_size=0"], "batch_size must be"),
        (["seed=-1"], "seed must be"),
        (["prompt="], "prompt must be a text"),
        (["prompt=[]"], "prompt must be a text"),
        (
            ["similarity=[content]", "similarity.content.reference=[]"],
            "similarity.content.reference must be a text",
        ),
        (["named=shpe"], "named must be one of shape, colour"),
        (["sampler.steps=1"], "none of the 1 steps would be guided"),
        (
            ["sampler.steps=10", "guidance.interval=[0.6,0.65]"],
            "guidance.interval=[0.6,0.65]: none of the 10 steps would be guided",
        ),
        (["prompt=a red haert"], "'haert'"),
        (["prompts=/nowhere/prompts.txt"], "cannot read /nowhere/prompts.txt"),
        (["prompt=a heart", "prompts=file"], "not both"),
        (["logger=csv"], "a sampling run writes metrics.csv itself"),
        (["guidance.gradient_at=maen"], "did you mean 'mean'"),
        (["guidance.recurrence=0"], "guidance.recurrence must be"),
        (["sampler=ddim", "guidance.gradient_at=mean"], "which this sampler does not have"),
        (["sampler.spacing=linear"], "sampler.spacing must be one of"),
        (["denoiser.weights=/nowhere.safetensors"], "no weights at /nowhere.safetensors"),
        (["data.resolution=64"], "data.resolution=64, but the denoiser draws 32"),
        (["guidance.gama=5"], "did you mean 'guidance.gamma'"),
        (["gudance=sdg"], "did you mean 'guidance'"),
        (["sampler=ddmp"], "did you mean 'ddpm'"),
        (["prompt=a red heart, striped"], "Quote a sentence twice"),
        (
            ["trainer.precision=16-true"],
            "trainer.precision must be one of auto, 32-true, bf16-mixed",
        ),
        (["trainer.precision=7"], "trainer.precision must be one of auto, 32-true"),
        (["similarity=[txt]"], "did you mean 'text'"),
        (["similarity=text,style"], "one run with all of them is similarity=[text,style], a run"),
        (["guidance.gamma=1,2"], "several values: a run for each is a sweep, -m guidance.gamma"),
        (["~guidance"], "~guidance leaves out what sample.py needs; choose of it: guidance=dps"),
        (["hydra/launcher=jobli"], "there is no such launcher, did you mean 'joblib'?"),
        (["prompt=a ring:0"], "asks for nothing, as its weight is 0"),
        (["guidance._target_=nowhere.F"], "guidance._target_=nowhere.F cannot be imported: Module"),
        (["similarity=[]"], "similarity=[] is empty"),
        (["similarity=[text,text]"], r"similarity=[text,text] names text twice"),
        (["unguided=true", "guidance.gamma=0"], "guidance.gamma=0 guides none"),
        (["similarity=[class]", "similarity.text.weight=1"], "similarity.text"),
        (
            ["sampler.eta=1"],
            "'sampler.eta' is a setting of sampler=ddim or sampler=dpm_solver, which this command "
            "has not chosen",
        ),
        (["prompt=a ring:banana"], "the weight 'banana'"),
        (
            ["similarity.text.rivals=held_out"],
            "'similarity.text.rivals' is now called 'similarity.text.negative_captions'",
        ),
        (
            ["similarity.text.negative_captions=/nowhere.txt"],
            "similarity.text.negative_captions: cannot read /nowhere.txt",
        ),
        (["similarity.text.weight=banana"], "similarity.text.weight must be a finite number"),
        (
            ["similarity=[content]", "similarity.content.reference=/nowhere.png"],
            "similarity.content.reference: there is no image /nowhere.png",
        ),
        (
            ["similarity=[content]", "similarity.content.reference=README.md"],
            "cannot read README.md as an image",
        ),
        (
            ["similarity=[content]", "similarity.content.reference=conf"],
            "no image in the folder conf",
        ),
        (
            ["similarity=[content]", "similarity.content.reference=held-out 32"],
            "there is no reference 'held-out 32': held-out images are numbered from 0 to 31",
        ),
        (
            ["similarity=[content]", "similarity.content.reference=held-out x"],
            "there is no reference 'held-out x'",
        ),
        (
            ["similarity=[content]", "similarity.content.weight=heavy"],
            "similarity.content.weight must be a finite number",
        ),
        (
            ["similarity=[style]", "similarity.style.stages=[layer9]"],
            "similarity.style.stages must be one of",
        ),
        (
            ["similarity=[style]", "similarity.style.stages=[]"],
            "similarity.style.stages must be a list [...] of entries",
        ),
        (["similarity=[style]", "similarity.style.form=lgo"], "did you mean 'log'"),
        (
            ["similarity=[class]", "similarity.class.name=hart"],
            "no class 'hart', did you mean 'heart'",
        ),
        (
            ["similarity=[class]", "similarity.class.form=classifier"],
            "needs encoder=classifier_noisy",
        ),
        (["similarity=[class]", "similarity.class.form=cosin"], "did you mean 'cosine'"),
        (
            ["guidance.interval=[0.2,1.5]"],
            "2 rising entries, each a number from 0 to 1, not [0.2, 1.5]",
        ),
        (
            ["guidance.interval=[0.9,0.2]"],
            "guidance.interval must be a list [...] of 2 rising entries",
        ),
        (["guidance.gamma_schedule=cosine"], "guidance.gamma_schedule must be one of"),
        (
            ["guidance.max_norm=-1"],
            "guidance.max_norm must be a finite number above 0, or null, not -1",
        ),
        (["guidance=dpss"], "did you mean 'dps'"),
        (["init_image=/nowhere.png"], "init_image: there is no image /nowhere.png"),
        (["encoder.weights=weights"], "the folder weights is none of this project's"),
        (["trainer=gpu"], "on a machine without a GPU, trainer=auto"),
        (["init_image=README.md"], "cannot read README.md as an image"),
        (["trajectory=-1"], "trajectory must be"),
        (["trajectory=9", "batch_size=4"], "trajectory=9 samples are followed within one batch"),
        (["named=[color]"], "named must be one of shape, colour"),
        (["offset=-1"], "offset must be"),
    ],
)
def test_sample_refuses_in_one_line(refusal, tiny, overrides, said):
    keys = {o.partition("=")[0] for o in overrides}
    kept = [o for o in tiny if o.partition("=")[0] not in keys]
    assert said in refusal("sample.py", *kept, *overrides)


def test_nothing_is_left_of_a_run_that_is_refused_but_a_folder_that_was_named(
    refusal, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    refusal("train.py", "trainer.max_steps=0")
    refusal("sample.py", "sampler.steps=0")
    refusal("train.py", "trainer.max_steps=0", "hydra.run.dir=mine")
    assert (
        not list((tmp_path / "outputs").glob("*/*/*"))
        and not list((tmp_path / "outputs" / "sample").iterdir())
        and (tmp_path / "mine").is_dir()
    )


def test_an_experiment_whose_files_are_missing_says_where_it_says_what_it_needs(refusal, tmp_path):
    message = refusal(
        "sample.py", "experiment=paper_ffhq", "prompt=a face", f"hydra.run.dir={tmp_path}/run"
    )
    assert "no weights at weights/paper/ffhq_10m.pt" in message and message.endswith(
        "conf/experiment/paper_ffhq.yaml says what it needs and where that is found."
    )


@pytest.mark.parametrize("strength", ["0", "1.5", "half"])
def test_strength_beyond_its_range(refusal, tiny, tmp_path, strength):
    Image.new("RGB", (40, 30)).save(tmp_path / "start.png")
    assert "strength must be" in refusal(
        "sample.py", *tiny, f"init_image={tmp_path}/start.png", f"strength={strength}"
    )


def test_a_nearest_word_is_named(refusal, tiny):
    message = refusal("sample.py", *tiny, "prompt=a red haert")
    assert "did you mean 'heart'" in message and "triangle" in message


@pytest.mark.parametrize("encoder, says", [("none", "reads no images"), ("judge", "cannot guide")])
def test_what_cannot_guide_says_so(refusal, tiny, encoder, says):
    assert f"encoder={encoder} {says}" in refusal(
        "sample.py", *[o for o in tiny if not o.startswith("encoder.")], f"encoder={encoder}"
    )


def test_truncated_weights(refusal, tiny, weights, tmp_path):
    whole = (weights / "denoiser.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    assert "damaged" in refusal(
        "sample.py", *tiny[1:], f"denoiser.weights={tmp_path}/cut.safetensors"
    )


def test_weights_of_another_kind(refusal, tiny, weights):
    assert "are of the kind judge; the kind denoiser is needed" in refusal(
        "sample.py", *tiny[1:], f"denoiser.weights={weights}/judge.safetensors"
    )


def test_a_folder_that_cannot_be_written(refusal, tiny, tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert "cannot read or write" in refusal(
        "sample.py", *tiny[:-1], f"hydra.run.dir={tmp_path}/file/run"
    )


def test_enormous_gamma_gives_finite_images_or_one_line(run, tiny, capsys):
    try:
        run("sample.py", *tiny, "guidance.gamma=1e38")
    except SystemExit as stop:
        assert "lower gamma" in str(stop.code)
    else:
        assert "results: " in capsys.readouterr().out


@pytest.mark.parametrize(
    "overrides, said",
    [
        (["encoder=clop"], "did you mean 'clip'"),
        (["data=folder"], "data.root must be given: data.root=…, a folder of images."),
        (["data=folder", "data.root="], "data.root must be a folder of images, not ''"),
        (["data=folder", "data.root=/nowhere"], "data.root: there is no folder '/nowhere'; set"),
        (["data=folder", "data.root=README.md"], "data.root: there is no folder 'README.md'; set"),
        (["ckpt_path=/nowhere.ckpt"], "there is no file /nowhere.ckpt"),
        (
            [
                "data.batch_size=512",
                "data.size=64",
                "data.held_out=32",
                "data.cache=null",
                "trainer.max_steps=1",
            ],
            "batch_size=512 is more than the 64 training images; lower it, on",
        ),
        (["data.resolution=30", "data.cache=null"], "must be a multiple of"),
        (["denoiser.prediction=eps"], "denoiser.prediction must be one of"),
        (
            ["optimizer.lr=banana"],
            "optimizer.lr must be a finite number of at least 0 and at most 100, not 'banana'",
        ),
        (
            ["optimizer.lr=-1"],
            "optimizer.lr must be a finite number of at least 0 and at most 100, not -1",
        ),
        (
            ["trainer.max_steps=banana"],
            "trainer.max_steps must be -1, or an integer of at least 1, not 'banana'",
        ),
        (["data=webdataset"], "data.urls must be given"),
        (
            ["encoder=clip_noisy", "encoder.name=RN05", "encoder.pretrained=openai"],
            "encoder.name: neither open_clip nor timm has a model 'RN05', did you mean 'RN50'?",
        ),
        (["trainer.acelerator=gpu"], "did you mean 'trainer.accelerator'"),
        (["trainer=gpu"], "torch finds none"),
        (
            ["trainer.devices=999"],
            "trainer.devices=999 are as many processes, and this machine has",
        ),
        (
            ["trainer.max_steps=0"],
            "trainer.max_steps must be -1, or an integer of at least 1, not 0",
        ),
        (["trainer.max_steps=-1"], "set trainer.max_steps or"),
        (["encoder=clip_noisy", "module.cache_teachr=true"], "did you mean 'module.cache_teacher'"),
        (["encoder=clip_noisy", "module.denoiser=/nope"], "module.denoiser: no weights at /nope"),
        (["denoiser.autoencoder=/nope"], "denoiser.autoencoder: no weights at /nope"),
        (["trainer.devices=0"], "or a list of their numbers, not 0."),
        (["steps=5"], "there is no setting 'steps', did you mean 'trainer.max_steps'?"),
        (["resume=perhaps"], "resume must be true or false, not 'perhaps'"),
        (["experiment=emoji46"], "there is no such experiment, did you mean 'emoji64'?"),
        (["data=folder", "data.rot=/nowhere"], "did you mean 'data.root'?"),
        (
            ["encoder=clip_noisy", "encoder.clip=/nowhere.safetensors"],
            "no weights at /nowhere.safetensors",
        ),
    ],
)
def test_train_refuses_in_one_line(refusal, tmp_path, overrides, said):
    assert said in refusal("train.py", f"hydra.run.dir={tmp_path}/run", *overrides)


def test_a_folder_without_labels_has_no_classes(refusal, tiny, tmp_path):
    for name in ("a", "b", "c"):
        Image.new("RGB", (32, 32)).save(tmp_path / f"{name}.png")
    tiny = [o for o in tiny if not o.startswith("data.")]
    assert "this data has no classes" in refusal(
        "sample.py",
        *tiny,
        "data=folder",
        f"data.root={tmp_path}",
        "similarity=[class]",
        "similarity.class.name=heart",
    )


def test_pictures_that_no_run_left_are_not_replaced(refusal, tiny, tmp_path):
    (tmp_path / "run" / "images").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "run" / "images" / "holiday.png")
    assert "holds files that are of no run of sampling or training: images" in refusal(
        "sample.py", *tiny
    )
    assert (tmp_path / "run" / "images" / "holiday.png").is_file()


def test_a_judge_of_another_size_is_refused(refusal, tiny, tmp_path):
    judge = Judge(
        "resnet_tiny", {name: len(values) for name, values in FACTORS.items()}, resolution=64
    )
    save(tmp_path / "judge.safetensors", "judge", judge, judge.config)
    assert "eval.judge reads images of 64 pixels a side, the samples have 32" in refusal(
        "sample.py", *tiny, f"eval.judge={tmp_path}/judge.safetensors"
    )


def test_nothing_to_resume(refusal, tmp_path):
    assert "resume=true: no checkpoint of a denoiser under" in refusal(
        "train.py",
        f"hydra.run.dir={tmp_path}/denoiser/run",
        "resume=true",
        "data.cache=null",
        "data.size=64",
        "data.held_out=32",
    )
