"""GPT: the decoder of a transformer, trained to predict the next token.

Radford, Wu, Child, Luan, Amodei, Sutskever, "Language models are unsupervised multitask learners", 2019 (GPT-2),
section 2.3, after Radford, Narasimhan, Salimans, Sutskever, "Improving language understanding by generative
pre-training", 2018. Letters: B batch, T steps, W width, V vocabulary.

    x = embedding of the token + of its position
    x = x + attention(norm(x))          to itself and what is before it, in each of `depth` blocks
    x = x + dense(norm(x))              W → 4 W → W with GELU between
    logits = norm(x) · embeddingᵀ

Weights begin with the paper's standard deviation of 0.02 at its width of 768, in narrower networks with a larger one,
as queries and keys would be next to nothing there; those that add to the sum x begin smaller by √(2 depth), so that the
sum does not grow with it. With that width, 12 blocks of 12 heads, 1,024 positions and 50,257 tokens it is GPT-2 small.
Other positions than the paper's learned ones, and an output layer of its own (`tied: false`), are options.

The dial widens and deepens together, as Kaplan et al., "Scaling laws for neural language models", 2020 (figure 5)
found that the ratio of both hardly matters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from orchestrator.errors import UserError
from orchestrator.models.attention import Attention, Past
from orchestrator.models.checks import check_dropout
from orchestrator.models.diagnostics import Notes
from orchestrator.models.positions import Added, Positions, Rotation
from orchestrator.models.sequences import sequence_lengths
from orchestrator.tokens import PADDING, SPECIAL, Tokens

PAPER = "Radford, Wu, Child, Luan, Amodei, Sutskever: Language models are unsupervised multitask learners, 2019"

SIZES: Mapping[str, Mapping[str, int]] = {
    "xs": {"width": 32, "depth": 2, "heads": 2},
    "s": {"width": 64, "depth": 2, "heads": 4},
    "m": {"width": 96, "depth": 3, "heads": 6},
    "l": {"width": 128, "depth": 4, "heads": 8},
    "xl": {"width": 192, "depth": 6, "heads": 12},
}


@dataclass(frozen=True)
class Config:
    """dropout: of the embeddings, of attention's weights, and of what each block adds, all as in the paper of 2018."""

    width: int
    depth: int
    heads: int
    positions: Positions = "learned"
    tied: bool = True
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_dropout(self.dropout)


class Block(nn.Module):
    def __init__(self, config: Config, longest: int) -> None:
        super().__init__()
        width, rotary = config.width, config.positions == "rotary"
        rotation = Rotation(longest, width // config.heads) if rotary else None
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, config.heads, config.dropout, causal=True, rotation=rotation)
        self.dense_norm = nn.LayerNorm(width)
        self.dense = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU("tanh"), nn.Linear(4 * width, width))
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, steps: Tensor, past: Past | None = None) -> Tensor:
        """[B, T, W] → [B, T, W]"""
        steps = steps + self.dropout(self.attention(self.attention_norm(steps), past=past))
        result: Tensor = steps + self.dropout(self.dense(self.dense_norm(steps)))
        return result


class GPT(nn.Module):
    notes: Notes | None = None

    def __init__(self, config: Config, longest: int, vocabulary: int) -> None:
        super().__init__()
        self.longest = longest
        deviation = 0.02 * math.sqrt(768 / config.width)  # of the weights, and so of the tokens' embeddings
        self.embedding = nn.Embedding(vocabulary, config.width)
        self.positions = Added(config.positions, longest, config.width, scale=math.sqrt(2) * deviation)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config, longest) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width)
        self.output = nn.Linear(config.width, vocabulary, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=deviation)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        for name, weight in self.named_parameters():
            if name.endswith(("attention.output.weight", "dense.2.weight")):
                nn.init.normal_(weight, std=deviation / math.sqrt(2 * config.depth))
        if config.tied:
            self.output.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, T] → [B, V]: logits of what follows each row's last token."""
        last = sequence_lengths(tokens) - 1
        logits: Tensor = self.output(self._steps(tokens)[torch.arange(len(tokens), device=tokens.device), last])
        return logits

    def at_every_step(self, tokens: Tensor) -> Tensor:
        """[B, T] → [B, T, V]: at each step the logits of what follows."""
        logits: Tensor = self.output(self._steps(tokens))
        return logits

    def _steps(self, tokens: Tensor, past: list[Past] | None = None) -> Tensor:
        """[B, T] → [B, T, W]; with `past`, T more steps after those that it holds."""
        if self.notes:
            self.notes.own = tokens != PADDING
        steps = self.dropout(self.positions(self.embedding(tokens), past[0].steps if past else 0))
        for index, block in enumerate(self.blocks):
            steps = block(steps, past[index] if past else None)
        normed: Tensor = self.norm(steps)
        return normed

    @torch.inference_mode()
    def sample(
        self,
        prompt: Tensor,
        steps: int,
        *,
        temperature: float = 1.0,
        cached: bool = True,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Continue texts by `steps` tokens: [B, T] → [B, T + steps], in the model's present mode.

        What no text holds, such as padding, is not written either.

        temperature: divides the logits; 0 takes the most probable token. cached: keep keys and values of earlier
        steps, instead of computing them again for each token; the result is the same.

        Raises:
            UserError: an empty prompt, or one that would grow beyond the positions that the model has.
        """
        longest = prompt.shape[1] + steps
        if not prompt.shape[1] or longest - 1 > self.longest:
            raise UserError(f"this gpt reads 1 to {self.longest} tokens, found {prompt.shape[1]} and {steps} to add")
        text = prompt
        past = [Past() for _ in self.blocks] if cached else None
        for _ in range(steps):
            unread = text[:, past[0].steps :] if past else text
            logits = self.output(self._steps(unread, past)[:, -1])
            logits[:, : len(SPECIAL)] = -math.inf
            if temperature == 0:
                token = logits.argmax(1, keepdim=True)
            else:
                token = torch.multinomial((logits / temperature).softmax(1), 1, generator=generator)
            text = torch.cat([text, token], 1)
        return text


def build(config: Config, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    if not isinstance(input_shape, Tokens) or input_shape.vocabulary != outputs:
        shape = "×".join(map(str, input_shape))
        raise UserError(f"gpt takes text to continue (token ids), found inputs of {shape}")
    if config.width % config.heads or (config.positions == "rotary" and config.width // config.heads % 2):
        raise UserError(f"gpt: {config.heads} heads don't share a width of {config.width} evenly")
    return GPT(config, input_shape.time, input_shape.vocabulary)
