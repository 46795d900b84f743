"""Small data whose right answer is known.

U users, R rows
"""

import numpy as np

from models.base import Query, Ragged, TrainingData


def two_communities(n_users: int = 120, n_items: int = 60) -> tuple[TrainingData, Ragged]:
    """Even users like even items, odd users odd ones; each user has seen all items of their kind but one.

    Returns the data and each user's hidden item: of all unseen items the one that a good model ranks first."""
    users, items = np.meshgrid(np.arange(n_users), np.arange(n_items), indexing="ij")
    liked = (users % 2) == (items % 2)
    hidden_U = (2 * np.arange(n_users) // 2 * 2 + np.arange(n_users) % 2) % n_items
    hidden = liked & (items == hidden_U[:, None])
    histories = Ragged.from_pairs(users[liked & ~hidden], items[liked & ~hidden], n_users)
    return TrainingData(n_items, histories), Ragged.from_pairs(users[hidden], items[hidden], n_users)


def random_log(n_users: int, n_items: int, n_rows: int, seed: int) -> TrainingData:
    """Rows drawn uniformly, repeats included."""
    rng = np.random.default_rng(seed)
    users_R, items_R = rng.integers(n_users, size=n_rows), rng.integers(n_items, size=n_rows)
    return TrainingData(n_items, Ragged.from_pairs(users_R, items_R, n_users))


def query_of(data: TrainingData) -> Query:
    """All users of the data with the histories that were fitted."""
    return Query(np.arange(data.n_users), data.histories)
