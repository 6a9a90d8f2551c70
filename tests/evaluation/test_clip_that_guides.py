"""A CLIP that guided is no judge of what it guided."""

import json

import pytest


@pytest.mark.parametrize("encoder, guided", [("clip", True), ("clip_noisy", False)])
def test_a_clip_that_guides_compares_no_images(run, tiny, tmp_path, capsys, encoder, guided):
    words = [word for word in tiny if not word.startswith(("encoder.weights", "eval.judge"))]
    own = [word for word in tiny if word.startswith("encoder.weights")] if not guided else []
    run("sample.py", *words, *own, f"encoder={encoder}", "eval.judge=null", "samples_per_prompt=2")
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics.get("clip_guided", False) is guided
    assert ("diversity_clip" in metrics) is not guided
    lines = capsys.readouterr().out
    assert ("by the CLIP that guided, which favours them" in lines) is guided
    assert ("by a CLIP that did not guide" in lines) is not guided
