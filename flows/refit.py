"""What goes out: the model as it was judged, or the same configuration trained once more on everything."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from flows.config import PipelineConfig
from flows.contest import Contest
from flows.night import Night
from models.base import Callback, Epoch
from models.fitting.config import TrainerConfig
from models.registry import make_config
from tasks.promote.config import GateConfig
from tasks.promote.decide import Decision
from tasks.sample.task import sample
from tasks.sample.windows import sample_windows
from tasks.split.config import Positives
from tasks.split.task import keep_everything
from tasks.store.refs import SampleRefs, SnapshotRef, SplitRefs, TrainedRef
from tasks.store.store import Store
from tasks.train.logic import for_refit
from tasks.train.start import Cold, Warm, find_start
from tasks.train.task import train

Step = Callable[..., Any]


@dataclass(frozen=True)
class Outgoing:
    """The model that is registered and whose lists are written."""

    samples: SampleRefs
    trained: TrainedRef
    on_everything: bool = False  # test rows included


def going_out(
    night: Night, snapshot: SnapshotRef, samples: SampleRefs, contest: Contest, decision: Decision
) -> Outgoing:
    """The judged model; where it passed and `gate.refit_all` says so, the one that is fitted on everything. One that
    waits for approval is that one already: what a person lets out is not trained again."""
    goes_out = decision.promote or decision.awaits_approval
    if not (goes_out and refits_all(night.config.gate, samples.split)):
        return Outgoing(samples, contest.trained)
    judged, own = contest.trained, night.config
    begin = find_start(night.store, own.model, own.trainer, contest.champion_ref, night.configuration, own.dataset)
    told = (own, snapshot, judged, lambda _: night.callbacks("refit"), begin)
    return refit(night.step, night.store, *told)


def refits_all(gate: GateConfig, split: SplitRefs) -> bool:
    """Where time decides what judges, the newest rows are those: a model without them would go out stale."""
    return split.protocol == "temporal" if gate.refit_all is None else gate.refit_all


def refit(
    step: Step,
    store: Store,
    config: PipelineConfig,
    snapshot: SnapshotRef,
    judged: TrainedRef,
    callbacks: Callable[[str], Sequence[Callback]] = lambda phase: (),
    begin: Warm | Cold | None = None,
) -> Outgoing:
    """The judged model's configuration, with all that its fit chose by the validation rows, fitted on every row that
    was ingested. Nothing can judge the outcome: it has learned from the test rows. Rows of `split.test` and of
    candidates only judge and stay out. It begins where the judged model began, for which `begin` is what `find_start`
    gave then. Raises what the steps raise."""
    record = store.manifest(judged.path)
    model, fitted_with = make_config(**record["config"]), TrainerConfig.model_validate(record["trainer"])
    trainer = for_refit(fitted_with, record["best_epoch"], [Epoch(**epoch) for epoch in record["history"]])
    parts = (config.split, Positives.of(config.ingest), config.evaluate.candidates)
    whole = step("refit", sample, store, step("refit", keep_everything, store, snapshot, *parts))
    whole = step("refit", sample_windows, store, whole, model, config.sample.sampling, trainer.seed)
    if isinstance(begin, Warm) and (because := (record.get("warm") or {}).get("cold_because")):
        begin = Cold(because)  # the rows told that it would not do
    asked = (trainer, config.sample.sampling, config.sample.history_length, callbacks, begin)
    return Outgoing(whole, step("refit", train, store, whole, model, *asked), on_everything=True)
