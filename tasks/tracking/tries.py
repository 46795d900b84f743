"""How often a configuration has been judged beside the same champion: each further try has to show more."""

from mlflow.exceptions import MlflowException

from tasks.store.refs import ChampionRef
from tasks.tracking.runs import connect, unreachable


def count_tries(tracking_uri: str, champion: ChampionRef, configuration: str) -> int:
    """Tonight's included. Raises RunFailed where MLflow is out of reach.

    Every judged version counts, whatever became of it: one that waits for approval, or met a freeze, was a try too."""
    client, token, found = connect(tracking_uri), None, 0
    wanted = f"name = '{champion.name}' and tags.configuration = '{configuration}'"
    while True:
        try:
            page = client.search_model_versions(wanted, page_token=token)
        except MlflowException as error:
            raise unreachable(error) from error
        found += sum(version.tags.get("champion") == champion.version for version in page)
        if not (token := page.token):
            return found + 1
