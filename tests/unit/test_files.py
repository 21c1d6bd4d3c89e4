"""A file or a folder is written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from lakewright.system.files import put_in_place, whole, write_whole


def test_a_file_changes_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    write_whole(path, "1")
    with whole(path) as draft:
        draft.write_text("2")
        assert path.read_text() == "1" and draft.parent == path.parent and draft.suffix == ".partial"
    assert path.read_text() == "2" and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("failure", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("folder", [False, True])
def test_a_failure_leaves_what_was_there(tmp_path: Path, failure: type[BaseException], folder: bool) -> None:
    path = tmp_path / "a"
    path.write_text("1")

    def write(draft: Path) -> None:
        if folder:
            draft.mkdir()
        (draft / "inner" if folder else draft).write_text("half")
        raise failure

    with pytest.raises(failure), whole(path) as draft:
        write(draft)
    assert path.read_text() == "1" and list(tmp_path.iterdir()) == [path]


def test_a_draft_lies_where_the_caller_wants_it(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    with whole(tmp_path / "models" / "a", tmp_path / "work" / "half") as draft:
        draft.mkdir()
        (draft / "file").write_text("1")
    assert (tmp_path / "models" / "a" / "file").read_text() == "1"
    assert list((tmp_path / "work").iterdir()) == []


def test_a_folder_that_another_process_put_there_first_stays(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "by").write_text(name)
        put_in_place(tmp_path / name, tmp_path / "models" / "a")
    assert (tmp_path / "models" / "a" / "by").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["models"]


def test_a_file_in_the_place_of_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a file")
    (tmp_path / "draft").mkdir()
    with pytest.raises(NotADirectoryError):
        put_in_place(tmp_path / "draft", tmp_path / "a")
