"""The product of users' and items' vectors, which most scores are.

U users, I items, D vector length
"""

import torch
from torch import Tensor


def all_products(user_UD: Tensor, item_ID: Tensor, bias_I: Tensor | None = None) -> Tensor:
    """[U, I] each user's vector times each item's, plus the item's bias; without a gradient.

    On a CPU by oneDNN where torch was built with it. On AMD processors its AVX-512 kernels do twice what torch's MKL
    or NumPy's OpenBLAS do, and it uses the pool of threads that the other kernels use, while OpenBLAS has one of its
    own, which fights with them for the cores. Its rounding is the same whoever else is in the block."""
    user_UD, item_ID = user_UD.detach(), item_ID.detach()
    bias_I = None if bias_I is None else bias_I.detach()
    if user_UD.device.type == "cpu" and user_UD.dtype == torch.float32 and torch._C._has_mkldnn:
        # One row alone would be multiplied as a vector, which rounds in another order.
        rows_UD = user_UD if len(user_UD) != 1 else user_UD.expand(2, -1).contiguous()
        score_UI: Tensor = torch.ops.mkldnn._linear_pointwise(rows_UD, item_ID, bias_I, "none", [], "")
        return score_UI[: len(user_UD)]
    score_UI = user_UD @ item_ID.T
    return score_UI if bias_I is None else score_UI.add_(bias_I)
