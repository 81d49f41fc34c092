from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from orchestrator.errors import UserError
from orchestrator.models import vit
from orchestrator.training.parameters import describe

SMALL = vit.Config(width=32, depth=2, heads=4)


def test_a_layer_is_torchs_own_with_the_normalization_first() -> None:
    ours = vit.Layer(SMALL)
    theirs = nn.TransformerEncoderLayer(
        32,
        4,
        dim_feedforward=128,
        dropout=0.0,
        activation="gelu",
        layer_norm_eps=1e-6,
        batch_first=True,
        norm_first=True,
    )
    pairs = [
        *((theirs.norm1, ours.attention_norm), (theirs.norm2, ours.mlp[0])),
        *((theirs.linear1, ours.mlp[1]), (theirs.linear2, ours.mlp[4])),
        (theirs.self_attn.out_proj, ours.attention.output),
    ]
    with torch.no_grad():
        for to, source in pairs:
            to.load_state_dict({name: torch.randn_like(value) for name, value in source.state_dict().items()})
            source.load_state_dict(to.state_dict())
        projections = (ours.attention.query, ours.attention.key_value)
        theirs.self_attn.in_proj_weight.copy_(torch.cat([each.weight for each in projections]))
        theirs.self_attn.in_proj_bias.copy_(torch.cat([each.bias.normal_() for each in projections]))
    tokens = torch.randn(3, 7, 32)
    torch.testing.assert_close(ours(tokens), theirs(tokens), rtol=1e-4, atol=1e-4)


def test_the_patch_embedding_is_one_dense_layer_for_all_patches() -> None:
    model = vit.ViT(SMALL, (3, 28, 28), 10)
    images = torch.randn(2, 3, 28, 28)
    # Each column of unfold is a patch: channels × rows × columns, flattened; from left to right, row by row.
    patches = functional.unfold(images, 4, stride=4).mT
    embedded = patches @ model.embedding.weight.flatten(1).T + model.embedding.bias
    tokens = model.tokens(images)
    torch.testing.assert_close(tokens[:, 1:], embedded + model.positions[:, 1:], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(tokens[:, 0], (model.class_token + model.positions[:, :1])[0].expand(2, -1))


@pytest.mark.parametrize(
    ("shape", "patch", "tokens"),
    [((1, 28, 28), 4, 50), ((1, 8, 8), 2, 17), ((3, 64, 64), 10, 50), ((1, 20, 31), 3, 1 + 7 * 11)],
)
def test_the_patch_size_follows_the_data(shape: tuple[int, ...], patch: int, tokens: int) -> None:
    model = vit.ViT(SMALL, shape, 10)
    assert model.embedding.kernel_size == model.embedding.stride == (patch, patch)
    assert model.tokens(torch.randn(2, *shape)).shape == (2, tokens, 32)


def test_every_pixel_counts_where_the_patch_does_not_divide_the_side() -> None:
    model = vit.ViT(vit.Config(width=16, depth=1, heads=2, patches_per_side=4), (1, 9, 10), 10)
    images = torch.randn(2, 1, 9, 10, requires_grad=True)
    (gradient,) = torch.autograd.grad(model(images).sum(), images)
    assert (gradient != 0).all()


def test_positions_are_embeddings() -> None:
    described = describe("vit", "xs", (1, 28, 28), 10)
    assert described.params - described.params_without_embeddings == (49 + 1) * 16


def test_without_positions_the_order_of_patches_is_lost() -> None:
    model = vit.ViT(SMALL, (1, 8, 8), 10).eval()
    images = torch.randn(2, 1, 8, 8)
    swapped = images.clone()
    swapped[..., :2, :2], swapped[..., 4:6, 2:4] = images[..., 4:6, 2:4], images[..., :2, :2]
    assert (model(images) - model(swapped)).abs().max() > 1e-4
    nn.init.zeros_(model.positions)
    torch.testing.assert_close(model(images), model(swapped), rtol=1e-4, atol=1e-5)


def test_dropout_follows_the_papers_appendix() -> None:
    layer = vit.Layer(vit.Config(32, 1, 4, dropout=0.1))
    # After the attention's projection and both dense layers of the MLP; not after queries, keys and values.
    assert sum(isinstance(module, nn.Dropout) for module in layer.modules()) == 3
    model, images = vit.ViT(vit.Config(32, 1, 4, dropout=0.1), (1, 8, 8), 10), torch.randn(2, 1, 8, 8)
    assert not torch.equal(model.train()(images), model(images))
    assert torch.equal(model.eval()(images), model(images))


@pytest.mark.parametrize("size", vit.SIZES)
def test_heads_are_16_wide(size: str) -> None:
    assert vit.SIZES[size]["width"] == 16 * vit.SIZES[size]["heads"]


def test_no_patch_at_all_is_refused() -> None:
    with pytest.raises(UserError, match="patches_per_side"):
        vit.Config(width=16, depth=1, heads=1, patches_per_side=0)


def test_operations_equal_a_count_by_hand() -> None:
    # Size xs: 3 layers, 16 wide; 28×28 is 49 patches of 4×4.
    tokens, width = 50, 16
    layer = tokens * 12 * width**2 + 2 * tokens**2 * width
    by_hand = 2 * 49 * 16 * width + 3 * (3 * layer + width * 10)
    assert describe("vit", "xs", (1, 28, 28), 10).flops_per_sample == 2 * by_hand
