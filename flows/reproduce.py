"""`encore reproduce VERSION`: a registered version made once more from what its night kept, and held against it."""

from dataclasses import asdict
from typing import Any

from pydantic import ValidationError

from flows.again import Again
from flows.commands import ReproduceConfig
from flows.config import PipelineConfig, Settings
from flows.reproduced import cause, checkout, print_comparison
from tasks.errors import ConfigError, RunFailed
from tasks.pairs_file import content_hash
from tasks.record.environment import environment
from tasks.record.lineage import code_of
from tasks.reproduce.compare import compare
from tasks.reproduce.kept import Kept, link_folder, link_snapshot, refuse_changed_files, understood
from tasks.reproduce.threads import threads_as
from tasks.store.atomic import scratch_folder
from tasks.store.store import Store
from tasks.tracking.night_files import read_night
from tasks.tracking.registry import find_version
from tasks.train.start import Cold, Warm


class NotTheSame(RunFailed):
    """The version came out otherwise. `result` is the comparison."""

    kind = "different"

    def __init__(self, message: str, hint: str, result: dict[str, Any]) -> None:
        super().__init__(message, hint)
        self.result = result


def reproduce(config: ReproduceConfig, settings: Settings) -> dict[str, Any]:
    """What `show_reproduce` prints. Raises ConfigError for a version that does not exist, RunFailed where something
    that it was made from is gone, NotTheSame where it came out otherwise: that is printed first."""
    settings = settings.resolved()
    store, uri = settings.store, settings.tracking_uri
    ref = find_version(uri, config.model, config.version)
    if ref is None:
        raise ConfigError(
            f"{config.model} has no version {config.version}",
            "name the dataset: --ingest.name=NAME; encore history lists the champions",
        )
    kept = understood(ref, read_night(uri, ref.run_id))
    night = as_configured(kept, config.version)
    refuse_changed_files(kept.files, content_hash)
    with scratch_folder(store.path("scratch")) as folder:
        scratch = Store(folder, store.memory_bytes)
        link_snapshot(store, kept.snapshot, scratch)
        again = Again(scratch, night, kept, begun_with(kept, store, scratch))
        with threads_as(kept.environment["threads"]):
            metrics, weights = again.run()
            now = environment() | {"code": code_of(night.model)}
        seconds = again.clock.total()
    found = compare(kept.metrics, metrics, (kept.result["weights_sha256"], weights), (kept.environment, now))
    result = {
        "name": ref.name,
        "version": ref.version,
        "run_id": ref.run_id,
        "dataset": kept.snapshot.dataset,
        "snapshot": kept.snapshot.hash,
        "as_of": kept.result["as_of"],
        "deterministic": night.trainer.deterministic,
        "identical": found.is_identical,
        **asdict(found),
        "seconds": seconds,
    }
    if not found.is_identical:
        show_reproduce(result)
        raise NotTheSame(f"{ref.name} version {ref.version} came out otherwise", cause(result), result)
    return result


def begun_with(kept: Kept, store: Store, scratch: Store) -> Warm | Cold | None:
    """Where the night's fit began; what it began with is linked into the other store. Raises RunFailed where that is
    gone."""
    if not (told := kept.result.get("warm")):
        return None
    if "cold_because" in told:
        return Cold(told["cold_because"])
    number, key = told["from_version"], told["from_key"]
    folder = f"checkpoints/{key}"
    if not link_folder(store, folder, scratch):
        raise RunFailed(
            f"the night began with what version {number} had learned, and that is gone: {folder}",
            "reproduce a version that was fitted from nothing",
        )
    record = scratch.manifest(f"{folder}/bundle")
    return Warm(number, key, record["weights_sha256"], told["nights"])


def as_configured(kept: Kept, version: str) -> PipelineConfig:
    """Raises RunFailed where this code does not take the configuration of that night."""
    try:
        return PipelineConfig.model_validate(kept.config)
    except ValidationError as error:
        first = error.errors()[0]
        told = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        made_by = kept.environment.get("revision")
        raise RunFailed(
            f"this code does not take the configuration of version {version}: {told}",
            f"it was made by revision {made_by}: {checkout(made_by)}" if made_by else "use the code that made it",
        ) from error


def show_reproduce(result: dict[str, Any]) -> None:
    """Prints it for people; machines read --json."""
    print_comparison(result)
