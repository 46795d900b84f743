"""What to type to see more of a night."""

import shlex
from collections.abc import Mapping
from html import escape
from typing import Any

from tasks.cards.page import card


def commands(result: Mapping[str, Any]) -> str:
    """Each with what it is for."""
    model, dataset = result["model"], result["dataset"]
    flags = [f"--model.{name}={value}" for name, value in model["config"].items() if value is not None]
    registered = [] if model["name"] == f"encore-{dataset}" else [f"--registered_model={model['name']}"]
    whose = [f"--ingest.name={dataset}", *registered]
    lists = shlex.join(["encore", "recommend", *whose])
    load = f'mlflow.pyfunc.load_model("models:/{model["name"]}/{model["version"]}")'
    entries = {
        "this model again; add the options of your data": shlex.join(["encore", "retrain", *flags]),
        "this version again, from what its night kept": shlex.join(
            ["encore", "reproduce", str(model["version"]), *whose]
        ),
        "the champion's lists again, or some users' only": f"{lists}\n{lists} --recommend.users=…",
        "what was champion when, and why": shlex.join(["encore", "history", *whose]),
        "every run side by side": "encore up",
        "this run's own lists, in the data folder": result["recommendations"],
        "this version from Python": f'{load}.predict(pd.DataFrame({{"user_id": ["…"]}}), params={{"k": 10}})',
    }
    return card("".join(f"<pre><span># {escape(name)}</span>\n{escape(text)}</pre>" for name, text in entries.items()))
