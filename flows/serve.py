"""The end of a night: its model is registered, its lists are written, and where it passed it is crowned."""

import getpass
from datetime import UTC, datetime

from flows.contest import Contest
from flows.crown import crown, needs_a_floor
from flows.night import Night
from flows.refit import Outgoing
from flows.result import rivals_of
from tasks.promote.decide import Decision
from tasks.promote.task import Promotion, register
from tasks.publish.pointer import FLOOR_MARK
from tasks.publish.task import publish, recommend
from tasks.record.lineage import code_tags
from tasks.record.parties import Beside, Parties
from tasks.tracking.history import Event
from tasks.train.start import start_tags


def enrol(night: Night, contest: Contest, out: Outgoing, decision: Decision) -> Promotion:
    """Registers the version, with all that it says of itself."""
    ours = (night.run, night.config.registered_model, decision, out.samples, out.trained, contest.champion_ref)
    promotion: Promotion = night.step("promote", register, night.store, *ours, version_tags(night, contest, out))
    return promotion


def serve(night: Night, contest: Contest, out: Outgoing, promotion: Promotion) -> str:
    """Writes the lists of the night's model; where it may go out, crowns and publishes it. Returns their folder.

    What production serves moves last: whatever fails before leaves it as it was.
    """
    store, config = night.store, night.config
    ours = (out.samples, out.trained, promotion.version, night.run.run_id)
    lists: str = night.step("recommend", recommend, store, *ours, config.recommend, promotion.name)
    if promotion.decision.promote:
        crown(night, event_of(night, contest, promotion, lists))
    elif needs_a_floor(night, promotion.name):  # no model is in production: better the floor than nothing
        best = contest.best_floor
        floor = (out.samples, best.trained, f"{FLOOR_MARK}{best.name}", f"{night.run.run_id}-floor")
        floor_lists = night.step("recommend", recommend, store, *floor, config.recommend)
        night.step("recommend", publish, store, config.dataset, floor_lists)
    return lists


def event_of(night: Night, contest: Contest, promotion: Promotion, lists: str) -> Event:
    """What the history will say of the night's promotion."""
    before = contest.champion_ref.version if contest.champion_ref else None
    return Event(
        name=promotion.name,
        version=promotion.version,
        before=before,
        kind="night",
        reason=promotion.decision.reason,
        by=getpass.getuser(),
        at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        dataset=night.dataset,
        lists=lists,
        gain=promotion.decision.gain,
    )


def version_tags(night: Night, contest: Contest, out: Outgoing) -> dict[str, str]:
    """What a version says of where it comes from, beside the gate's reasons."""
    return {
        "configuration": night.configuration,
        "judged_key": contest.trained.key,
        "refit_all": str(out.on_everything).lower(),
        "as_of": night.settings.night.isoformat(timespec="seconds"),
        **code_tags(night.config.model),
        **start_tags(night.store.manifest(contest.trained.path)["warm"]),
    }


def parties_of(contest: Contest) -> Parties:
    """Whom the night judged, for its record."""
    rivals = {whom: Beside(rival.ref, rival.beside) for whom, rival in rivals_of(contest).items()}
    floors = {floor.name: floor.scores for floor in contest.floors}
    return Parties(contest.trained, contest.scores, floors, rivals)
