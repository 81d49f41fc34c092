"""Token ids: the five that every vocabulary begins with, and the shape of a sample made of them."""

from typing import NamedTuple

SPECIAL = ("<padding>", "<unknown>", "<begin>", "<end>", "<mask>")
PADDING, UNKNOWN, BEGIN, END, MASK = range(5)


class Tokens(NamedTuple):
    """Input shape of samples [time] of ids below `vocabulary`; shorter ones end in PADDING.

    The arrays are [n, time]; written one-hot they would have this shape. Where a network is built, the type tells
    tokens from the numbers of a plain shape (time, features).
    """

    time: int
    vocabulary: int

    def __str__(self) -> str:
        return f"text of up to {self.time} tokens, of {self.vocabulary:,}"
