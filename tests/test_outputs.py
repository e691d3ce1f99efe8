"""Files of reports: what is refused before the work, and what is written after it."""

import tempfile

import pytest

from hazegen import outputs
from hazegen.errors import UsageError


def test_check_creates_nothing(tmp_path):
    (tmp_path / "old.csv").write_text("old")
    outputs.check([None, tmp_path / "a.json", tmp_path / "new" / "deep" / "b.json", tmp_path / "old.csv"])
    assert [path.name for path in tmp_path.rglob("*")] == ["old.csv"]
    assert (tmp_path / "old.csv").read_text() == "old"


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("folder", "a folder"),
        ("taken/a.json", "NotADirectoryError: Not a directory"),
        ("taken/deep/a.json", "NotADirectoryError: Not a directory"),
    ],
)
def test_file_that_cannot_be_written_is_refused(tmp_path, name, problem):
    (tmp_path / "folder").mkdir()
    (tmp_path / "taken").touch()
    with pytest.raises(UsageError, match=rf"{name}' cannot be written. Expected a file in .*, received {problem}. "):
        outputs.check([tmp_path / name])


def test_folder_that_takes_no_file_is_refused(tmp_path, monkeypatch):
    def refuse(dir):
        raise PermissionError(13, f"Permission denied in {dir}")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(UsageError, match=f"received PermissionError: Permission denied in {tmp_path}. Choose another"):
        outputs.check([tmp_path / "new" / "a.json"])


def test_one_file_for_two_outputs_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"is named twice. Expected a file of its own for each output"):
        outputs.check([tmp_path / "a", None, tmp_path / "a"])


def test_text_is_written_with_its_folders_and_names_as_they_are(tmp_path):
    path = tmp_path / "new" / "deep" / "a.csv"
    for text in ("first\n", "\udcff\nä\n"):
        outputs.write(path, text)
        assert path.read_bytes() == text.encode("utf-8", "surrogateescape")
    assert [one.name for one in path.parent.iterdir()] == ["a.csv"]
