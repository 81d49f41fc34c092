"""What rnn, lstm and gru share: all but the cell.

Letters: B batch, T steps, F features of a step, S segment, W width, D directions (1 or 2), O outputs, V vocabulary.

    tokens [B, T] → embedding                numbers [B, T, F] as they are, or `segment` steps as one, S × F wide
    layers of torch's own cells, each over the outputs of the one before, D × W wide
    pooling over the steps → linear → [B, O]; for a language model the linear layer at every step → [B, T, O]

A forecast, of windows of a series, is relative to the last step (`forecasts.py`). What a state would have to carry over
a hundred hours it carries over four days, if a day is read at once (Lin and others, "SegRNN: segment recurrent neural
network for long-term time series forecasting", 2023).

Rows of different length are exact: a row's outputs are the same alone and in a padded batch. Padding is at the end,
tokens of id 0 or steps of zeros throughout. Dropout is on the connections that are not recurrent: after the
embedding, between layers and before the output (Zaremba, Sutskever, Vinyals, "Recurrent neural network
regularization", 2014).

A network that reads backwards too has a state of its own for that (Schuster, Paliwal, "Bidirectional recurrent neural
networks", IEEE Transactions on Signal Processing 45(11), 1997); it can't be a language model, as it has seen what it
is to predict.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from orchestrator.errors import UserError
from orchestrator.models.checks import found
from orchestrator.models.forecasts import from_last_step
from orchestrator.models.sequences import last_states, sequence_lengths
from orchestrator.tokens import PADDING, Tokens
from orchestrator.windows import Windows

Pooling = Literal["last", "mean", "max"]


class Recurrent(nn.Module):
    # torch's counter can't see into the kernels of recurrent layers; on the meta device there is a path that it can.
    counted_on_meta: ClassVar[bool] = True

    def __init__(
        self,
        cells: nn.RNNBase,
        input_shape: tuple[int, ...],
        outputs: int,
        dropout: float,
        pooling: Pooling,
        segment: int,
    ) -> None:
        super().__init__()
        if isinstance(input_shape, Tokens):
            self.embedding = nn.Embedding(input_shape.vocabulary, cells.input_size, padding_idx=PADDING)
        self.cells = cells
        self.pooling, self.segment = pooling, segment
        self.forecasts = isinstance(input_shape, Windows)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(cells.hidden_size * (2 if cells.bidirectional else 1), outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """[B, T] or [B, T, F] → [B, O]: logits, or predicted values."""
        return from_last_step(self._told, inputs) if self.forecasts else self._told(inputs)

    def at_every_step(self, inputs: Tensor) -> Tensor:
        """[B, T] → [B, T, O]: at each step the logits of what follows.

        Raises:
            UserError: a bidirectional network, which has seen what follows.
        """
        if self.cells.bidirectional:
            raise UserError("a network that also reads backwards has seen the next token: set bidirectional: false")
        states, _ = self._states(inputs)
        outputs: Tensor = self.output(self.dropout(states))
        return outputs

    def _told(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.output(self.dropout(self._pooled(*self._states(inputs))))
        return outputs

    def _states(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """[B, T] or [B, T, F] → states of the last layer [B, T / S, D × W], zeros in the padding; lengths [B]."""
        if self.forecasts:  # a series has no padding, and its last step is now zero
            lengths = torch.full(inputs.shape[:1], inputs.shape[1], device=inputs.device)
        else:
            lengths = sequence_lengths(inputs)
        features = self.dropout(self.embedding(inputs)) if inputs.ndim == 2 else in_segments(inputs, self.segment)
        lengths = (lengths + self.segment - 1) // self.segment
        return run(self.cells, features, lengths), lengths

    def _pooled(self, states: Tensor, lengths: Tensor) -> Tensor:
        """[B, T, D × W] → [B, D × W]: each direction's last state, or the mean or maximum over the row's own steps."""
        if self.pooling == "last":
            return last_states(states, lengths, self.cells.hidden_size)
        if self.pooling == "mean":
            return states.sum(1) / lengths[:, None]
        after = torch.arange(states.shape[1], device=states.device) >= lengths[:, None]
        return states.masked_fill(after[:, :, None], -torch.inf).amax(1)


def in_segments(inputs: Tensor, segment: int) -> Tensor:
    """[B, T, F] → [B, T / S, S × F]: steps side by side, zeros after the last where they don't come out even."""
    if segment == 1:
        return inputs
    whole = functional.pad(inputs, (0, 0, 0, -inputs.shape[1] % segment))
    return whole.reshape(len(inputs), -1, segment * inputs.shape[2])


def run(cells: nn.RNNBase, features: Tensor, lengths: Tensor) -> Tensor:
    """[B, T, F] and lengths [B] → states of the last layer [B, T, D × W], zeros in the padding."""
    if features.is_meta:
        return countable(cells, features)
    steps, known = features.shape[1], lengths.cpu()  # where packing needs them
    if int(known.min()) == steps:
        states: Tensor = cells(features)[0]
        return states
    packed = pack_padded_sequence(features, known, batch_first=True, enforce_sorted=False)
    return pad_packed_sequence(cells(packed)[0], batch_first=True, total_length=steps)[0]


def countable(cells: nn.RNNBase, features: Tensor) -> Tensor:
    """Products of the sizes that the cells make, all steps of a layer at once: for counting, nothing else."""
    for layer in range(cells.num_layers):
        directions = []
        for suffix in ("", "_reverse")[: 2 if cells.bidirectional else 1]:
            from_input = getattr(cells, f"weight_ih_l{layer}{suffix}")
            from_state = getattr(cells, f"weight_hh_l{layer}{suffix}")
            states = nn.functional.linear(features, from_input)[..., : cells.hidden_size]
            directions.append(nn.functional.linear(states, from_state)[..., : cells.hidden_size])
        features = torch.cat(directions, -1)
    return features


def features_of(family: str, input_shape: tuple[int, ...], width: int, segment: int) -> int:
    """What a step brings to the first layer: an embedding as wide as the layers, or the features of a segment.

    Raises:
        UserError: a shape that is no sequence, or text in segments.
    """
    if isinstance(input_shape, Tokens):
        if segment > 1:
            raise UserError(f"{family} reads text token by token: set segment: 1, found {segment}")
        return width
    if len(input_shape) != 2:
        raise UserError(f"{family} takes sequences [time, features] or text, found {found(input_shape)}")
    return segment * input_shape[1]


def check_segment(segment: int) -> None:
    if segment < 1:
        raise UserError(f"segment must be 1 or more, found {segment}")
