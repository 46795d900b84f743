"""What was trained, on what and from where, and how it learned."""

from collections.abc import Mapping
from typing import Any

from tasks.cards.look import as_svg
from tasks.cards.night import NightFacts
from tasks.cards.numbers import in_words, metric, metric_name
from tasks.cards.page import card, facts
from tasks.cards.plots import learning_curve


def model(night: NightFacts) -> str:
    """The model's settings as they were used, what it was fitted on, and how it is registered."""
    result, training = night.result, night.training
    named, n_epochs = result["model"], len(training["history"])
    validation = ", ".join(
        f"{metric_name(name)} {metric(value)}" for name, value in training["valid"].items() if "ndcg" in name
    )
    return facts(
        {
            "model": night.name,
            **_settings(named["config"]),
            "parameters": f"{training['n_parameters']:,}",
            **({"best epoch": f"{training['best_epoch']} of {n_epochs}"} if n_epochs else {}),
            **({"validation": validation} if validation else {}),
            **start(result["warm"]),
            **_fitted_on(result, training),
            **({"seeds tried": str(result["seeds"])} if result["seeds"] > 1 else {}),
            **({"samples a second": f"{training['samples_per_second']:,.0f}"} if n_epochs else {}),
            "registered": f"{named['name']} version {named['version']}",
            "weights (sha256)": result["weights_sha256"],
        }
    )


def learning(training: Mapping[str, Any]) -> list[str]:
    """Nothing for a model in closed form."""
    if not training["history"]:
        return []
    return ["<h2>How it learned</h2>", card(as_svg(learning_curve(training["history"], training["best_epoch"])))]


def start(warm: Mapping[str, Any] | None) -> dict[str, str]:
    """Warm from which version, or cold and why; nothing where warm starts are not asked for."""
    if warm is None:
        return {}
    if "cold_because" in warm:
        return {"start": f"cold: {warm['cold_because']}"}
    nights = f"night {warm['nights']} since a cold fit"
    new = f"{warm['new_users']:,} new users and {warm['new_items']:,} new items begin as in a cold one"
    return {"start": f"warm, from version {warm['from_version']}: {nights}; {new}"}


def _fitted_on(result: Mapping[str, Any], training: Mapping[str, Any]) -> dict[str, str]:
    judged = "training and validation rows" if training["refitted"] else "training rows"
    if not result["on_everything"]:
        return {"fitted on": judged}
    return {"judged as fitted on": judged, "goes out fitted on": "everything, test rows included"}


def _settings(config: Mapping[str, Any]) -> dict[str, str]:
    """A line for each field; a list of configurations gets a line for each of them."""
    shown: dict[str, str] = {}
    for name, value in config.items():
        if isinstance(value, list) and any(isinstance(one, dict) for one in value):
            shown |= {f"{name} {number}": in_words(one) for number, one in enumerate(value, 1)}
        elif name != "name" and value is not None:
            shown[name] = in_words(value)
    return shown
