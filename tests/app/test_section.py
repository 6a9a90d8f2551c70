"""The library names a parameter, the commands the setting."""

import pytest
from hydra.utils import instantiate

from sdg import DDPM, Denoiser, Schedule, SemanticGuidance, Style, UserError
from sdg.app.explaining import explain
from sdg.app.making import section
from sdg.models.words import Words

WRONG = [
    ("guidance", "gamma must be", lambda: SemanticGuidance("x")),
    ("guidance", "interval must be", lambda: SemanticGuidance(1.0, interval=5)),
    ("sampler", "steps must be", lambda: DDPM(0)),
    ("sampler", "spacing must be one of", lambda: DDPM(10, "foo")),
    ("denoiser", "prediction must be one of", lambda: Denoiser(None, Schedule(), prediction="x")),
    ("similarity.mine", "stages must be one or more names", lambda: Style(1.0, [])),
]


@pytest.mark.parametrize("key, says, make", WRONG)
def test_a_command_puts_the_section_before_a_parameter(key, says, make):
    with pytest.raises(UserError, match=f"^{says}"):
        make()
    with pytest.raises(UserError, match=f"^{key}.{says}"), section(key):
        make()


def test_what_hydra_wraps_has_its_section_too():
    node = {"_target_": "sdg.diffusion.samplers.DDIM", "eta": 2}
    with pytest.raises(UserError, match="^sampler.eta must be between 0 and 1"), section("sampler"):
        instantiate(node)


def test_another_error_stays_as_it_is():
    with pytest.raises(UserError, match="^nothing named$"), section("guidance"):
        raise UserError("nothing named")


def test_a_command_says_which_setting_brings_other_words(tmp_path):
    with pytest.raises(UserError, match=r"knows others\.$") as error:
        Words(["red"], 20).word_numbers("blue")
    line = explain(error.value, tmp_path, "sample")
    assert line.endswith("Another CLIP knows others: encoder.clip=FOLDER.")
