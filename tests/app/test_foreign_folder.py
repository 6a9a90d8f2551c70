"""A folder of somebody's files does not become that of a run."""


def test_a_folder_of_other_files_is_refused_and_left_as_it_was(refusal, tiny, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "holiday.png").write_text("a picture")
    for script, words in (("sample.py", tiny), ("train.py", tiny[-1:])):
        message = refusal(script, *words)
        assert "run holds files that are of no run of sampling or training: holiday.png" in message
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["holiday.png"]


def test_an_empty_folder_and_that_of_a_run_are_taken(run, tiny, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    run("sample.py", *tiny)
    run("sample.py", *tiny)
    assert "drawn already" in capsys.readouterr().out
