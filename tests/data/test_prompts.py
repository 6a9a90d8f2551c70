"""What a run is asked for: sentences, references, weights, tables."""

import pytest

from sdg.data.conditions import read_conditions
from sdg.data.prompts import escape_prompt, parse_weighted_prompt, primary_prompt, read_table
from sdg.errors import UserError


def conditions(*sentences):
    return [{"text": sentence} for sentence in sentences]


def read(prompts=None, table=None, num_samples=None, each=None, held_out=None):
    return read_conditions({"text": prompts}, table, num_samples, each, held_out)


# --- parts and weights --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "condition, parts",
    [
        ("a red heart", (("a red heart", 1.0),)),
        ("a red heart | a ring:-0.5", (("a red heart", 1.0), ("a ring", -0.5))),
        (" a.png:2|b.png ", (("a.png", 2.0), ("b.png", 1.0))),
        ("C:/pictures/a.png", (("C:/pictures/a.png", 1.0),)),
        ("portrait: a man", (("portrait: a man", 1.0),)),
        ("a clock at 12:30", (("a clock at 12:30", 1.0),)),
        ("a film in 16:9:2", (("a film in 16:9", 2.0),)),
        ("a woman of 40:2.0", (("a woman of 40", 2.0),)),
        ("the years 1990:-1", (("the years 1990", -1.0),)),
        ("held-out 3:2", (("held-out 3", 2.0),)),
        ("a sign \\| a wall:2 | a ring", (("a sign | a wall", 2.0), ("a ring", 1.0))),
        ("a" * 5000, (("a" * 5000, 1.0),)),
    ],
)
def test_parts_stand_between_bars_and_weights_behind_colons(condition, parts):
    assert parse_weighted_prompt(condition) == parts


@pytest.mark.parametrize(
    "condition, said",
    [
        ("a ring:banana", "weight 'banana'"),
        ("a ring:nan", "weight 'nan'"),
        ("a ring:1_0", "weight '1_0'"),
        ("a ring | ", "empty part"),
        ("|", "empty part"),
        (":2", "empty part"),
        ("a film in 16:9", "write 'a film in 16:9.0' for the weight, or 'a film in 16:9:1' for"),
        ("a ring | a woman of 40:2", "'a woman of 40:2' ends in a weight or in a ratio"),
    ],
)
def test_a_part_without_words_or_a_weight_that_is_no_number_is_refused(condition, said):
    with pytest.raises(UserError, match=said):
        parse_weighted_prompt(condition)


@pytest.mark.parametrize(
    "sentence",
    [
        "a red heart",
        "Matthew 5:3",
        "Star Wars:Episode 4",
        "a clock at 12:30",
        "cat | dog",
        "|",
        "ratio 3:banana",
        "a ring:-0.5",
        "a ring:1.0",
    ],
)
def test_a_sentence_of_the_data_is_taken_as_it_stands(sentence):
    assert parse_weighted_prompt(escape_prompt(sentence)) == ((sentence, 1.0),)


def test_the_foremost_part_has_the_most_weight():
    assert primary_prompt("a ring:0.5 | a star | a heart:-2") == "a star"


# --- conditions ---------------------------------------------------------------------------------


def test_single_prompt_serves_all_samples_unless_told_otherwise():
    assert read(["a ring"], num_samples=8) == (conditions("a ring"), 8)
    assert read(["a ring"]) == (conditions("a ring"), 16)
    assert read(["a ring"], num_samples=8, each=3) == (conditions("a ring"), 3)


def test_several_prompts_get_one_sample_each_or_what_makes_the_number_asked_for():
    assert read(["a ring", "a star"]) == (conditions("a ring", "a star"), 1)
    assert read(["a ring", "a star"], num_samples=8) == (conditions("a ring", "a star"), 4)
    assert read(["a ring", "a star"], num_samples=7) == (conditions("a ring", "a star"), 4)
    assert read(["a ring", "a star"], each=4) == (conditions("a ring", "a star"), 4)


def test_prompts_file_gives_a_sentence_a_line_without_comments_and_blanks(tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text(
        "# what to draw\na red ring\n\n  a blue star  \n#a green heart\na naïve ring\n",
        encoding="utf-8",
    )
    assert read(table=str(file)) == (conditions("a red ring", "a blue star", "a naïve ring"), 1)
    assert read(table=str(file), each=4)[1] == 4


def test_byte_order_mark_and_indented_comments_are_no_prompts(tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_bytes("\ufeffa red ring\n  # a comment\n".encode())
    assert read(table=str(file))[0] == conditions("a red ring")


def test_a_table_may_name_every_similarity(tmp_path):
    file = tmp_path / "requests.csv"
    file.write_text('prompt,style\n"a red ring, striped",a.png\na star,b.png | c.png:-1\n')
    found, each = read_conditions({"text": None, "style": None}, str(file))
    assert (
        found
        == [
            {"text": "a red ring, striped", "style": "a.png"},
            {"text": "a star", "style": "b.png | c.png:-1"},
        ]
        and each == 1
    )


def test_one_wish_joins_each_of_several():
    found, _ = read_conditions({"text": ["a ring"], "style": ["a.png", "b.png"]}, None)
    assert found == [{"text": "a ring", "style": "a.png"}, {"text": "a ring", "style": "b.png"}]


def test_held_out_data_serves_what_nobody_said():
    held_out = {"text": lambda i: f"caption {i}", "style": lambda i: f"image {i}"}
    found, each = read(num_samples=10, each=4, held_out=held_out)
    assert (found, each) == (
        conditions("caption 0", "caption 1", "caption 2"),
        4,
    )  # three of four are the fewest that make ten
    assert len(read(held_out=held_out)[0]) == 16
    assert read(num_samples=5, held_out=held_out) == (
        conditions(*(f"caption {i}" for i in range(5))),
        1,
    )
    # A sentence and a style that nobody said come from different images.
    found, _ = read_conditions({"text": None, "style": None}, None, 2, None, held_out)
    assert found == [
        {"text": "caption 0", "style": "image 2"},
        {"text": "caption 1", "style": "image 3"},
    ]


# --- what is refused ----------------------------------------------------------------------------


def test_unequal_numbers_are_refused():
    with pytest.raises(UserError, match="2 of text, 3 of style; give one of each, or equally many"):
        read_conditions({"text": ["a", "b"], "style": ["x", "y", "z"]}, None)


def test_prompt_and_prompts_together_are_refused(tmp_path):
    (tmp_path / "prompts.txt").write_text("a star\n")
    with pytest.raises(UserError, match="text is given twice: on the command line and in"):
        read(["a ring"], str(tmp_path / "prompts.txt"))


def test_a_column_that_no_similarity_reads_is_refused(tmp_path):
    (tmp_path / "requests.csv").write_text("prompt,stile\na star,a.png\n")
    with pytest.raises(
        UserError, match=r"column 'stile', .*did you mean 'style'\? .*similarity=\[text,style\]"
    ):
        read_conditions({"text": None, "style": None}, str(tmp_path / "requests.csv"))


@pytest.mark.parametrize(
    "kind, option, how",
    [
        ("text", "prompt", "no held-out captions.*with prompt="),
        ("mine", "prompt", "no held-out captions.*with similarity.mine.prompt="),
        ("style", "reference", "no held-out images.*similarity.style.reference=FILE"),
        ("tone", "tone", "no held-out conditions.*similarity.tone.tone="),
        ("class", "name", "no held-out classes.*similarity.class.name=CLASS"),
    ],
)
def test_data_that_offers_nothing_says_which_option_is_missing(kind, option, how):
    with pytest.raises(UserError, match=how):
        read_conditions({kind: None}, None, options={kind: option})


@pytest.mark.parametrize("prompt", ["", "  \t"])
def test_empty_prompt_is_refused(prompt):
    with pytest.raises(UserError, match="prompt is empty"):
        read([prompt])


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "cannot read"),
        (b"", "no sentence"),
        (b"# only a comment\n\n", "no sentence"),
        (b"a caf\xe9\n", "not UTF-8"),
    ],
)
def test_prompts_file_that_gives_no_sentence_is_refused_by_name(tmp_path, content, message):
    file = tmp_path / "prompts.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read(table=str(file))
    assert str(file) in str(error.value)


def test_folder_in_place_of_a_prompts_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="cannot read"):
        read(table=str(tmp_path))


@pytest.mark.parametrize(
    "num_samples, each, knob",
    [(0, None, "num_samples"), (1.5, None, "num_samples"), (4, 0, "samples_per_prompt")],
)
def test_impossible_counts_are_refused_by_name(num_samples, each, knob):
    with pytest.raises(UserError, match=f"^{knob} "):
        read(["a ring"], num_samples=num_samples, each=each)


@pytest.mark.parametrize("suffix", ["txt", "csv"])
def test_text_of_two_bytes_a_sign_is_refused(tmp_path, suffix):
    file = tmp_path / f"prompts.{suffix}"
    file.write_bytes("prompt\na star\n".encode("utf-16-le"))
    with pytest.raises(UserError, match="holds NUL bytes, so it is no UTF-8 text"):
        read_table(file)
