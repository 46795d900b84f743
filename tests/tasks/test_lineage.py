"""What a night keeps of itself: enough to make it once more, nothing of the machine's owner."""

import hashlib
import json
import re
import socket
import subprocess
from pathlib import Path
from typing import Any

import numba
import pytest
import torch
from threadpoolctl import threadpool_limits

from flows.config import PipelineConfig
from models.registry import MODELS, make_config
from tasks.errors import ConfigError
from tasks.record.environment import environment, packages, revision
from tasks.record.lineage import code_of, code_tags, files_read, night_files
from tasks.store.keys import code_hash
from tasks.store.refs import DatasetRef, SnapshotRef

SNAPSHOT = SnapshotRef("tiny", "s", "lake/tiny/snapshots/s", (DatasetRef("lake/tiny/p/interactions.parquet", 3, "f"),))


def described(**sections: Any) -> dict[str, Any]:
    return PipelineConfig.model_validate(sections).resolved().model_dump(mode="json")


@pytest.mark.parametrize("name", MODELS)
def test_a_configuration_comes_back_from_its_file_as_it_was(name: str) -> None:
    config = PipelineConfig.model_validate({"model": {"name": name}}).resolved()
    text = json.dumps(night_files(config.model_dump(mode="json"), SNAPSHOT, {})["config"])
    back = PipelineConfig.model_validate(json.loads(text))
    assert back == config
    assert back.resolved() == config


def test_what_else_was_read_is_kept_with_its_content(tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("user_id,item_id\n1,2\n")
    sha256 = hashlib.sha256(b"user_id,item_id\n1,2\n").hexdigest()
    config = described(split={"protocol": "given", "test": str(tmp_path / "test.csv")})
    assert files_read(config) == {"split.test": {"path": str(tmp_path / "test.csv"), "sha256": sha256}}
    assert files_read(described()) == {}
    with pytest.raises(ConfigError, match=r"split\.test: no such file"):
        files_read(described(split={"protocol": "given", "test": "nowhere.csv"}))


def test_a_result_is_kept_without_the_places_of_this_machine() -> None:
    result = {
        "metrics": {"test/ndcg_at_10": 0.1 + 0.2},
        "data_dir": "/home/me/data",
        "tracking_uri": "sqlite:////home/me",
    }
    kept = json.loads(json.dumps(night_files(described(), SNAPSHOT, result)["result"]))
    assert kept == {"metrics": {"test/ndcg_at_10": 0.30000000000000004}}


def test_the_code_is_that_of_the_steps_and_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    bpr, blend = code_of(make_config("bpr_mf")), code_of(make_config("blend"))
    assert bpr == code_of(make_config("bpr_mf", dim=8))
    assert bpr != blend
    for changed in ("tasks.train.task", "tasks.evaluate.task", "tasks.sample.windows", "models.bpr_mf.model"):
        with monkeypatch.context() as patch:
            hashes = {changed: "another"}
            patch.setattr(
                "tasks.record.lineage.code_hash", lambda name, hashes=hashes: hashes.get(name) or code_hash(name)
            )
            assert code_of(make_config("bpr_mf")) != bpr


def test_a_version_is_tagged_with_its_revision_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_config("bpr_mf")
    monkeypatch.setattr("tasks.record.lineage.revision", lambda: "abc")
    assert code_tags(config) == {"code": code_of(config), "revision": "abc"}
    monkeypatch.setattr("tasks.record.lineage.revision", lambda: None)
    assert code_tags(config) == {"code": code_of(config)}


def test_the_environment_is_plain_and_names_nobody() -> None:
    found = environment()
    text = json.dumps(found)
    assert json.loads(text) == found
    for private in (socket.gethostname(), str(Path.home()), str(Path(__file__).parents[2])):
        assert not re.search(rf"(?<!\w){re.escape(private)}(?!\w)", text)
    assert {"python", "platform", "cpu", "cores", "gpu", "threads", "builds", "packages", "revision"} == set(found)
    assert found["threads"]["torch"] > 0
    assert {"torch", "numpy", "numba", "llvmlite", "mlflow"} <= set(packages())
    assert "pytest" not in packages()  # what computes, not what tests


def test_threads_are_those_in_use() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        with threadpool_limits(limits=1, user_api="blas"):
            found = environment()["threads"]
    finally:
        torch.set_num_threads(before)
    assert found == {"torch": 3, "numba": numba.get_num_threads(), "blas": 1}


def test_the_revision_is_that_of_our_code_and_tells_changes(tmp_path: Path) -> None:
    code = tmp_path / "tasks" / "record" / "environment.py"
    code.parent.mkdir(parents=True)
    code.write_text("# ours\n")

    def git(*words: str) -> str:
        who = ("-c", "user.name=n", "-c", "user.email=e@x", "-c", "commit.gpgsign=false")
        done = subprocess.run(["git", *who, *words], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    assert revision(code) is None
    git("init", "-q")
    (tmp_path / "other.txt").write_text("x")
    git("add", "other.txt")
    git("commit", "-qm", "theirs")
    assert revision(code) is None  # somebody's work tree, in which our code only happens to lie
    git("add", ".")
    git("commit", "-qm", "ours")
    assert revision(code) == git("rev-parse", "HEAD")
    (tmp_path / "other.txt").write_text("y")
    assert revision(code) == git("rev-parse", "HEAD")  # that is no code
    code.write_text("# changed\n")
    assert revision(code) == f"{git('rev-parse', 'HEAD')}, with changes"
