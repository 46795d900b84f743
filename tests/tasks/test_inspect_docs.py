"""What docs/your-data.md shows of the five commonest shapes is what `encore inspect` says of them."""

import re
from pathlib import Path
from typing import Any

import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
import yaml

from flows.config import PipelineConfig
from flows.inspect import inspect
from flows.options import read_options

PAGE = (Path(__file__).parents[2] / "docs" / "your-data.md").read_text(encoding="utf-8")
SECTIONS = re.split(r"^### ", PAGE.split("## Night after night")[0], flags=re.MULTILINE)[1:]


def blocks(section: str) -> list[str]:
    """The text of each fenced block: the sample, what is said, the configuration."""
    return re.findall(r"^```\w*\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)


def stored(section: str, folder: Path) -> Path:
    """The sample, in the file or folder that the command names."""
    sample = blocks(section)[0]
    path = folder / str(re.findall(r"`encore inspect (\S+) --write=shop`", section)[0]).rstrip("/")
    if path.suffix == ".parquet":
        (folder / "as.csv").write_text(sample)
        pq.write_table(pacsv.read_csv(folder / "as.csv"), path)
    elif path.suffix:
        path.write_text(sample)
    else:
        path.mkdir()
        (path / "2025-12-31.tsv").write_text(sample)
        (path / "2026-01-01.tsv").write_text(sample.replace("2025-12-31", "2026-01-01"))
    return path


def said(section: str) -> dict[str, tuple[str, str]]:
    """Of the table of columns: field to column and how sure that is."""
    table = blocks(section)[1].split("is         column", 1)[1]
    rows = re.findall(r"^(user_id|item_id|rating|timestamp|event) +(\S+) +(by name|likely|guess)", table, re.MULTILINE)
    return {field: (column, sure) for field, column, sure in rows}


def test_there_are_five() -> None:
    assert len(SECTIONS) == 5


@pytest.mark.parametrize("section", SECTIONS, ids=[section.split("\n")[0] for section in SECTIONS])
def test_the_sample_is_mapped_as_the_page_says(section: str, tmp_path: Path) -> None:
    path = stored(section, tmp_path)
    options = read_options({"path": str(path), "data_dir": str(tmp_path / "data")}, None, "inspect")
    result = inspect(options.config, options.settings)
    found: dict[str, Any] = {one["field"]: (one["column"], one["sure"]) for one in result["mapping"]}
    assert said(section) == found
    unused = [
        column["name"] for column in result["columns"] if column["name"] not in {one for one, _ in found.values()}
    ]
    assert re.findall(r"^not used: (.*)$", blocks(section)[1], re.MULTILINE) == ([", ".join(unused)] if unused else [])

    shown = yaml.safe_load(blocks(section)[2])
    PipelineConfig.model_validate(shown)
    assert shown["ingest"].pop("interactions") == path.name
    assert shown["ingest"] == {
        name: one for name, one in result["settings"]["ingest"].items() if name != "interactions"
    }


def test_every_option_that_is_named_exists() -> None:
    from flows.commands import COMMANDS
    from flows.options import options_of

    known = {name for command in ("retrain", *COMMANDS) for name, _, _ in options_of(command)}
    named = set(re.findall(r"--([a-z_]+(?:\.[a-z_]+)*)", PAGE)) | set(re.findall(r"`((?:ingest|checks)\.\w+)`", PAGE))
    assert named - {"config"} <= known
    assert len(named) > 8
