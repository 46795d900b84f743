"""Keys follow what a step computes with: its inputs, its configuration, its code, and nothing else."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from models.registry import make_config
from tasks.split.config import SplitConfig
from tasks.store import keys
from tasks.store.keys import code_hash, make_hash, make_key
from tasks.store.refs import DatasetRef, SnapshotRef, TrainedRef

REF = DatasetRef("lake/a.parquet", 3, "f")


@dataclass(frozen=True)
class Held:
    config: SplitConfig
    refs: tuple[DatasetRef, ...]
    cached: bool = field(default=False, compare=False)


def test_equal_values_have_equal_hashes() -> None:
    assert re.fullmatch("[0-9a-f]{32}", make_hash(1))
    pairs: list[tuple[object, object]] = [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"x": {"a": 1, "b": 2}}, {"x": {"b": 2, "a": 1}}),
        ([1, 2], (1, 2)),
        (SplitConfig(), SplitConfig(test_share=0.1)),
        (TrainedRef("k", "p", "w", cached=True), TrainedRef("k", "p", "w")),
        (Held(SplitConfig(), (REF,), cached=True), Held(SplitConfig(), (REF,))),
        (Path("a"), "a"),
    ]
    for one, other in pairs:
        assert make_hash(one) == make_hash(other), one


def test_other_values_have_other_hashes() -> None:
    values: list[object] = [
        *(None, 0, 1, 1.5, "1", "", True, [], [1], [[1]], {}, {"a": 1}, {"a": None}, {"b": 1}),
        *(SplitConfig(), SplitConfig(seed=1), SplitConfig(protocol="random"), {"config": SplitConfig(seed=1)}),
        *(REF, DatasetRef("lake/a.parquet", 4, "f"), DatasetRef("lake/a.parquet", 3, "g"), (REF,), (REF, REF)),
        SnapshotRef("d", "h", "p", (REF,)),
        SnapshotRef("d", "h", "p", (REF,), (REF,)),
        *(Held(SplitConfig(), (REF,)), Held(SplitConfig(seed=1), (REF,)), Held(SplitConfig(), (REF, REF))),
        *(make_config("bpr_mf"), make_config("bpr_mf", dim=3), make_config("popularity")),
    ]
    assert len({make_hash(value) for value in values}) == len(values)
    assert make_hash(1, 2) != make_hash(2, 1)
    assert make_hash([1], 2) != make_hash(1, [2])


def test_a_key_names_its_step() -> None:
    assert make_key("tasks.split.task", 1) != make_key("tasks.sample.task", 1)


# code

SOURCES = {
    "__init__.py": "",
    "step.py": "import json\nfrom ours.direct import work\nfrom .below import relative\n",
    "direct.py": "def work():\n    from ours.lazy import late\n",
    "lazy.py": "from __future__ import annotations\n",
    "beside.py": "import ours.step\n",
    "below/__init__.py": "",
    "below/relative.py": "from .. import up\nfrom . import near\nfrom ..far.deep import name\nimport ours.circle\n",
    "below/near.py": "",
    "below/unused.py": "",
    "up.py": "",
    "far/deep.py": "name = 1\n",
    "circle.py": "import ours.step\n",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], str]]:
    """A package of ours on disk; gives the hash of its step as it is now."""
    for name, text in SOURCES.items():
        file = tmp_path / "ours" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(keys, "OUR_PACKAGES", ("ours",))

    def now() -> str:
        keys.code_hash.cache_clear()
        keys._source.cache_clear()
        return code_hash("ours.step")

    yield now
    keys.code_hash.cache_clear()
    keys._source.cache_clear()


@pytest.mark.parametrize("name", sorted(set(SOURCES) - {"beside.py", "below/unused.py", "__init__.py"}))
def test_a_change_anywhere_below_a_step_counts(name: str, package: Callable[[], str], tmp_path: Path) -> None:
    before = package()
    assert package() == before
    file = tmp_path / "ours" / name
    file.write_text(file.read_text() + "# another\n")
    assert package() != before


@pytest.mark.parametrize("name", ["beside.py", "below/unused.py"])
def test_a_change_beside_it_does_not(name: str, package: Callable[[], str], tmp_path: Path) -> None:
    before = package()
    (tmp_path / "ours" / name).write_text("raise SystemExit\n")
    assert package() == before


def test_every_step_follows_what_decides_its_result() -> None:
    """Files whose change must make a step run again."""
    below = {
        "tasks.split.task": {"tasks.split.audit.check", "tasks.split.temporal", "tasks.ids", "tasks.pairs_file"},
        "tasks.train.task": {"tasks.train.logic", "tasks.judging", "models.ranking.top_k", "models.bundle"},
        "tasks.evaluate.task": {"models.ranking.metrics", "models.ranking.bootstrap", "models.serving", "models.ids"},
        "models.bpr_mf.model": {"models.bpr_mf.kernel", "models.fitting.trainer", "models.fitting.samplers"},
    }
    for step, wanted in below.items():
        found: dict[str, Path] = {}
        keys._collect(step, found)
        assert wanted <= found.keys(), step


def test_hashing_code_imports_nothing() -> None:
    code = (
        "import sys\nfrom tasks.store.keys import code_hash\nbefore = set(sys.modules)\n"
        "assert len(code_hash('flows.retrain')) == 64\n"
        "new = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "assert not new & {'torch', 'prefect', 'mlflow', 'numba', 'pandas', 'flows', 'models'}, new\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
