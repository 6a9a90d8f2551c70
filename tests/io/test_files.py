"""Files that are there in full or not at all."""

from sdg.io.files import write_whole


def test_what_a_killed_process_was_writing_is_removed_by_the_next_one(tmp_path):
    for name in ("m.json", "m.json.123.part", "m.json.old", "other.json.123.part"):
        (tmp_path / name).write_text("torn")
    write_whole(tmp_path / "m.json", "whole")
    assert (tmp_path / "m.json").read_text() == "whole"
    left = {file.name for file in tmp_path.iterdir()}
    assert left == {"m.json", "m.json.old", "other.json.123.part"}
