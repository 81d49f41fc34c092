"""What a network makes, to be looked at.

    generation            `sheet`           8×8 images
    language_modelling    `texts`           that gpt has written, its keys cached
    transduction          `attention_map`   where seq2seq looks while it writes for a source of one's own

Always the same for the same weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from orchestrator.errors import UserError
from orchestrator.tokens import BEGIN, END, SPECIAL

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

SIDE, GAP = 8, 2  # images on each side of the sheet, and pixels between them
WRITTEN = 4  # texts
CELL, LABEL, FONT = 24, 72, 13  # of a map, in pixels


def sheet(network: nn.Module) -> np.ndarray[Any, Any]:
    """8×8 generated images as one, with white lines between: [height, width, 1 or 3] uint8."""
    import torch
    from torch.nn import functional

    with torch.random.fork_rng([]), torch.inference_mode():
        torch.manual_seed(0)
        images: Tensor = network.eval().generate(SIDE**2)  # type: ignore[operator]
    if images.shape[1] != 3:
        images = images.mean(1, keepdim=True)
    framed = functional.pad(images.clamp(0, 1), (0, GAP, 0, GAP), value=1.0)
    rows = framed.reshape(SIDE, SIDE, *framed.shape[1:]).permute(0, 3, 1, 4, 2)
    whole: np.ndarray[Any, Any] = (255 * rows.flatten(2, 3).flatten(0, 1)).round().byte().numpy()
    return whole[:-GAP, :-GAP]


def texts(network: nn.Module, card: Mapping[str, Any]) -> str:
    """Four texts, each as long as the network reads, from the start of a line on, or from the first token there is."""
    import torch

    vocabulary = card["vocabulary"]
    first = vocabulary.index("\n") if "\n" in vocabulary else len(SPECIAL)
    begun, steps = torch.full((WRITTEN, 1), first), card["input_shape"][0] - 1
    written = network.eval().sample(begun, steps, generator=torch.Generator().manual_seed(0))  # type: ignore[operator]
    return "\n\n----\n\n".join("".join(vocabulary[token] for token in row).strip("\n") for row in written.tolist())


def attention_map(network: nn.Module, card: Mapping[str, Any], source: Sequence[str]) -> str:
    """An SVG: a row for each token that the network writes for `source`, the darker the more it looks there.

    source: tokens of the data's vocabulary, a word's letters, say. card: the data's, as in `card.json`.

    Raises:
        UserError: a network that does not tell where it looks, or a source that is empty, too long or of other tokens.
    """
    import torch

    if not hasattr(network, "attention"):
        raise UserError("this network doesn't tell where it looks; seq2seq does")
    vocabulary, longest = card["vocabulary"], card["input_shape"][0]
    unknown = [token for token in source if token not in vocabulary]
    if unknown or not 1 <= len(source) <= longest:
        found = f"{unknown[0]!r}" if unknown else f"{len(source)} tokens"
        raise UserError(f"a source has 1 to {longest} tokens of {card['name']}'s vocabulary, found {found}")
    inputs = torch.tensor([[vocabulary.index(token) for token in source]])
    with torch.inference_mode():
        said = network.eval().greedy(inputs, longest + 1)[0]  # type: ignore[operator]
        said = said[: int((said == END).long().argmax()) + 1] if bool((said == END).any()) else said
        before = torch.cat([torch.tensor([BEGIN]), said[:-1]])
        weights: Tensor = network.attention(inputs, before[None])[0]  # type: ignore[operator]
    return _grid(weights.tolist(), [card["target_vocabulary"][token] for token in said.tolist()], source)


def _grid(shares: Sequence[Sequence[float]], rows: Sequence[str], columns: Sequence[str]) -> str:
    """Shares of 0 to 1 as squares of that opacity, with a title to each."""
    width, height = LABEL + CELL * len(columns), CELL * (len(rows) + 1)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        f' font-family="sans-serif" font-size="{FONT}">'
        f'<rect width="{width}" height="{height}" fill="white"/>'
    ]
    for column, label in enumerate(columns):
        x = LABEL + CELL * (column + 0.5)
        parts.append(f'<text x="{x}" y="{CELL * 0.7}" text-anchor="middle">{escape(label)}</text>')
    for row, (label, line) in enumerate(zip(rows, shares, strict=True)):
        y = CELL * (row + 1)
        parts.append(f'<text x="{LABEL - 6}" y="{y + CELL * 0.7}" text-anchor="end">{escape(label)}</text>')
        for column, share in enumerate(line):
            parts.append(
                f'<rect x="{LABEL + CELL * column}" y="{y}" width="{CELL}" height="{CELL}" fill="#1f4e79"'
                f' fill-opacity="{share:.3f}" stroke="#ddd"><title>{share:.3f}</title></rect>'
            )
    return "\n".join([*parts, "</svg>\n"])
