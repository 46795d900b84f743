"""The product of users' and items' vectors, which most scores are.

U users, I items, D vector length
"""

import torch
from torch import Tensor


def all_products(user_UD: Tensor, item_ID: Tensor) -> Tensor:
    """[U, I] each user's vector times each item's; without a gradient.

    On a CPU by NumPy: its OpenBLAS is twice as fast as torch's MKL on AMD processors for this shape."""
    user_UD, item_ID = user_UD.detach(), item_ID.detach()
    if user_UD.device.type != "cpu":
        return user_UD @ item_ID.T
    return torch.from_numpy(user_UD.numpy() @ item_ID.numpy().T)
