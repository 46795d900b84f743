"""What goes out: the model as it was judged, or the same configuration trained once more on everything."""

from dataclasses import dataclass

from flows.contest import Contest
from flows.night import Night
from tasks.promote.decide import Decision
from tasks.store.refs import SampleRefs, SnapshotRef, TrainedRef


@dataclass(frozen=True)
class Outgoing:
    """The model that is registered and whose lists are written."""

    samples: SampleRefs
    trained: TrainedRef
    on_everything: bool = False  # test rows included


def going_out(
    night: Night, snapshot: SnapshotRef, samples: SampleRefs, contest: Contest, decision: Decision
) -> Outgoing:
    """The judged model; where it passed and `gate.refit_all` says so, the one that is fitted on everything."""
    return Outgoing(samples, contest.trained)
