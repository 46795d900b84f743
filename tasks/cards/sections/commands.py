"""What to type to see more of a night."""

import shlex
from collections.abc import Mapping
from html import escape
from typing import Any

from tasks.cards.page import card


def commands(result: Mapping[str, Any]) -> str:
    """Each with what it is for."""
    model = result["model"]
    flags = [f"--model.{name}={value}" for name, value in model["config"].items() if value is not None]
    own = whose(result)
    lists = shlex.join(["encore", "recommend", *own])
    load = f'mlflow.pyfunc.load_model("models:/{model["name"]}/{model["version"]}")'
    entries = {
        "this model again; add the options of your data": shlex.join(["encore", "retrain", *flags]),
        "this version again, from what its night kept": shlex.join(
            ["encore", "reproduce", str(model["version"]), *own]
        ),
        "the champion's lists again, or some users' only": f"{lists}\n{lists} --recommend.users=…",
        "what was champion when, and why": shlex.join(["encore", "history", *own]),
        "every run side by side": "encore up",
        "this run's own lists, in the data folder": result["recommendations"],
        "this version from Python": f'{load}.predict(pd.DataFrame({{"user_id": ["…"]}}), params={{"k": 10}})',
    }
    return card("".join(f"<pre><span># {escape(name)}</span>\n{escape(text)}</pre>" for name, text in entries.items()))


def whose(result: Mapping[str, Any]) -> list[str]:
    """The options that say which registered model of which dataset is meant."""
    name, dataset = result["model"]["name"], result["dataset"]
    registered = [] if name == f"encore-{dataset}" else [f"--registered_model={name}"]
    return [f"--ingest.name={dataset}", *registered]
