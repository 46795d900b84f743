"""Commands as a person types them: what a refusal, an alarm or a page offers to be copied."""


def whose(dataset: str, name: str) -> str:
    """The options that say which registered model of which dataset is meant."""
    own = "" if name == f"encore-{dataset}" else f" --registered_model={name}"
    return f"--ingest.name={dataset}{own}"


def promote_command(dataset: str, name: str, version: str) -> str:
    """Lets a version out."""
    return f"encore promote {version} {whose(dataset, name)} --reason=..."


def freeze_command(dataset: str, name: str) -> str:
    """Lets no night change the champion."""
    return f"encore freeze {whose(dataset, name)} --reason=..."


def lift_command(dataset: str, name: str) -> str:
    """Ends a freeze."""
    return f"encore freeze {whose(dataset, name)} --lift"
