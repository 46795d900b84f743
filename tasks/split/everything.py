"""Nothing is held out: for the model that goes out once it has been judged."""

import numpy as np

from tasks.split.parts import Block, Part, PartArray

EVERYTHING = "everything"
"""The protocol's name. It is not one to choose: a model of such a split cannot be judged."""


def everything(block: Block) -> PartArray:
    """[R] part of each row: all train."""
    return np.full(len(block), Part.TRAIN, dtype=np.int8)
