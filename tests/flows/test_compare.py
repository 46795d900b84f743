"""Several models on one snapshot: what is refused, what the leaderboard says, and one real comparison.

S seeds, U test users
"""

import csv
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from rich.console import Console

from flows.command import run_command, was_stopped
from flows.compare import Comparison, ModelsFailed, compare
from flows.config import CompareConfig, PipelineConfig, Settings
from flows.frontier import draw_frontier, overlap, place_names
from flows.leaderboard import as_csv, as_markdown, p_text, row_note, show
from flows.options import fields, options_of, parse, read_options
from flows.standings import Entry, Fit, frontier, rank, same_rows, standard_error
from models.base import FitSession
from models.bundle import weights_hash
from models.fitting.config import TrainerConfig
from models.registry import MODELS, build, depends_on_seed, make_config
from tasks.errors import Busy, ConfigError, RunFailed
from tasks.evaluate.config import EvaluateConfig
from tasks.store.lease import lease
from tasks.store.store import Store
from tests.factories import random_log
from tests.flows.test_retrain import Place, Ran

# what is told


def told(*words: str, file: Path | None = None) -> CompareConfig:
    config = read_options(parse(words), str(file) if file else None, "compare").config
    assert isinstance(config, CompareConfig)
    return config


def sections(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "compare.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_names_are_models_with_their_defaults_and_the_seed_is_the_trainers() -> None:
    config = told("--models=ease, bpr_mf", "--trainer.seed=4")
    assert config.models == (make_config("ease"), make_config("bpr_mf"))
    assert config.seeds == (4,)
    assert told("--models=ease", "--seeds=2,0").seeds == (2, 0)
    assert (config.experiment, config.split.protocol) == ("movielens-100k", "leave_last_out")
    assert config.resolved() == config
    assert CompareConfig.model_validate(config.model_dump(mode="json")) == config


def test_each_model_is_computed_as_a_night_of_its_own_would() -> None:
    words = ["--trainer.epochs=7", "--split.test_share=.2", "--evaluate.cutoffs=5", "--sample.history_length=9"]
    config = told("--models=bpr_mf,lightgcn", "--seeds=3,8", *words, "--checks.min_rows=5", "--experiment=mine")
    for model in config.models:
        night = read_options(
            parse([*words, f"--model.name={model.name}", "--trainer.seed=8", "--checks.min_rows=5"]), None
        ).config
        assert config.night(model, 8) == night.model_copy(update={"experiment": "mine"})
    own = [config.night(model, 3).trainer.optimizer for model in config.models]
    assert own == [model.complete(TrainerConfig()).optimizer for model in config.models]
    assert own[0] != own[1]


def test_a_file_gives_models_fields_of_their_own_and_labels_say_what_differs(tmp_path: Path) -> None:
    text = "models: [ease, {name: ials, dim: 9, l2: .1}, ials, {name: bpr_mf, dim: 8}, {name: bpr_mf, dim: 8, l2: 1}]"
    config = told(file=sections(tmp_path, text))
    labels = [label for label, _ in config.labelled]
    assert labels == ["ease", "ials (dim=9, l2=0.1)", "ials (dim=64)", "bpr_mf (l2=0.0075)", "bpr_mf (l2=1.0)"]
    assert [model for _, model in config.labelled] == list(config.models)
    assert config.models[3] == make_config("bpr_mf", dim=8)
    assert [model.name for model in told("--models=markov", file=sections(tmp_path, text)).models] == ["markov"]


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        ([], "models is missing", "--models=NAME,NAME, of: blend, bpr_mf"),
        (["--models="], "models: Tuple should have at least 1 item", "models: [ease"),
        (["--models=ease,bprmf"], "unknown model 'bprmf'; known: blend, bpr_mf", "did you mean --models=bpr_mf?"),
        (["--models=ease,ials,ease"], "models: ease is there twice", "see encore compare --help"),
        (["--models=ease", "--seeds=1,2,1"], "seeds: 1 is there twice", "see encore compare --help"),
        (["--models=ease", "--seeds=-1"], "seeds.0: ", "see encore compare --help"),
        (["--models=ease", "--seeds=1,2", "--trainer.seed=3"], "trainer.seed of 3 is not among", "compare"),
        (["--models=ease", "--model.name=ease"], "takes no options of one model", "models: [ease, {name: ials"),
        (["--models=bpr_mf", "--model.dim=3"], "takes no options of one model", "models: [ease, {name: ials"),
        (["--models=ease", "--gate.margin=1"], "does not read gate: it promotes and publishes nothing", "leave"),
        (["--models=ease", "--recommend.k=5"], "does not read recommend", "leave it out"),
        (["--models=ease", "--registered_model=x"], "does not read registered_model", "leave it out"),
        (["--models=ease", "--trainer.epoch=3"], "unknown option trainer.epoch", "did you mean trainer.epochs?"),
        (["--models=ease", "--model=ease"], "takes no options of one model", "models: ["),
        (["--models=ease", "--models.dim=3"], "models is not a section", "see encore compare --help"),
        (["--models=bpr_mf,popularity", "--sample.negatives=3"], "popularity draws no negatives", "compare"),
        (["--models=bpr_mf,blend", "--sample.distribution=popularity"], "blend draws no negatives", "compare"),
        (["--models=bpr_mf,ease", "--trainer.checkpoint.path=e.safetensors"], "ease is fitted without epochs", ""),
        (["--models=bpr_mf,lightgcn", "--sample.distribution=in_batch"], "bpr_mf: ", ""),
        (["--models=bpr_mf", "--trainer.initial_weights=w.safetensors"], "use encore retrain", ""),
        (["--models=bpr_mf", "--trainer.initial_epoch=3"], "use encore retrain", ""),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(words: list[str], message: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        told(*words)
    assert caught.value.exit_status == 2
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert caught.value.hint
    assert "\n" not in str(caught.value)
    assert "more)" not in caught.value.message


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("models: [{name: bpr_mf, dmi: 3}]", "models.0.dmi: bpr_mf has no such field", "did you mean dim?"),
        ("models: [ease, {name: bpr_mf, dim: -3}]", "models.1.dim: ", "models: [ease"),
        ("models: [{name: ease}, ease]", "ease is there twice", ""),
        ("models: [{dim: 3}]", "models.0: ", "models: [ease"),
        ("models: {ease: {}}", "models: ", "models: [ease"),
        ("models: [3]", "models.0: ", "models: [ease"),
        ("models: [ease]\nmodel: {name: ease}", "takes no options of one model", "models: [ease"),
    ],
)
def test_wrong_sections_are_refused_in_one_line(text: str, message: str, hint: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        told(file=sections(tmp_path, text))
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert "\n" not in str(caught.value)


def test_a_refusal_that_is_about_no_model_names_none() -> None:
    with pytest.raises(ConfigError) as caught:
        told("--models=ease,bpr_mf", "--split.protocol=given")
    assert caught.value.message.startswith("split.protocol `given` needs split.test")


def test_help_begins_with_the_models_and_explains_every_field() -> None:
    shown = options_of("compare")
    assert [name for name, _, _ in shown[:2]] == ["models", "seeds"]
    assert all(name in shown[0][2] for name in MODELS)
    assert all(text for _, _, text in shown)
    names = {name for name, _, _ in shown}
    assert {"ingest.source", "trainer.epochs", "sample.negatives", "evaluate.level", "data_dir"} <= names
    assert not [name for name in names if name.split(".")[0] in ("model", "gate", "recommend", "registered_model")]
    assert options_of("retrain") == [*fields(Settings), *fields(PipelineConfig)]


def test_the_run_form_can_be_sent_back_unchanged() -> None:
    from prefect.utilities.schema_tools.validation import validate as check_schema

    schema = compare.parameters.model_dump()
    defaults = {name: field["default"] for name, field in schema["properties"].items()}
    check_schema(defaults, schema, raise_on_error=True)
    compare.validate_parameters(defaults)
    compare.validate_parameters({"config": {"models": ["ease", {"name": "ials", "dim": 9}]}})
    assert len(schema["definitions"]["CompareConfig"]["properties"]["models"]["items"]["anyOf"]) == len(MODELS)


# chance


def fitted_hash(name: str, seed: int, **own: Any) -> str:
    data = random_log(60, 40, 900, seed=5)
    config = make_config(name, **own)
    trainer = config.complete(TrainerConfig(seed=seed, epochs=1, device="cpu"))
    return weights_hash(build(name, config, data).fit(data, FitSession(trainer)).weights())


@pytest.mark.parametrize("name", sorted({*MODELS} - {"blend"}))
def test_exactly_the_models_that_no_seed_changes_are_fitted_once(name: str) -> None:
    if make_config(name).learns:  # the first vectors are random, at least
        assert depends_on_seed(make_config(name))
    else:
        assert (fitted_hash(name, 0) != fitted_hash(name, 1)) == depends_on_seed(make_config(name))


def test_a_blend_is_fitted_once_where_its_members_are() -> None:
    assert fitted_hash("blend", 0, members="ease,item_knn") == fitted_hash("blend", 1, members="ease,item_knn")
    assert not depends_on_seed(make_config("blend", members="ease,item_knn"))
    assert depends_on_seed(make_config("blend"))


# the leaderboard

EVALUATE = EvaluateConfig(resamples=500)


def fit(seed: int, ndcg_U: Any, hit_U: Any = (1.0, 0.0, 1.0, 0.0), tests: str = "t", **training: Any) -> Fit:
    record = {
        "config": {"name": "ease"},
        "valid": {"ndcg_at_10": 0.25},
        "seconds": 2.0,
        "samples_per_second": 100.0,
        "n_parameters": 1234,
        "best_epoch": 3,
        **training,
    }
    per_user = {"ndcg_at_10": np.array(ndcg_U, dtype=float), "hit_at_10": np.array(hit_U, dtype=float)}
    return Fit(seed, f"run{seed}", False, f"file{seed}", record, tests, per_user, peak_mb=900.0 + seed)


GOOD = Entry("good", make_config("ease"), (fit(0, [0.9, 0.1, 0.6, 0.4]),))
POOR = Entry(
    "poor",
    make_config("ials"),
    (
        fit(0, [0.9, 0.1, 0.2, 0.4], [0, 0, 1, 0], seconds=4.0, best_epoch=5, valid={"ndcg_at_10": 0.1}),
        fit(1, [0.5, -0.3, 0.6, 0.0], [1, 0, 1, 1], seconds=7.0, best_epoch=9, valid={"ndcg_at_10": 0.3}),
    ),
)
FAILED = Entry("burnt", make_config("bpr_mf"), (fit(0, [1, 1, 1, 1]),), "seed 1: training diverged: nan")
RESULT = {
    "dataset": "tiny", "test_users": 4, "protocol": "random", "level": 0.95, "seconds": {"total": 3.0},
    "tracking_uri": "http://mlflow", "run_id": "r1", "experiment": "e1", "warnings": ["12 users have no test row"],
}  # fmt: skip


def test_the_best_comes_first_and_what_failed_last() -> None:
    assert [row["model"] for row in rank([FAILED, POOR, GOOD], EVALUATE)] == ["good", "poor", "burnt"]


def test_means_over_seeds_and_their_error_by_hand() -> None:
    row = rank([POOR, GOOD], EVALUATE)[1]
    assert row["ndcg_at_10"] == pytest.approx((0.4 + 0.2) / 2)
    assert row["ndcg_at_10_se"] == pytest.approx(0.1)  # two means .2 apart: their deviation is .1 sqrt 2, over sqrt 2
    assert row["hit_at_10"] == pytest.approx((0.25 + 0.75) / 2)
    assert row["hit_at_10_se"] == pytest.approx(0.25)
    assert row["ndcg_at_10_difference"] == pytest.approx(0.3 - 0.5)
    assert row["hit_at_10_difference"] == pytest.approx(0.5 - 0.5)
    assert (row["valid_ndcg_at_10"], row["train_seconds"]) == (pytest.approx(0.2), 5.5)
    assert (row["samples_per_second"], row["parameters"], row["best_epoch"]) == (100.0, 1234, [5, 9])
    assert (row["seeds"], row["run_ids"], row["per_user"]) == ([0, 1], ["run0", "run1"], ["file0", "file1"])
    assert standard_error(np.array([1.0, 2.0, 6.0])) == pytest.approx(np.sqrt(7 / 3))


def test_the_best_and_a_single_seed_have_nothing_to_differ_by() -> None:
    row = rank([POOR, GOOD], EVALUATE)[0]
    assert row["ndcg_at_10"] == pytest.approx(0.5)
    assert row["ndcg_at_10_se"] is None
    assert not [name for name in row if name.endswith(("_difference", "_low", "_high"))]


def test_users_are_averaged_over_seeds_and_paired_with_the_best_before_they_are_drawn() -> None:
    """Over both seeds every user loses .2 to the best, while seeds and users differ far more: no draw changes it."""
    row = rank([POOR, GOOD], EVALUATE)[1]
    assert row["ndcg_at_10_low"] == pytest.approx(-0.2)
    assert row["ndcg_at_10_high"] == pytest.approx(-0.2)
    assert row["hit_at_10_low"] < -0.1 < 0.1 < row["hit_at_10_high"]


def test_the_level_of_the_interval_is_the_one_that_was_asked_for() -> None:
    rng = np.random.default_rng(0)
    better, worse = (Entry(name, make_config("ease"), (fit(0, rng.random(400) + at, np.zeros(400)),))
                     for name, at in (("a", 1.0), ("b", 0.0)))  # fmt: skip
    width = {
        level: (row := rank([better, worse], EvaluateConfig(level=level))[1])["ndcg_at_10_high"] - row["ndcg_at_10_low"]
        for level in (0.5, 0.95)
    }
    difference_U = worse.fits[0].per_user["ndcg_at_10"] - better.fits[0].per_user["ndcg_at_10"]
    assert width[0.95] == pytest.approx(2 * 1.96 * difference_U.std() / 20, rel=0.1)
    assert width[0.5] == pytest.approx(2 * 0.6745 * difference_U.std() / 20, rel=0.1)


def test_models_that_were_judged_on_different_rows_are_not_ranked() -> None:
    other = Entry("other", make_config("ease"), (fit(0, [1, 1, 1, 1], tests="u"),))
    for entries in ([GOOD, other], [replace(other, error="seed 1: lost"), GOOD]):
        with pytest.raises(RunFailed, match=r"(good|other) and (good|other) were judged on different test rows"):
            rank(entries, EVALUATE)
    seeds = Entry("seeds", make_config("ease"), (fit(0, [1]), fit(1, [1], tests="u")))
    with pytest.raises(RunFailed, match="different test rows"):
        same_rows([seeds])
    assert same_rows([GOOD, POOR]) == "t"
    assert same_rows([]) is None


def test_where_all_failed_every_row_says_so() -> None:
    (row,) = rank([FAILED], EVALUATE)
    assert row["error"] == "seed 1: training diverged: nan"
    assert "ndcg_at_10" not in row
    console = Console(file=io.StringIO(), width=200)
    show({**RESULT, "test_users": None, "leaderboard": [row]}, console)
    assert isinstance(console.file, io.StringIO)
    assert "tiny: random split" in console.file.getvalue()


def test_the_table_shows_seeds_errors_and_failures() -> None:
    result: dict[str, Any] = {**RESULT, "leaderboard": rank([FAILED, POOR, GOOD], EVALUATE)}
    console = Console(file=io.StringIO(), width=220)
    show(result, console)
    assert isinstance(console.file, io.StringIO)
    for text in (console.file.getvalue(), as_markdown(result)):
        good, poor, burnt = (next(line for line in text.splitlines() if name in line)
                             for name in ("good", "poor", "burnt"))  # fmt: skip
        assert "0.5000" in good
        assert "±" not in good
        assert "best" in good
        assert "2.0*" in good
        assert good.split("|" if "|" in good else None)[-3:] != poor.split("|" if "|" in poor else None)[-3:]
        assert "0.3000 ±0.1000" in poor
        assert "-0.2000 (-0.2000 to -0.2000)" in poor
        assert p_text(result["leaderboard"][1]["ndcg_at_10_p_value"]) in poor
        assert "5.5" in poor
        assert "*" not in poor
        assert "901" in poor
        assert "5, 9" in poor
        assert "failed" in burnt
        assert "burnt failed: seed 1: training diverged: nan" in text
        assert "intervals of 95%" in text
        assert "look: 12 users have no test row" in text


def test_the_csv_holds_every_figure_and_reads_back() -> None:
    good, poor, burnt = csv.DictReader(io.StringIO(as_csv(rank([POOR, FAILED, GOOD], EVALUATE))))
    assert [row["model"] for row in (good, poor, burnt)] == ["good", "poor", "burnt"]
    assert float(poor["ndcg_at_10_difference"]) == pytest.approx(-0.2)
    assert (poor["seeds"], poor["best_epoch"], good["ndcg_at_10_low"]) == ("0 1", "5 9", "")
    assert burnt["error"] == "seed 1: training diverged: nan"
    assert burnt["ndcg_at_10"] == ""


def test_the_interval_of_a_model_is_over_its_users_and_holds_its_mean() -> None:
    rng = np.random.default_rng(1)
    value_U = rng.random(400)
    (row,) = rank([Entry("a", make_config("ease"), (fit(0, value_U, np.zeros(400)), fit(1, value_U, np.zeros(400))))],
                  EvaluateConfig())  # fmt: skip
    low, high = row["ndcg_at_10_interval"]
    half = 1.96 * value_U.std() / 20  # two equal seeds are no more users
    assert (low, high) == pytest.approx((row["ndcg_at_10"] - half, row["ndcg_at_10"] + half), abs=0.15 * half)
    assert row["hit_at_10_interval"] == [0.0, 0.0]


def test_every_difference_has_the_p_value_of_its_own_users() -> None:
    from scipy.stats import wilcoxon

    rng = np.random.default_rng(2)
    one_U, other_U = rng.random(60) + 0.1, rng.random(60)
    rows = rank([Entry(n, make_config("ease"), (fit(0, v, v),)) for n, v in (("a", one_U), ("b", other_U))], EVALUATE)
    expected = wilcoxon(other_U, one_U, method="approx", correction=False).pvalue
    assert rows[1]["ndcg_at_10_p_value"] == pytest.approx(expected)
    assert "ndcg_at_10_p_value" not in rows[0]
    assert (p_text(0.0004), p_text(0.0496), p_text(1.0)) == ("<.001", ".050", "1.000")


def test_the_frontier_by_hand() -> None:
    points = [(1.0, 0.5), (2.0, 0.5), (2.0, 0.7), (0.5, 0.1), (3.0, 0.6), (9.0, 0.9), (1.0, 0.5)]
    assert frontier(points) == {0, 2, 3, 5, 6}
    assert frontier([(1.0, 0.2), (1.0, 0.3)]) == {1}  # better in as much time
    assert frontier([]) == set()


def test_a_model_that_another_beats_in_quality_and_time_is_not_on_the_frontier() -> None:
    rows = rank([POOR, GOOD, FAILED], EVALUATE)
    assert [(row.get("rank"), row.get("frontier")) for row in rows] == [(1, True), (2, False), (None, None)]
    assert (rows[0]["peak_mb"], rows[1]["peak_mb"]) == (900.0, 901.0)


def test_the_note_of_a_fit_says_its_place_among_those_that_were_judged() -> None:
    rows = rank([POOR, GOOD, FAILED], EVALUATE)
    notes = [row_note(row, {"leaderboard": rows}) for row in rows[:2]]
    assert notes[0].startswith("Rank 1 of 2: good, NDCG@10 0.5000 (")
    assert notes[0].endswith("), the best.")
    assert "Rank 2 of 2: poor, NDCG@10 0.3000 ±0.1000 (" in notes[1]
    p = p_text(rows[1]["ndcg_at_10_p_value"])
    assert notes[1].endswith(f", -0.2000 (-0.2000 to -0.2000) to the best, p {p}.")


@pytest.mark.parametrize("n", [1, 6, 17])
def test_names_in_the_picture_cover_neither_each_other_nor_a_mark(n: int) -> None:
    rng = np.random.default_rng(n)
    marks = [(300 + float(x), 200 + float(y)) for x, y in rng.random((n, 2)) * (250, 120)]  # crowded
    sizes = [(float(width), 13.0) for width in rng.integers(30, 110, n)]
    frame = (60.0, 40.0, 860.0, 480.0)
    boxes = place_names(marks, sizes, [(x - 2, y - 60, x + 2, y + 60) for x, y in marks], frame)
    for at, box in enumerate(boxes):
        assert (box[2] - box[0], box[3] - box[1]) == pytest.approx(sizes[at])
        assert not [other for other in boxes[:at] if overlap(box, other)]
        assert not [1 for x, y in marks if box[0] < x < box[2] and box[1] < y < box[3]]
        assert frame[0] <= box[0] < box[2] <= frame[2]
        assert frame[1] <= box[1] < box[3] <= frame[3]


def test_the_picture_names_every_model_and_is_written_as_png_and_svg() -> None:
    rows = rank([POOR, GOOD, FAILED], EVALUATE)[:2]
    rows[1]["train_seconds"] = 0.0  # has no logarithm
    figure = draw_frontier(rows, RESULT)
    out = {kind: io.BytesIO() for kind in ("png", "svg")}
    for kind, file in out.items():
        figure.savefig(file, format=kind)
    assert out["png"].getvalue().startswith(b"\x89PNG")
    said = [text.get_text() for text in figure.axes[0].texts]
    assert {"good", "poor"} <= set(said)
    assert figure.axes[0].get_xscale() == "log"


def test_a_lap_has_its_own_peak() -> None:
    from flows.clock import MemoryWatch

    with MemoryWatch() as memory:
        block = np.ones(40_000_000)  # 320 MB
        memory.begin_lap()
        high = memory.lap_mb()
        del block
        memory.begin_lap()
        low = memory.lap_mb()
    assert high - low > 250
    assert memory.peak_mb >= high


# the command


def test_a_comparison_with_a_failure_writes_both_the_board_and_the_error(tmp_path: Path) -> None:
    def fails(options: Any, started: float) -> dict[str, Any]:
        raise ModelsFailed(["burnt"], {"leaderboard": [{"model": "good"}]})

    file = tmp_path / "r.json"
    assert run_command("compare", fails, ["--models=ease", f"--json={file}"]) == 1
    content = pd.read_json(file, typ="series")
    assert content["leaderboard"] == [{"model": "good"}]
    assert "burnt" in content["error"]["message"]


def test_ctrl_c_inside_a_kernel_is_ctrl_c() -> None:
    def interrupted(options: Any, started: float) -> dict[str, Any]:
        raise SystemError("returned a result with an exception set") from KeyboardInterrupt()

    assert run_command("compare", interrupted, ["--models=ease"]) == 130
    assert not was_stopped(SystemError("something else"))


# one real comparison, then others in the same place

WORDS = (
    "--ingest.source=synthetic", "--ingest.rows=4000",
    "--ingest.users_count=150", "--ingest.items_count=120", "--split.protocol=leave_last_out", "--trainer.epochs=4",
    "--trainer.device=cpu",
)  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, prefect_database: None) -> Place:
    return Place(tmp_path_factory.mktemp("compare"))


@pytest.fixture(scope="module")
def settings(place: Place) -> Settings:
    return Settings(data_dir=place.root / "data", tracking_uri=f"sqlite:///{place.root}/mlflow.db").resolved()


@pytest.fixture(scope="module")
def ran(place: Place) -> Ran:
    done = place.encore("compare", *WORDS, "--models=bpr_mf,popularity", "--seeds=1,2")
    assert done.status == 0, done.err
    return done


@pytest.fixture(scope="module")
def first(ran: Ran) -> dict[str, Any]:
    return ran.result


@pytest.fixture(scope="module")
def partly(ran: Ran, place: Place) -> Ran:
    """Two of the fits again, and a model whose first vectors are too long for any step."""
    file = sections(place.root, "models: [popularity, {name: bpr_mf, init_std: 1.0e+30}, bpr_mf]\nseeds: [1]\n")
    return place.encore("compare", *WORDS, f"--config={file}")


@pytest.fixture(scope="module")
def client(settings: Settings, ran: Ran) -> MlflowClient:
    return MlflowClient(settings.tracking_uri)


def children(client: MlflowClient, run_id: str) -> dict[str, Any]:
    """Runs below a run, by name."""
    experiment = client.get_run(run_id).info.experiment_id
    found = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{run_id}'")
    return {run.info.run_name: run for run in found}


def test_the_leaderboard_is_what_the_tables_of_single_users_give(first: dict[str, Any]) -> None:
    rows = {row["model"]: row for row in first["leaderboard"]}
    ndcg = [row["ndcg_at_10"] for row in first["leaderboard"]]
    assert ndcg == sorted(ndcg, reverse=True)
    assert {name: row["seeds"] for name, row in rows.items()} == {"bpr_mf": [1, 2], "popularity": [1]}
    tables = {name: [pd.read_parquet(path) for path in row["per_user"]] for name, row in rows.items()}
    for metric in ("ndcg_at_10", "hit_at_10"):
        one, two = tables["bpr_mf"]
        assert (one["user_id"] == tables["popularity"][0]["user_id"]).all()
        assert (one["user_id"] == two["user_id"]).all()
        means = one[metric].mean(), two[metric].mean()
        assert means[0] != means[1]  # two seeds, two models
        assert rows["bpr_mf"][metric] == pytest.approx(sum(means) / 2)
        assert rows["bpr_mf"][f"{metric}_se"] == pytest.approx(abs(means[0] - means[1]) / 2)
        assert rows["popularity"][metric] == pytest.approx(tables["popularity"][0][metric].mean())
        best, other = (row["model"] for row in first["leaderboard"])
        of = {name: pd.concat([t[metric] for t in found], axis=1).mean(axis=1) for name, found in tables.items()}
        gap_U = of[other] - of[best]
        assert rows[other][f"{metric}_difference"] == pytest.approx(gap_U.mean())
        half = 1.96 * gap_U.std(ddof=0) / len(gap_U) ** 0.5
        assert rows[other][f"{metric}_low"] == pytest.approx(gap_U.mean() - half, abs=0.2 * half)
        assert rows[other][f"{metric}_high"] == pytest.approx(gap_U.mean() + half, abs=0.2 * half)
    assert first["test_users"] == len(one)
    assert rows["bpr_mf"]["parameters"] == 64 * (150 + 120) + 120


def test_mlflow_shows_the_fits_below_the_comparison(first: dict[str, Any], client: MlflowClient) -> None:
    parent, below = client.get_run(first["run_id"]), children(client, first["run_id"])
    assert (parent.info.run_name, parent.info.status) == ("compare 2 models", "FINISHED")
    assert parent.data.params["models"] == "bpr_mf, popularity"
    files = {file.path for file in client.list_artifacts(first["run_id"])}
    assert files == {"leaderboard.csv", "leaderboard.md", "frontier.png", "frontier.svg"}
    board = pd.read_csv(client.download_artifacts(first["run_id"], "leaderboard.csv"))
    rows = first["leaderboard"]
    assert board["ndcg_at_10"].tolist() == pytest.approx([row["ndcg_at_10"] for row in rows])
    note = parent.data.tags["mlflow.note.content"]
    assert all(f"| {row['model']} |" in note for row in rows)
    assert sorted(below) == ["bpr_mf seed 1", "bpr_mf seed 2", "popularity seed 1"]
    assert sorted(run_id for row in rows for run_id in row["run_ids"]) == sorted(r.info.run_id for r in below.values())
    assert all(run.info.status == "FINISHED" for run in below.values())
    assert {run.data.tags["test_fingerprint"] for run in below.values()} == {first["test_fingerprint"]}
    store = parent.data.tags["store"]  # by which the next start finds what a kill has left running
    assert {run.data.tags["store"] for run in below.values()} == {store}


def test_mlflow_can_be_sorted_and_the_parent_has_the_best(first: dict[str, Any], client: MlflowClient) -> None:
    rows = {row["model"]: row for row in first["leaderboard"]}
    best = first["leaderboard"][0]
    parent = client.get_run(first["run_id"])
    assert parent.data.tags["best_model"] == best["model"]
    assert parent.data.metrics["test/ndcg_at_10"] == best["ndcg_at_10"]
    assert parent.data.metrics["test/hit_at_10"] == best["hit_at_10"]
    query = f"tags.`mlflow.parentRunId` = '{first['run_id']}'"
    found = client.search_runs([parent.info.experiment_id], query, order_by=["metrics.`test/ndcg_at_10` DESC"])
    values = [run.data.metrics["test/ndcg_at_10"] for run in found]
    assert values == sorted(values, reverse=True)
    for run in found:
        row = rows[run.data.tags["label"]]
        assert run.data.tags["rank"] == str(row["rank"])
        assert run.data.tags["model"] == row["name"]
        assert int(run.data.tags["seed"]) in row["seeds"]
        assert run.data.tags["mlflow.note.content"].startswith(f"Rank {row['rank']} of 2: {row['model']}, ")
        assert run.data.metrics["peak_mb"] <= row["peak_mb"]
        assert row["peak_mb"] > 100


def test_each_fit_is_logged_as_a_night_would(first: dict[str, Any], client: MlflowClient) -> None:
    run = children(client, first["run_id"])["bpr_mf seed 2"]
    assert (run.data.params["trainer.seed"], run.data.params["model.dim"]) == ("2", "64")
    assert (run.data.params["trainer.epochs"], run.data.params["trainer.optimizer"]) == ("4", "sgd")
    assert not [name for name in run.data.params if name.startswith(("gate", "recommend", "registered_model"))]
    row = next(row for row in first["leaderboard"] if row["model"] == "bpr_mf")
    table = pd.read_parquet(row["per_user"][1])
    assert run.data.metrics["test/ndcg_at_10"] == pytest.approx(table["ndcg_at_10"].mean())
    assert run.data.metrics["test/recall_at_20"] == pytest.approx(table["recall_at_20"].mean())
    curve = client.get_metric_history(run.info.run_id, "valid/ndcg_at_10")
    assert [point.step for point in curve] == [1, 2, 3, 4]  # not those of the refit, and none twice
    best = max(curve, key=lambda point: point.value)
    assert run.data.metrics["best/valid/ndcg_at_10"] == best.value
    assert run.data.metrics["train/best_epoch"] == best.step == row["best_epoch"][1]
    assert run.data.metrics["n_parameters"] == row["parameters"]
    assert {"seconds/train", "samples_per_second"} <= set(run.data.metrics)
    assert run.inputs is not None
    assert run.inputs.dataset_inputs[0].dataset.digest == first["snapshot"][:32]


def test_a_line_is_said_as_each_fit_is_done_and_then_the_board(ran: Ran) -> None:
    done = [line.split(": NDCG@10")[0] for line in ran.err.splitlines() if ": NDCG@10" in line]
    assert done == ["bpr_mf, seed 1", "bpr_mf, seed 2", "popularity, seed 1"]
    assert "standard error over seeds" in ran.out
    assert "trained before" not in ran.err


def test_nothing_is_registered_or_published(first: dict[str, Any], client: MlflowClient, settings: Settings) -> None:
    assert client.search_registered_models() == []
    assert not {"recommendations", "published", "nights"} & {path.name for path in settings.data_dir.iterdir()}


def test_a_model_that_fails_is_a_row_and_the_others_go_on(
    first: dict[str, Any], partly: Ran, client: MlflowClient
) -> None:
    assert partly.status == 1
    result, failed, well = partly.result, "bpr_mf (init_std=1e+30)", ["popularity", "bpr_mf (init_std=0.03)"]
    assert failed in partly.err
    assert "Traceback" not in partly.err
    assert result["error"]["message"] == f"failed: {failed}"
    rows = {row["model"]: row for row in result["leaderboard"]}
    assert list(rows)[2] == failed
    assert rows[failed]["error"].startswith("seed 1: training diverged: ")
    assert set(rows) == {failed, *well}
    assert result["test_fingerprint"] == first["test_fingerprint"]
    statuses = {name: run.info.status for name, run in children(client, result["run_id"]).items()}
    assert statuses == {f"{failed} seed 1": "FAILED", **{f"{name} seed 1": "FINISHED" for name in well}}
    parent = client.get_run(result["run_id"])
    assert parent.info.status == "FAILED"
    assert f"{failed} failed: " in parent.data.tags["mlflow.note.content"]


def test_what_was_computed_before_is_found(first: dict[str, Any], partly: Ran, client: MlflowClient) -> None:
    assert {"ingest", "validate", "split", "sample", "evaluate"} <= set(partly.result["cached"])
    row = next(row for row in partly.result["leaderboard"] if row["model"] == "bpr_mf (init_std=0.03)")
    before = next(row for row in first["leaderboard"] if row["model"] == "bpr_mf")
    assert (row["cached"], before["cached"]) == ([True], [False, False])
    assert (row["per_user"], row["best_epoch"]) == (before["per_user"][:1], before["best_epoch"][:1])
    assert row["peak_mb"] is None  # it was not trained now
    run = children(client, partly.result["run_id"])["bpr_mf (init_std=0.03) seed 1"]
    assert [point.step for point in client.get_metric_history(run.info.run_id, "train/loss")] == [1, 2, 3, 4]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemError("in a kernel")])
def test_ctrl_c_ends_both_runs_and_lets_the_dataset_go(
    error: BaseException, ran: Ran, client: MlflowClient, settings: Settings
) -> None:
    config = told("--models=bpr_mf", *WORDS)
    comparison = Comparison(config, settings, 0.0)
    with pytest.raises(type(error)), comparison:  # noqa: SIM117
        with comparison.child("x" * 300, config.night(config.models[0], 1)):
            raise error from KeyboardInterrupt()
    (run,) = children(client, comparison.run.run_id).values()
    assert len(run.info.run_name) == 250  # what MLflow's table of runs holds
    assert (run.info.status, client.get_run(comparison.run.run_id).info.status) == ("KILLED", "KILLED")
    with lease(Store(settings.data_dir), config.dataset), pytest.raises(Busy):
        Comparison(config, settings, 0.0).__enter__()
