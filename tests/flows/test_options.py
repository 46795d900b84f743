"""From flags and YAML to the configuration, and what is said when they are wrong."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flows.commands import POSITIONAL
from flows.options import fields, options_of, parse, read_options
from models.registry import MODELS, model_class
from tasks.errors import ConfigError


def options(*words: str, file: Path | None = None) -> Any:
    return read_options(parse(words), str(file) if file else None)


def yaml(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "night.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def refused(*words: str, file: Path | None = None) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        options(*words, file=file)
    assert "\n" not in str(caught.value)
    assert caught.value.hint
    assert caught.value.exit_status == 2
    return caught.value


# words


@pytest.mark.parametrize(
    ("words", "flags"),
    [
        (["--a.b=c"], {"a.b": "c"}),
        (["--a.b", "c"], {"a.b": "c"}),
        (["--a=x=y"], {"a": "x=y"}),
        (["--a="], {"a": ""}),
        (["--a", "--b=1", "--c"], {"a": "true", "b": "1", "c": "true"}),
        (["--a", "-5"], {"a": "-5"}),
        ([], {}),
    ],
)
def test_words_become_flags(words: list[str], flags: dict[str, str]) -> None:
    assert parse(words) == flags


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["stray"], "unexpected argument 'stray'"),
        (["--a=1", "stray"], "stray"),
        (["-a=1"], "-a=1"),
        (["--"], "--"),
        (["--a=1", "--a=2"], "--a is given twice"),
        (["--a=1", "--a", "2"], "--a is given twice"),
    ],
)
def test_other_words_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(words)


# precedence


def test_flags_go_before_the_file_before_the_environment_before_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ENCORE_DATA_DIR", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    file = yaml(tmp_path, "data_dir: from_file\nmodel: {dim: 5, l2: 0.5}\nrecommend: {k: 3}\n")
    assert options().settings.data_dir == tmp_path / "data"
    assert options().settings.tracking_uri == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("ENCORE_DATA_DIR", "from_environment")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking")
    assert options().settings.data_dir == tmp_path / "from_environment"
    assert options().settings.tracking_uri == "http://tracking"
    assert options(file=file).settings.data_dir == tmp_path / "from_file"
    assert options("--data_dir=from_flag", file=file).settings.data_dir == tmp_path / "from_flag"
    config = options("--model.dim=7", file=file).config
    assert (config.model.dim, config.model.l2, config.recommend.k, config.gate.min_users) == (7, 0.5, 3, 20)


def test_settings_are_not_part_of_the_configuration() -> None:
    one, other = options("--data_dir=/a", "--as_of=2024-01-02"), options("--data_dir=/b")
    assert one.config == other.config
    assert one.settings.as_of == datetime(2024, 1, 2, tzinfo=UTC)


# values


def test_values_take_the_type_of_their_field() -> None:
    config = options(
        *("--trainer.refit=false", "--split.test_share=.2", "--ingest.name=007", "--evaluate.cutoffs=5,20"),
        *("--trainer.deterministic", "--ingest.min_rating=null", "--recommend.users=1, 2"),
    ).config
    assert config.trainer.refit is False
    assert config.trainer.deterministic is True
    assert config.split.test_share == 0.2
    assert config.ingest.name == "007"
    assert config.evaluate.cutoffs == (5, 20)
    assert config.ingest.min_rating is None
    assert config.recommend.users == ("1", "2")


@pytest.mark.parametrize("words", [["--evaluate.cutoffs=[5, 20]"], ["--evaluate.cutoffs=5,20"]])
def test_lists_by_comma_and_by_yaml_are_one(words: list[str]) -> None:
    assert options(*words).config.evaluate.cutoffs == (5, 20)


def test_user_ids_in_a_file_must_be_text_because_yaml_reads_007_as_7(tmp_path: Path) -> None:
    assert options(file=yaml(tmp_path, "recommend: {users: ['007', x]}\n")).config.recommend.users == ("007", "x")
    assert "recommend.users.0: " in refused(file=yaml(tmp_path, "recommend: {users: [007, x]}\n")).message


def test_columns_nest_and_add_up(tmp_path: Path) -> None:
    file = yaml(tmp_path, "ingest:\n  interactions: log.csv\n  columns: {who: user_id}\n")
    config = options("--ingest.columns.what=item_id", file=file).config
    assert config.ingest.columns == {"who": "user_id", "what": "item_id"}
    assert config.ingest.source == "files"
    config = options("--ingest.interactions=log.csv", "--ingest.columns={who: user_id, what: item_id}").config
    assert config.ingest.columns == {"who": "user_id", "what": "item_id"}


@pytest.mark.parametrize("text", ["", "# nothing\n", "model:\ntrainer:\n", "model:\n  # dim: 3\n"])
def test_an_empty_file_or_section_is_the_default(text: str, tmp_path: Path) -> None:
    assert options(file=yaml(tmp_path, text)).config == options().config
    assert options("--model.dim=3", file=yaml(tmp_path, text)).config.model.dim == 3


# what is wrong, and what to type


@pytest.mark.parametrize(
    ("word", "name", "near"),
    [
        ("--split.protocl=random", "split.protocl", "split.protocol"),
        ("--trainer.epoch=3", "trainer.epoch", "trainer.epochs"),
        ("--model.dims=3", "model.dims", "model.dim"),
        ("--data-dir=x", "data-dir", "data_dir"),
        ("--recomend.k=3", "recomend", "recommend"),
        ("--ingets.rows=3", "ingets", "did you mean ingest?"),
        ("--k=3", "k", "k"),
    ],
)
def test_a_misspelt_flag_names_the_nearest(word: str, name: str, near: str) -> None:
    error = refused(word)
    assert error.message.startswith(f"unknown option {name}")
    assert near in error.hint


@pytest.mark.parametrize(("command", "names"), sorted(POSITIONAL.items()))
def test_what_a_command_needs_is_asked_for_and_has_no_default(command: str, names: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        read_options({}, None, command)
    needs = f"a {names[0]}" if len(names) == 1 else "2 words"
    assert caught.value.message == f"encore {command} needs {needs}"
    assert caught.value.hint == f"write encore {command} {' '.join(names).upper()}"
    defaults = {option: default for option, default, _ in options_of(command)}
    assert [defaults[name] for name in names] == [""] * len(names)


def test_several_words_without_dashes_are_taken_in_order() -> None:
    assert parse(["3", "--write=x.html", "4"], ("one", "other")) == {"one": "3", "write": "x.html", "other": "4"}
    with pytest.raises(ConfigError, match="unexpected argument '5'"):
        parse(["3", "4", "5"], ("one", "other"))


def test_an_option_that_must_be_given_is_asked_for() -> None:
    with pytest.raises(ConfigError) as caught:
        read_options({"version": "3"}, None, "promote")
    assert caught.value.message == "encore promote needs --reason"


def test_a_limit_that_a_suite_would_silence_is_refused(tmp_path: Path) -> None:
    file = yaml(tmp_path, "checks: {suite: rules.yaml, max_rating: 5}\n")
    assert options(file=file).config.checks.suite == "rules.yaml"  # a whole configuration holds both
    error = refused("--checks.max_rating=4", file=file)
    assert error.message == "--checks.max_rating has no effect beside checks.suite=rules.yaml"
    assert options("--checks.max_rating=4", "--checks.suite=null", file=file).config.checks.max_rating == 4


def test_a_misspelt_key_in_the_file_names_the_nearest(tmp_path: Path) -> None:
    error = refused(file=yaml(tmp_path, "trainer:\n  learning_rat: 0.1\n"))
    assert error.message == "unknown option trainer.learning_rat"
    assert error.hint == "did you mean trainer.learning_rate?"
    assert "(and 1 more)" in refused("--trainer.x=1", "--trainer.y=1").message


def test_an_unknown_model_lists_the_known_ones() -> None:
    error = refused("--model.name=bpr-mf")
    assert error.message == f"unknown model 'bpr-mf'; known: {', '.join(sorted(MODELS))}"
    assert error.hint == "did you mean --model.name=bpr_mf?"


def test_a_field_of_another_model_is_not_suggested_back() -> None:
    error = refused("--model.name=popularity", "--model.dim=3")
    assert error.message == "model popularity has no field dim"
    assert "another model" in error.hint


@pytest.mark.parametrize("name", MODELS)
def test_an_option_named_like_a_model_is_unknown(name: str) -> None:
    assert refused(f"--{name}=3").message == f"unknown option {name}"


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--trainer.epochs=0"], "trainer.epochs: "),
        (["--trainer.epochs=ten"], '(given: "ten")'),
        (["--split.test_share=nan"], "split.test_share: "),
        (["--model.dim=-1"], "model.dim: "),
        (["--model=popularity"], "model: "),
        (["--model=popularity", "--model.dim=3"], "model is not a section"),
        (["--experiment.name=x"], "experiment: "),
        (["--ingest.columns=[a"], "cannot read the value '[a'"),
        (["--as_of=yesterday"], "as_of: "),
        (["--registered_model=a/b"], "registered_model: "),
        (["--split.protocol=given"], "needs split.test or evaluate.candidates"),
        (["--split.protocol=random", "--split.test=x"], "go with protocol `given`"),
        (["--split.valid=x"], "split.valid needs"),
        (["--ingest.source=files"], "needs ingest.interactions"),
        (["--evaluate.cutoffs="], "evaluate.cutoffs"),
    ],
)
def test_each_error_says_where_in_one_line(words: list[str], part: str) -> None:
    assert part in refused(*words).message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n- b\n", "holds no mapping"),
        ("just words\n", "holds no mapping"),
        ("model: {name: bpr_mf\n", "is not YAML"),
        ("a: b: c\n", "is not YAML"),
        ("model: [1]\n", "model: "),
        ("1: 2\n", ""),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(text: str, message: str, tmp_path: Path) -> None:
    assert message in refused(file=yaml(tmp_path, text)).message


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert "no such file" in refused(file=tmp_path / "no.yaml").message
    assert "cannot be read" in refused(file=tmp_path).message
    (tmp_path / "latin").write_bytes(b"model: {name: \xe9}\n")
    assert "cannot be read" in refused(file=tmp_path / "latin").message


def test_help_shows_every_field_once_and_every_models_own() -> None:
    from flows.config import PipelineConfig, Settings

    shown = [name for model in (PipelineConfig, Settings) for name, _, _ in fields(model)]
    for name in MODELS:
        own = [f"model.{field}" for field in model_class(name).Config.model_fields]
        assert all(any(f"{option}.".startswith(f"{field}.") for option in shown) for field in own)
    others = [name for name in shown if not name.startswith("model.")]
    assert len(others) == len(set(others))
    assert {"ingest.source", "split.protocol", "gate.margin", "experiment", "data_dir", "as_of"} <= set(others)
    assert all(text for _, _, text in fields(PipelineConfig))


def test_a_password_in_a_wrong_value_is_not_repeated() -> None:
    assert "sesame" not in str(refused("--trainer.seed=http://me:sesame@host"))
