"""BERT: the encoder of a transformer, first trained to tell hidden tokens, then to classify.

Devlin, Chang, Lee, Toutanova, "BERT: pre-training of deep bidirectional transformers for language understanding", NAACL
2019, section 3. Letters: B batch, T steps, W width, O outputs.

    x = embedding of the token + of its position, with a token [CLS] (<begin>) put before the text
    x = x + attention(norm(x))                to all of the text, in each of `depth` blocks
    x = x + dense(norm(x))                    W → 4 W → W with GELU between
    logits = output(tanh(dense(norm(x))))     of [CLS] for a class; of the tokens where something is hidden, to tell it

With a width of 768, 12 blocks of 12 heads it is BERT-base. Departures: the norm stands before each part and once at
the end, not after the embeddings and each sum, which needs the paper's long warmup (Xiong et al., "On layer
normalization in the transformer architecture", ICML 2020); weights begin with the paper's standard deviation of 0.02 at
that width, in narrower networks with a larger one; no next-sentence task and so no embedding of two segments, which
later work found to be of no use (Liu et al., "RoBERTa", 2019); one dense layer before the output in both stages, where
the paper has GELU and a norm in the first; the output has a table of its own.

The second stage starts from the weights of the first below these two layers: `continue_from`. The paper keeps the dense
one, which its next-sentence task has trained at [CLS]; without that task it has seen hidden tokens alone, and begins
anew, as in RoBERTa.

The dial widens and deepens as the paper's table 6 and Turc et al., "Well-read students learn better", 2019 do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from orchestrator.errors import UserError
from orchestrator.models.attention import Attention
from orchestrator.models.checks import check_dropout, found
from orchestrator.models.diagnostics import Notes
from orchestrator.models.positions import Added
from orchestrator.tokens import BEGIN, PADDING, Tokens

PAPER = "Devlin, Chang, Lee, Toutanova: BERT, pre-training of deep bidirectional transformers, NAACL 2019"

SIZES: Mapping[str, Mapping[str, int]] = {
    "xs": {"width": 32, "depth": 2, "heads": 2},
    "s": {"width": 64, "depth": 2, "heads": 4},
    "m": {"width": 96, "depth": 3, "heads": 6},
    "l": {"width": 128, "depth": 4, "heads": 8},
    "xl": {"width": 192, "depth": 6, "heads": 12},
}

HEAD = ("dense.", "output.")  # names of weights that each stage has its own of


@dataclass(frozen=True)
class Config:
    """dropout: of the embeddings, of attention's weights and of what each part adds (appendix A.2), and before the
    output, as in the authors' classifier."""

    width: int
    depth: int
    heads: int
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_dropout(self.dropout)


class Block(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        width = config.width
        self.attention = Attention(width, config.heads, config.dropout, causal=False, rotation=None)
        self.attention_norm = nn.LayerNorm(width, eps=1e-12)
        self.dense = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.dense_norm = nn.LayerNorm(width, eps=1e-12)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, steps: Tensor, own: Tensor) -> Tensor:
        """[B, T, W] → [B, T, W]; own: [B, T], True where there is no padding."""
        steps = steps + self.dropout(self.attention(self.attention_norm(steps), own=own))
        result: Tensor = steps + self.dropout(self.dense(self.dense_norm(steps)))
        return result


class BERT(nn.Module):
    notes: Notes | None = None

    def __init__(self, config: Config, longest: int, vocabulary: int, outputs: int) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.embedding = nn.Embedding(vocabulary, config.width)
        self.positions = Added("learned", longest + 1, config.width)
        self.norm = nn.LayerNorm(config.width, eps=1e-12)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.dense = nn.Linear(config.width, config.width)
        self.output = nn.Linear(config.width, outputs)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02 * math.sqrt(768 / config.width))
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, T] → [B, O]: logits of the text as a whole."""
        return self._head(self._steps(tokens)[:, 0])

    def at_places(self, tokens: Tensor, places: Tensor) -> Tensor:
        """[B, T], [B, P] → [B, P, O]: logits of what stands at these places, counted from 0; padding can't be asked."""
        steps = self._steps(tokens)
        return self._head(steps.gather(1, 1 + places[:, :, None].expand(-1, -1, steps.shape[2])))

    def _head(self, steps: Tensor) -> Tensor:
        logits: Tensor = self.output(self.dropout(self.dense(steps).tanh()))
        return logits

    def _steps(self, tokens: Tensor) -> Tensor:
        """[B, T] → [B, 1 + T, W]; without the steps that are padding in every row, on the CPU."""
        if tokens.device.type == "cpu":  # a GPU would have to be waited for, to look
            tokens = tokens[:, : int((tokens != PADDING).any(0).sum())]
        text = torch.cat([torch.full_like(tokens[:, :1], BEGIN), tokens], 1)
        own = text != PADDING
        if self.notes:
            self.notes.own = own
        steps = self.dropout(self.positions(self.embedding(text)))
        for block in self.blocks:
            steps = block(steps, own)
        normed: Tensor = self.norm(steps)
        return normed


def build(config: Config, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    if not isinstance(input_shape, Tokens):
        raise UserError(f"bert takes text (token ids), found {found(input_shape)}")
    if config.width % config.heads:
        raise UserError(f"bert: {config.heads} heads don't share a width of {config.width} evenly")
    return BERT(config, input_shape.time, input_shape.vocabulary, outputs)


def continue_from(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Give a network the weights of an earlier stage, all but the head's, which stay as they are.

    Raises:
        UserError: weights of another architecture, size or vocabulary.
    """
    body = {name: weight for name, weight in weights.items() if not name.startswith(HEAD)}
    own = {name: weight for name, weight in model.state_dict().items() if not name.startswith(HEAD)}
    for name in sorted({*body, *own}):
        if name not in body or name not in own or body[name].shape != own[name].shape:
            raise UserError(f"these weights are of another network: '{name}' is missing or of another shape in one")
    model.load_state_dict(body, strict=False)
