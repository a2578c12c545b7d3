"""config.py through the command: what the check calls good starts, and what it refuses does not."""

from pathlib import Path

import pytest

from netfilter_exporter import cli

pytestmark = pytest.mark.usefixtures("logging_kept")

FIXTURES = Path(__file__).parents[1] / "fixtures" / "config"


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("good-*.yml")), ids=lambda path: path.stem)
def test_what_is_right_starts_and_passes_the_check(path, start, capsys):
    """The check calls the file good, and the exporter serves with it."""
    flag = f"--config.file={path}"
    assert cli.main([flag, "--config.check"]) == 0
    assert start(flag) == 0
    said = capsys.readouterr().err
    assert "listening on 127.0.0.1:" in said
    assert "level=error" not in said


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("bad-*.yml")), ids=lambda path: path.stem)
def test_what_is_wrong_neither_starts_nor_passes_the_check(path, start, capsys, tmp_path):
    """Both say the same, with its place; nothing listens, and no text file is written."""
    flag = f"--config.file={path}"
    said = set()
    for run in (
        start,
        lambda flag: cli.main([flag, "--config.check"]),
        lambda flag: cli.main([flag, f"--textfile.directory={tmp_path}"]),
    ):
        assert run(flag) == 1
        (line,) = capsys.readouterr().err.splitlines()
        said.add(line.split(" ", 1)[1])
    (one,) = said
    assert one.startswith(f'level=error msg="{path}:')
    assert list(tmp_path.iterdir()) == []
