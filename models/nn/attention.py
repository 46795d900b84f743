"""Label-aware attention: of a user's interests, the mixture that a given item is compared with.

B rows, K interests, D vector length
"""

from math import inf

from torch import Tensor


def label_aware(interest_BKD: Tensor, target_BD: Tensor, power: float, unused_BK: Tensor | None = None) -> Tensor:
    """[B, D] sum over k of w_k^p v_k, with w = softmax(V e) and the powers normalised to sum to 1 again.

    That is softmax(p V e): p = 0 is the mean, and p = infinity takes the one interest that fits best, the first of
    equals. Li et al. (CIKM 2019, section 3.4) write softmax(pow(V e, p)); taken as it stands it overflows and forgets
    the sign, so the power is that of the normalised weights. Interests that are `unused` take no part; one of each row
    must be used."""
    product_BK = (interest_BKD @ target_BD[:, :, None])[:, :, 0]
    logit_BK = product_BK if power == inf else power * product_BK
    if unused_BK is not None:
        logit_BK = logit_BK.masked_fill(unused_BK, -inf)
    if power == inf:
        best_B11 = logit_BK.argmax(dim=1)[:, None, None]
        return interest_BKD.gather(1, best_B11.expand(-1, 1, interest_BKD.shape[2]))[:, 0]
    return (logit_BK.softmax(dim=1)[:, None] @ interest_BKD)[:, 0]
