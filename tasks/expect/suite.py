"""Great Expectations as the judge. The only file that imports it: the import takes seconds, so import this one late."""

import logging
import os
import warnings
from typing import Any

os.environ["GX_ANALYTICS_ENABLED"] = "false"  # before the import: some versions report home while they load

import great_expectations as gx
import great_expectations.expectations as gxe
import pandas as pd
from great_expectations.data_context.types.base import (
    DataContextConfig,
    InMemoryStoreBackendDefaults,
    ProgressBarsConfig,
)

from tasks.errors import RunFailed
from tasks.expect.contract import HasRows, Rule, Verdict
from tasks.expect.words import declared

logging.getLogger("great_expectations").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", "This pattern is interpreted as a regular expression, and has match groups")
# Counts only: examples come with their source rows from whoever counted, and hostile values are never formatted twice.
RESULT_FORMAT = {"result_format": "BASIC", "partial_unexpected_count": 0}


def judge(name: str, frame: pd.DataFrame, rules: tuple[Rule, ...]) -> tuple[Verdict, ...]:
    """One verdict a rule, in their order. Raises RunFailed where a result is missing, doubled or an error."""
    results = _run(name, frame, rules)
    verdicts = {result.expectation_config.meta["rule"]: _verdict(name, result) for result in results}
    if len(results) != len(rules) or sorted(verdicts) != list(range(len(rules))):
        raise RunFailed(f"{name}: {len(rules)} expectations were asked for, {len(results)} results came back")
    return tuple(verdicts[number] for number in range(len(rules)))


def _run(name: str, frame: pd.DataFrame, rules: tuple[Rule, ...]) -> list[Any]:
    """The raw results, in Great Expectations' own order.

    Every frame gets a context, an asset, a suite and a validation of its own (milliseconds): several validations on
    one asset collapse to the last, and a bad file among good ones then passes. It also lets go of the frame.
    """
    settings = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
        progress_bars=ProgressBarsConfig(globally=False),
        analytics_enabled=False,
    )
    context: Any = gx.get_context(mode="ephemeral", project_config=settings)
    batch = (
        context.data_sources.add_pandas("rows").add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
    )
    expectations = [_expectation(rule, number) for number, rule in enumerate(rules)]
    suite = context.suites.add(gx.ExpectationSuite(name, expectations=expectations))
    validation = context.validation_definitions.add(gx.ValidationDefinition(name=name, data=batch, suite=suite))
    return list(validation.run(batch_parameters={"dataframe": frame}, result_format=RESULT_FORMAT).results)


def _expectation(rule: Rule, number: int) -> Any:
    kind, limits = declared(rule.check)
    column = {} if isinstance(rule.check, HasRows) else {"column": rule.column}
    said = {"meta": {"rule": number, "sentence": rule.sentence}, "notes": rule.sentence}
    return _class(kind)(**column, **limits, **said)


def _class(kind: str) -> Any:
    """Great Expectations' class for the name that it gives an expectation in files."""
    return getattr(gxe, "".join(word.upper() if word == "kl" else word.title() for word in kind.split("_")))


def _verdict(name: str, result: Any) -> Verdict:
    errors = result.exception_info or {}
    if errors and errors.get("raised_exception") is not False:  # an error in a metric sits one level deeper
        raise RunFailed(f'{name}: "{result.expectation_config.meta["sentence"]}" could not be judged: {errors}'[:500])
    observed = result.result.get("observed_value")
    number = float(observed) if isinstance(observed, (int, float)) else None
    return Verdict(result.success is True, result.result.get("unexpected_count"), number)
