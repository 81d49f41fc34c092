from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from orchestrator.errors import UserError
from orchestrator.models import transformer
from orchestrator.models.attention import Attention
from orchestrator.models.positions import sinusoids
from orchestrator.tokens import BEGIN, Tokens
from orchestrator.training.parameters import describe


def copy_attention(to: nn.MultiheadAttention, of: Any) -> None:
    to.in_proj_weight.data = torch.cat([of.query.weight, of.key_value.weight])
    to.in_proj_bias.data = torch.cat([of.query.bias, of.key_value.bias])
    to.out_proj.load_state_dict(of.output.state_dict())


def torchs_own(model: Any) -> nn.Transformer:
    """torch.nn.Transformer with the weights of ours."""
    own = nn.Transformer(12, 3, 2, 2, 48, dropout=0.0, batch_first=True, norm_first=True).eval()
    for theirs, ours in zip(own.encoder.layers, model.encoder.blocks, strict=True):
        copy_attention(theirs.self_attn, ours.attention)
        pairs = [("norm1", ours.attention_norm), ("norm2", ours.dense_norm)]
        for name, part in [*pairs, ("linear1", ours.dense[0]), ("linear2", ours.dense[2])]:
            getattr(theirs, name).load_state_dict(part.state_dict())
    for theirs, ours in zip(own.decoder.layers, model.decoder.blocks, strict=True):
        copy_attention(theirs.self_attn, ours.attention)
        copy_attention(theirs.multihead_attn, ours.source_attention)
        pairs = [("norm1", ours.attention_norm), ("norm2", ours.source_norm), ("norm3", ours.dense_norm)]
        for name, part in [*pairs, ("linear1", ours.dense[0]), ("linear2", ours.dense[2])]:
            getattr(theirs, name).load_state_dict(part.state_dict())
    own.encoder.norm.load_state_dict(model.encoder.norm.state_dict())  # type: ignore[union-attr]
    own.decoder.norm.load_state_dict(model.decoder.norm.state_dict())  # type: ignore[union-attr]
    return own


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
def test_it_is_torchs_own_transformer() -> None:
    torch.manual_seed(0)
    model: Any = transformer.build(transformer.Config(12, 2, 3), Tokens(7, 15), 18).eval()
    for parameter in model.parameters():
        parameter.data.add_(0.2 * torch.randn_like(parameter))
    own = torchs_own(model)
    sources, before = torch.randint(5, 15, (4, 7)), torch.randint(5, 18, (4, 6))
    sources[1, 4:] = 0

    def embedded(side: Any, tokens: Tensor) -> Tensor:
        return side.embedding(tokens) * 12**0.5 + sinusoids(tokens.shape[1], 12)

    padding = sources == 0
    steps = own(
        embedded(model.encoder, sources),
        embedded(model.decoder, before),
        tgt_mask=torch.ones(6, 6).triu(1).bool(),
        src_key_padding_mask=padding,
        memory_key_padding_mask=padding,
    )
    expected = steps @ model.decoder.embedding.weight.T
    assert torch.allclose(model.at_every_step(sources, before), expected, atol=1e-4)


def test_a_block_has_the_papers_number_of_parameters() -> None:
    model: Any = transformer.build(transformer.Config(512, 6, 8), Tokens(7, 15), 18)
    # Base of table 3: 4 × 512² an attention and 8 × 512² the dense layers, with biases, and a norm for each.
    attention, dense, norm = 4 * 512 * 513, 2 * 512 * 2048 + 2048 + 512, 2 * 512
    counted = [sum(p.numel() for p in side.blocks[0].parameters()) for side in (model.encoder, model.decoder)]
    assert counted == [attention + dense + 2 * norm, 2 * attention + dense + 3 * norm]
    blocks = sum(p.numel() for side in (model.encoder, model.decoder) for p in side.blocks.parameters())
    # The paper's 65 M have 37,000 tokens beside these, in one table.
    assert blocks + 37_000 * 512 == pytest.approx(65e6, rel=0.05)


def test_operations_equal_a_count_by_hand() -> None:
    # 6 source steps and 7 target steps, 24 wide, 2 blocks each, 10 outputs; the table is a product at the end alone.
    encoder = 6 * 12 * 24 * 24 + 2 * 6 * 6 * 24
    decoder = 7 * (4 + 2 + 8) * 24 * 24 + 2 * 7 * 7 * 24 + 6 * 2 * 24 * 24 + 2 * 7 * 6 * 24
    by_hand = 2 * 3 * (2 * (encoder + decoder) + 7 * 24 * 10)
    assert describe("transformer", "xs", Tokens(6, 12), 10).flops_per_sample == by_hand


def test_source_keys_are_computed_once_for_all_steps() -> None:
    model: Any = transformer.build(transformer.Config(12, 2, 3), Tokens(7, 15), 18).eval()
    calls: list[int] = []
    for block in model.decoder.blocks:
        block.source_attention.key_value.register_forward_hook(lambda *_: calls.append(1))
    model.greedy(torch.randint(5, 15, (4, 7)), 8)
    assert len(calls) == 2


def test_the_first_token_follows_begin() -> None:
    model: Any = transformer.build(transformer.Config(12, 2, 3), Tokens(7, 15), 18).eval()
    sources = torch.randint(5, 15, (4, 7))
    assert torch.equal(model(sources), model.at_every_step(sources, torch.full((4, 1), BEGIN))[:, 0])


@pytest.mark.parametrize("config", [transformer.Config(16, 1, 3), transformer.Config(9, 1, 3, positions="rotary")])
def test_heads_must_share_the_width(config: transformer.Config) -> None:
    with pytest.raises(UserError, match="don't share a width"):
        transformer.build(config, Tokens(9, 20), 20)


def test_dropout_is_where_the_paper_has_it_and_not_in_attentions_weights() -> None:
    model: Any = transformer.build(transformer.Config(12, 2, 3, dropout=0.5), Tokens(7, 15), 18).train()
    attentions = [module for module in model.modules() if isinstance(module, Attention)]
    assert len(attentions) == 2 + 2 * 2
    steps = torch.randn(4, 7, 12)
    for attention in attentions:
        assert torch.equal(attention(steps), attention(steps))
    places = [module.p for module in model.modules() if isinstance(module, nn.Dropout)]
    assert places and set(places) == {0.5}
