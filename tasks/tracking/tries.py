"""How often a configuration has been judged beside the same champion: each further try has to show more."""

from mlflow.exceptions import MlflowException

from tasks.store.refs import ChampionRef
from tasks.tracking.runs import connect, unreachable


def count_tries(tracking_uri: str, champion: ChampionRef, configuration: str, judged_key: str) -> int:
    """Tonight's included, whose fit has this key. Raises RunFailed where MLflow is out of reach.

    Every judged version counts, whatever became of it: one that waits for approval, or met a freeze, was a try too.
    The same fit judged again is none, for it has no other luck: a night that was cut short, and run once more."""
    client, token, fits = connect(tracking_uri), None, {judged_key}
    wanted = f"name = '{champion.name}' and tags.configuration = '{configuration}'"
    while True:
        try:
            page = client.search_model_versions(wanted, page_token=token)
        except MlflowException as error:
            raise unreachable(error) from error
        beside = [version for version in page if version.tags.get("champion") == champion.version]
        fits |= {version.tags.get("judged_key", f"version {version.version}") for version in beside}
        if not (token := page.token):
            return len(fits)
