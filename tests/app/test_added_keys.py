"""A key that is added with + and that nothing reads is refused."""

import sys

import pytest

SHARP = """
from sdg.guidance.semantic import SemanticGuidance


class Sharp(SemanticGuidance):
    def __init__(self, sharpness=1.0, **options):
        super().__init__(**options)
"""


@pytest.mark.parametrize(
    "script, word, message",
    [
        ("sample.py", "+gamma=50", "no setting 'gamma', did you mean 'guidance.gamma'?"),
        ("train.py", "+lr=1", "no setting 'lr', did you mean 'optimizer.lr'?"),
        ("sample.py", "++eval.grd=3", "no setting 'eval.grd', did you mean 'eval.grid'?"),
        ("sample.py", "+denoiser.path=x", "a setting of denoiser=pretrained"),
        ("sample.py", "+denoiser.foo=1", "no setting 'denoiser.foo'"),
        ("train.py", "+schedule.S=10", "no setting 'schedule.S'"),
        ("train.py", "+encoder.foo=10", "no setting 'encoder.foo'"),
        ("sample.py", "+guidance.foo=3", "'guidance.foo' is no setting of guidance=sdg (Semantic"),
        ("sample.py", "++guidance.gama=5", "guidance=sdg (SemanticGuidance), did you mean 'gamma'"),
        ("train.py", "+optimizer.foo=1", "'optimizer.foo' is no setting of AdamW"),
        ("train.py", "+trainer.foo=1", "'trainer.foo' is no setting of trainer=auto (Trainer)"),
    ],
)
def test_a_key_that_nothing_reads_is_refused(refusal, tmp_path, script, word, message):
    small = ["data.cache=null", "data.size=64", "data.held_out=32", "data.batch_size=8"]
    assert message in refusal(script, word, *small, f"hydra.run.dir={tmp_path}/run")


def test_an_option_that_a_class_of_ones_own_passes_on_is_known(
    run, refusal, tiny, tmp_path, monkeypatch
):
    (tmp_path / "sharp.py").write_text(SHARP)
    (tmp_path / "own" / "guidance").mkdir(parents=True)
    (tmp_path / "own" / "guidance" / "sharp.yaml").write_text("_target_: sharp.Sharp\ngamma: 5.0\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    chosen = [*tiny, f"--config-dir={tmp_path}/own", "guidance=sharp"]
    message = refusal("sample.py", *chosen, "+guidance.foo=3")
    assert "'guidance.foo' is no setting of guidance=sharp (Sharp)" in message
    run("sample.py", *chosen, "+guidance.sharpness=2", "+guidance.max_norm=9")
    assert (tmp_path / "run" / "grid.png").is_file()


def test_callbacks_similarities_and_network_options_may_be_added(run, tiny, tmp_path):
    run(
        "sample.py",
        *tiny,
        "+callbacks.timer._target_=pytorch_lightning.callbacks.Timer",
        "+trainer.limit_predict_batches=1.0",
        "+similarity.content._target_=sdg.similarity.Content",
        "+similarity.content.reference=null",
        "++eval.metrics={}",
    )
    assert (tmp_path / "run" / "grid.png").is_file()
