"""Writing at the edge of what a file system allows."""

from pathlib import Path

from graphrev.io.writing import write_file


def test_target_with_the_longest_name_is_written(tmp_path: Path) -> None:
    target = tmp_path / ("n" * 252 + ".pb")
    write_file(target, b"x")
    assert target.read_bytes() == b"x"
    assert [path.name for path in tmp_path.iterdir()] == [target.name]
