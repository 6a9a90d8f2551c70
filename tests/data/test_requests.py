"""What a run is asked for, and the seeds that follow from it."""

import pytest

from sdg.data.requests import Requests, read_prompts
from sdg.data.shapes import Shapes, named_factors
from sdg.errors import UserError


def seeds(requests):
    return [request.seed for request in requests.requests]


def test_requests_are_k_for_each_prompt_in_order():
    requests = Requests(["a ring", "a star"], 3, seed=0)
    assert len(requests) == 6
    assert [(requests[i].index, requests[i].prompt) for i in range(6)] == list(enumerate(["a ring"] * 3 + ["a star"] * 3))


def test_seed_follows_from_the_runs_seed_and_the_index_alone():
    reference = seeds(Requests(["a ring"], 12, seed=7))
    assert seeds(Requests(["a star", "a heart", "a ring"], 4, seed=7)) == reference
    assert seeds(Requests(["a star"], 5, seed=7)) == reference[:5]


def test_no_two_samples_share_a_seed_within_a_run_or_between_runs():
    # As they would if a seed were the run's plus the index.
    every = [seed for run in range(20) for seed in seeds(Requests(["a ring"], 200, seed=run))]
    assert len(set(every)) == len(every) and all(0 <= seed < 2**63 for seed in every)


# --- prompts -----------------------------------------------------------------------------------------------------------------

def test_single_prompt_serves_all_samples_unless_told_otherwise():
    assert read_prompts("a ring", None, 8, None) == (["a ring"], 8)
    assert read_prompts("a ring", None, 8, 3) == (["a ring"], 3)


def test_prompts_file_gives_a_sentence_a_line_without_comments_and_blanks(tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("# what to draw\na red ring\n\n  a blue star  \n#a green heart\na naïve ring\n", encoding="utf-8")
    assert read_prompts(None, str(file), 8, None) == (["a red ring", "a blue star", "a naïve ring"], 1)
    assert read_prompts(None, str(file), 8, 4)[1] == 4


def test_byte_order_mark_and_indented_comments_are_no_prompts(tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_bytes("\ufeffa red ring\n  # a comment\n".encode())
    assert read_prompts(None, str(file), 8, None)[0] == ["a red ring"]


def test_held_out_captions_serve_when_nothing_else_is_given():
    held_out = Shapes(20, seed=1, resolution=8)
    prompts, each = read_prompts(None, None, 10, 4, held_out, ["shape", "colour"])
    assert each == 4 and len(prompts) == 3  # three prompts of four are the fewest that make ten
    for i, prompt in enumerate(prompts):
        shape, colour = held_out.factors[i, :2]
        assert named_factors(prompt) == {"shape": shape, "colour": colour}
    assert read_prompts(None, None, 5, None, held_out) == ([held_out.caption(i) for i in range(5)], 1)


def test_more_prompts_than_held_out_captions_are_refused():
    with pytest.raises(UserError, match="needs 9 held-out captions, but there are 8"):
        read_prompts(None, None, 9, None, Shapes(8, seed=1, resolution=8))


def test_prompt_and_prompts_together_are_refused():
    with pytest.raises(UserError, match="not both"):
        read_prompts("a ring", "prompts.txt", 1, None)


def test_data_without_captions_needs_a_prompt():
    with pytest.raises(UserError, match="no captions.*prompt="):
        read_prompts(None, None, 4, None)


@pytest.mark.parametrize("prompt", ["", "  \t"])
def test_empty_prompt_is_refused(prompt):
    with pytest.raises(UserError, match="prompt is empty"):
        read_prompts(prompt, None, 4, None)


@pytest.mark.parametrize("content, message", [(None, "cannot read"), (b"", "no sentence"), (b"# only a comment\n\n", "no sentence"),
                                              (b"a caf\xe9\n", "not UTF-8")])
def test_prompts_file_that_gives_no_sentence_is_refused_by_name(tmp_path, content, message):
    file = tmp_path / "prompts.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read_prompts(None, str(file), 4, None)
    assert str(file) in str(error.value)


def test_folder_in_place_of_a_prompts_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="cannot read"):
        read_prompts(None, str(tmp_path), 4, None)


@pytest.mark.parametrize("num_samples, each, knob", [(0, None, "num_samples"), (1.5, None, "num_samples"), (4, 0, "samples_per_prompt")])
def test_impossible_counts_are_refused_by_name(num_samples, each, knob):
    with pytest.raises(UserError, match=f"^{knob} "):
        read_prompts("a ring", None, num_samples, each)
