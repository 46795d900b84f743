"""What a model that reads sequences makes of the latest items of many users.

U users, B of them that are read together, L the longest history among these, D vector length
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..ragged import Ragged
from ..windows import latest

BLOCK_ITEMS = 2**13
"""Items that are read at a time, with their padding."""


def read(
    histories: Ragged, length: int, dim: int, padding: int, device: torch.device, contexts: Callable[[Tensor], Tensor]
) -> Tensor:
    """[U, D] what `contexts` ([B, L, D] from items [B, L]) says at each user's last item; zeros for who has none.

    At most the latest `length` items are shown. Users with histories of similar length are read together, so that there
    is little padding: it stands behind, as `padding`."""
    lengths_U = np.minimum(histories.lengths_U, length)
    order_U = np.argsort(lengths_U, kind="stable")[::-1]
    order_U = order_U[lengths_U[order_U] > 0]
    row_UD = torch.zeros(len(histories), dim, device=device)
    start = 0
    while start < len(order_U):
        longest = int(lengths_U[order_U[start]])
        users_B = order_U[start : start + max(1, BLOCK_ITEMS // longest)]
        items_BL = torch.from_numpy(latest(histories.take(users_B), longest, padding, left=False))
        last_B = torch.from_numpy(lengths_U[users_B] - 1).to(device)
        row_BLD = contexts(items_BL.to(device))
        row_UD[torch.from_numpy(users_B.copy()).to(device)] = row_BLD[torch.arange(len(users_B), device=device), last_B]
        start += len(users_B)
    return row_UD


def with_bias(row_BD: Tensor, item_ID: Tensor, bias_I: Tensor) -> tuple[Tensor, Tensor]:
    """The same with one more column each, by which the item's bias is added to the product."""
    ones_B1 = torch.ones(len(row_BD), 1, dtype=row_BD.dtype, device=row_BD.device)
    return torch.cat([row_BD, ones_B1], dim=1), torch.cat([item_ID, bias_I[:, None]], dim=1)
