"""The step: everything about the night goes into its MLflow run, where an analyst compares runs by looking."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from models.bundle import Bundle
from tasks.cards.card import render
from tasks.cards.diff import render as render_diff
from tasks.cards.examples import Example, make_examples
from tasks.cards.night import NightFacts, Rival
from tasks.cards.pairing import make_diff
from tasks.cards.sides import load_side
from tasks.record.figures import (
    data_figures,
    difference_figures,
    figures,
    flatten,
    interval_figures,
    segment_figures,
    tags,
)
from tasks.record.lineage import keep
from tasks.record.parties import Parties
from tasks.record.plots import log_plots
from tasks.store.histories import read_histories
from tasks.store.refs import ChampionRef, SampleRefs, Validated
from tasks.store.store import Store
from tasks.tracking.night_files import FOLDER
from tasks.tracking.registry import load_champion
from tasks.tracking.runs import Run


@task(cache_policy=NO_CACHE)
def record(
    store: Store,
    run: Run,
    config: Mapping[str, Any],
    valid: Validated,
    samples: SampleRefs,
    parties: Parties,
    result: dict[str, Any],
) -> None:
    """Logs parameters, the snapshot, metrics, plots, the validation report and the run card."""
    night = gather(store, parties, result)
    run.log_params(flatten({**config, "trainer": night.training["trainer"]}))  # the fit chose what was left to it
    run.log_snapshot(valid.snapshot)
    run.complete_history(night.training["history"])
    found = figures(result["metrics"], night.training) | difference_figures(result["differences"])
    found |= interval_figures(result["intervals"])
    run.log_metrics(found | segment_figures(result["segments"]) | data_figures(result))
    run.set_tags(tags(result))
    keep(run, config, valid.snapshot, result)
    for name, content in {"training": night.training, "scores": night.scores}.items():
        run.log_text(json.dumps(content, indent=2), f"{FOLDER}/{name}.json")  # beside what `keep` has put there
    log_plots(run, night)
    run.log_text(store.path(valid.report).read_text(encoding="utf-8"), "validation.html")
    run.log_text(render(night, examples(store, run, samples, parties)), "card.html")
    if champion := parties.rivals.get("champion"):
        log_diff(store, run, champion.ref, night)


def gather(store: Store, parties: Parties, result: Mapping[str, Any]) -> NightFacts:
    """What the folders of the night's training and evaluations say, beside its result."""
    rivals = {
        whom: Rival(beside.ref.version, store.manifest(beside.scores.path)) for whom, beside in parties.rivals.items()
    }
    floors = {name: store.manifest(ref.path) for name, ref in parties.floors.items()}
    training, scores = store.manifest(parties.trained.path), store.manifest(parties.scores.path)
    return NightFacts(result, training, scores, floors, rivals)


def examples(store: Store, run: Run, samples: SampleRefs, parties: Parties) -> Sequence[Example]:
    """A few test users with the lists of the model as it was judged, and of the champion before it."""
    split, champion = samples.split, parties.rivals.get("champion")
    return make_examples(
        Bundle.load(store.path(parties.trained.path)),
        store.read(split.items),
        store.read(split.test),
        read_histories(store.path(samples.known.path)),
        split.keeps_repeats,
        store.read(split.strangers) if split.strangers else None,
        load_champion(run.tracking_uri, champion.ref, split.dataset) if champion else None,
    )


def log_diff(store: Store, run: Run, champion: ChampionRef, night: NightFacts) -> None:
    """The night's model beside the champion before it, from what both runs keep; nothing where that is too little."""
    label = f"version {night.result['model']['version']}"
    one = load_side(run.tracking_uri, champion.run_id, f"version {champion.version}")
    other = load_side(run.tracking_uri, run.run_id, label)
    if one is not None and other is not None:
        resamples = other.config["evaluate"]["resamples"]
        run.log_text(render_diff(make_diff(store, one, other, resamples)), "diff_to_champion.html")
