"""The plots of a night as pictures, which MLflow shows side by side for several runs."""

from tasks.cards import curves
from tasks.cards.forest import forest
from tasks.cards.night import NightFacts
from tasks.cards.plots import learning_curve, metric_at_k
from tasks.cards.sections.beside import TITLE, leading
from tasks.cards.sections.quality import curves_of, whole_curves
from tasks.tracking.runs import Run


def log_plots(run: Run, night: NightFacts) -> None:
    """Those that there is something to draw for."""
    if night.training["history"]:
        run.log_figure(learning_curve(night.training["history"], night.training["best_epoch"]), "learning_curve.png")
    run.log_figure(metric_at_k(curves_of(night)), "metric_at_k.png")
    if whole := whole_curves(night):
        run.log_figure(curves.roc(whole), "roc.png")
        run.log_figure(curves.precision_recall(whole), "precision_recall.png")
    if differences := leading(night):
        run.log_figure(forest(differences, TITLE), "differences.png")
