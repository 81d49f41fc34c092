"""Sequence to sequence: a recurrent encoder reads, a recurrent decoder writes and looks back by attention.

Bahdanau, Cho, Bengio, "Neural machine translation by jointly learning to align and translate", ICLR 2015, after
Sutskever, Vinyals, Le, "Sequence to sequence learning with neural networks", NeurIPS 2014. Letters: B batch, S source
steps, T target steps, W width, O outputs; h_j the encoder's states (both directions), s_t the decoder's.

    score  additive   vᵀ tanh(A s_t + U h_j)          of Bahdanau et al.
           dot        s_tᵀ U h_j                      of Luong, Pham, Manning, "Effective approaches to attention-based
                                                      neural machine translation", EMNLP 2015 (there "general")
    weights α_t = softmax over j, context c_t = Σ α_tj h_j
    logits  = V tanh(C [s_t; c_t])

Departures from the first paper: attention follows the decoder's cell and makes the output, as in the second, and is not
fed to the next one, so that all steps of training are one call of torch's own cells (GRU, as the first paper has, one
layer each). The decoder begins with what a linear layer makes of both directions' last states, not of the second's.

The dial doubles the width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from orchestrator.errors import UserError
from orchestrator.models.checks import check_dropout, found
from orchestrator.models.diagnostics import ROWS, Notes, attention_entropy
from orchestrator.models.recurrent import countable, run
from orchestrator.models.sequences import greedy, last_states, sequence_lengths
from orchestrator.tokens import BEGIN, PADDING, Tokens

PAPER = "Bahdanau, Cho, Bengio: Neural machine translation by jointly learning to align and translate, ICLR 2015"

SIZES: Mapping[str, Mapping[str, int]] = {
    "xs": {"width": 24},
    "s": {"width": 48},
    "m": {"width": 96},
    "l": {"width": 192},
    "xl": {"width": 384},
}


@dataclass(frozen=True)
class Config:
    """dropout: of the embeddings and before the output, the connections that are not recurrent."""

    width: int
    score: Literal["additive", "dot"] = "additive"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_dropout(self.dropout)


class Seq2Seq(nn.Module):
    notes: Notes | None = None
    # torch's counter can't see into the kernels of recurrent layers.
    counted_on_meta: ClassVar[bool] = True

    def __init__(self, config: Config, vocabulary: int, outputs: int) -> None:
        super().__init__()
        width = config.width
        self.score = config.score
        self.dropout = nn.Dropout(config.dropout)
        self.source_embedding = nn.Embedding(vocabulary, width, padding_idx=PADDING)
        self.encoder = nn.GRU(width, width, batch_first=True, bidirectional=True)
        self.first = nn.Linear(2 * width, width)
        self.target_embedding = nn.Embedding(outputs, width, padding_idx=PADDING)
        self.decoder = nn.GRU(width, width, batch_first=True)
        # U. A bias would be in all products of a step alike, which the softmax takes off again.
        self.key = nn.Linear(2 * width, width, bias=config.score == "additive")
        if config.score == "additive":
            self.query = nn.Linear(width, width, bias=False)  # A
            self.weight = nn.Linear(width, 1, bias=False)  # v
        self.combine = nn.Linear(3 * width, width)  # C
        self.output = nn.Linear(width, outputs)  # V

    def forward(self, inputs: Tensor) -> Tensor:
        """[B, S] → [B, O]: logits of the first token to be written."""
        return self.at_every_step(inputs, torch.full_like(inputs[:, :1], BEGIN))[:, 0]

    def at_every_step(self, inputs: Tensor, before: Tensor) -> Tensor:
        """[B, S], [B, T] → [B, T, O]: logits of what follows each of the tokens `before`."""
        read, state = self._read(inputs)
        logits, weights = self._write(self._states(before, state)[0], read, inputs)
        if self.notes:
            visible, own = (tokens[:ROWS] != PADDING for tokens in (inputs, before))
            value = partial(attention_entropy, weights[:ROWS, None], visible[:, None, None], own)
            self.notes.add("attention_entropy", self, value)
        return logits

    def attention(self, inputs: Tensor, before: Tensor) -> Tensor:
        """[B, S], [B, T] → [B, T, S]: where the decoder looks at each step; each row sums to 1."""
        read, state = self._read(inputs)
        return self._write(self._states(before, state)[0], read, inputs)[1]

    def greedy(self, inputs: Tensor, steps: int) -> Tensor:
        """[B, S] → [B, steps]: at each step the most probable token, given those before it."""
        read, state = self._read(inputs)

        def after(token: Tensor) -> Tensor:
            nonlocal state
            states, state = self._states(token, state)
            return self._write(states, read, inputs)[0][:, 0]

        return greedy(after, len(inputs), steps, inputs.device)

    def _read(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """[B, S] → the encoder's states [B, S, 2 W], and the decoder's first state [B, W]."""
        lengths = sequence_lengths(inputs)
        read = run(self.encoder, self.dropout(self.source_embedding(inputs)), lengths)
        return read, self.first(last_states(read, lengths, self.encoder.hidden_size)).tanh()

    def _states(self, tokens: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """[B, T] and the state before [B, W] → states [B, T, W] and the last of them [B, W]."""
        embedded = self.dropout(self.target_embedding(tokens))
        if tokens.is_meta:
            states = countable(self.decoder, embedded) + state[:, None]
        else:
            states, _ = self.decoder(embedded, state[None])
        return states, states[:, -1]

    def _write(self, states: Tensor, read: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """States [B, T, W] of the decoder and [B, S, 2 W] of the encoder → logits [B, T, O], weights [B, T, S]."""
        keys = self.key(read)
        if self.score == "additive":
            together = self.query(states)[:, :, None] + keys[:, None]
            scores = self.weight(together.tanh())[..., 0]
        else:
            scores = states @ keys.transpose(1, 2)
        weights = scores.masked_fill((inputs == PADDING)[:, None], -torch.inf).softmax(2)
        combined = self.combine(torch.cat([states, weights @ read], 2)).tanh()
        return self.output(self.dropout(combined)), weights


def build(config: Config, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    if not isinstance(input_shape, Tokens):
        raise UserError(f"seq2seq takes text (token ids), found {found(input_shape)}")
    return Seq2Seq(config, input_shape.vocabulary, outputs)
