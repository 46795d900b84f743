"""The result file: refused at once where it cannot be one, not after the night."""

from pathlib import Path
from typing import Any

import pytest

from flows.command import run_command


@pytest.mark.parametrize("word", ["--json=", "--json", "--config=", "--json=."])
def test_an_option_that_names_no_file_is_refused_before_anything_runs(
    word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    def never(options: Any, started: float) -> dict[str, Any]:
        raise AssertionError("it ran")

    assert run_command("retrain", never, [word, "--data_dir=data"]) == 2
    assert word.rstrip("=.") in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
