"""What several families check of their configuration and of the data's shape, each in one line for the user."""

from __future__ import annotations

from orchestrator.errors import UserError
from orchestrator.graphs import Graphs
from orchestrator.tokens import Tokens

LEAST = 8  # pixels an image must have on each side


def check_dropout(dropout: float) -> None:
    """
    Raises:
        UserError: no share of what may be left out.
    """
    if not 0 <= dropout < 1:
        raise UserError(f"dropout must be at least 0 and below 1, found {dropout}")


def check_images(family: str, input_shape: tuple[int, ...], others: str = "") -> None:
    """`others` is what the family takes beside images.

    Raises:
        UserError: another shape than channels × height × width, or a side of fewer than 8 pixels.
    """
    if len(input_shape) != 3 or min(input_shape[1:]) < LEAST:
        images = f"images [channels, height, width] of at least {LEAST}×{LEAST}"
        raise UserError(f"{family} takes {images}{others}, found {found(input_shape)}")


def check_numbers(family: str, input_shape: tuple[int, ...]) -> None:
    """
    Raises:
        UserError: text or graphs, whose numbers are names.
    """
    if isinstance(input_shape, Tokens | Graphs):
        raise UserError(f"{family} takes numbers, found {found(input_shape)}")


def found(input_shape: tuple[int, ...]) -> str:
    """What the data's samples are, for a message that refuses them."""
    if isinstance(input_shape, Tokens):
        return "text as token ids"
    return "graphs" if isinstance(input_shape, Graphs) else f"inputs of {'×'.join(map(str, input_shape))}"
