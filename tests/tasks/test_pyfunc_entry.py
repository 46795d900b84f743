"""The model artefact's entry: whose code it runs."""

import shutil
import sys
import types
from pathlib import Path

import pytest

import models
from tasks.tracking.pyfunc_entry import code_package, feature_columns, private_name

OURS = Path(next(iter(models.__path__)))


def test_the_installed_code_is_used_where_it_is_the_same() -> None:
    assert code_package(private_name(OURS)) == "models"


def test_other_code_travels_with_the_model(tmp_path: Path) -> None:
    copy = tmp_path / "models"
    shutil.copytree(OURS, copy, ignore=shutil.ignore_patterns("__pycache__"))
    assert private_name(copy) == private_name(OURS)
    (copy / "ids.py").write_text((copy / "ids.py").read_text() + "# one comment more\n")
    changed = private_name(copy)
    assert changed != private_name(OURS)
    assert code_package(changed) == changed


def test_a_strangers_models_is_never_taken_for_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    name = private_name(OURS)
    monkeypatch.setitem(sys.modules, "models", types.ModuleType("models"))
    assert code_package(name) == name


def test_a_feature_never_stands_in_for_another_column() -> None:
    assert feature_columns(("age", "history", "town", "user_id")) == ["age", "town"]
