"""The shape of samples that are windows of a series, of which what follows is to be told."""

from typing import NamedTuple


class Windows(NamedTuple):
    """Input shape of samples [time, channels]: the steps before those to be told.

    Outputs are the steps after, the channels of each step beside one another. It is equal to the plain shape; where a
    network is built, the type tells a forecast from other numbers in a sequence.
    """

    time: int
    channels: int
