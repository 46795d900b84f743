"""What watches training from a terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ..base import Callback, Epoch, Recommender


class ProgressBar(Callback):
    """Epochs, time left, speed and the validation metric. Shown on a terminal only: a log file gets nothing."""

    def __init__(self, title: str = "training", console: Console | None = None) -> None:
        self._title = title
        self._console = console or Console(stderr=True)
        self._progress: Progress | None = None
        self._task = TaskID(0)

    def on_start(self, model: Recommender, epochs: int, samples_per_epoch: int) -> None:
        if not self._console.is_terminal:
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
        )
        self._progress = Progress(*columns, console=self._console)
        self._task = self._progress.add_task(self._title, total=epochs, figures="")
        self._progress.start()

    def on_epoch_end(self, model: Recommender, epoch: Epoch) -> None:
        if self._progress:
            figures = describe(epoch)
            self._progress.update(self._task, completed=epoch.number, figures=figures)

    def on_end(self, model: Recommender, history: Sequence[Epoch]) -> None:
        if self._progress:
            self._progress.stop()
            self._progress = None


def describe(epoch: Epoch) -> str:
    """One epoch in a few words: loss, samples per second, NDCG@10 on the validation rows."""
    speed = epoch.samples / max(epoch.seconds, 1e-9)
    unit, per = ("M", 1e6) if speed >= 1e6 else ("k", 1e3)
    figures = f"loss {epoch.loss:.4f}  {speed / per:.1f} {unit} samples/s"
    if "ndcg_at_10" in epoch.metrics:
        figures += f"  valid NDCG@10 {epoch.metrics['ndcg_at_10']:.4f}"
    return figures
