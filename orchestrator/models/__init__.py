"""Families of networks: one file an architecture, pure torch, and one table.

Adding a family: its file (paper, `Config`, `SIZES`, `build`), a line here, `search_spaces/<name>.yaml`, and
`tests/models/test_<name>.py` for what is special to it. `tests/models/test_conformance.py` checks the rest, and other
tests name what is still to be said of it: README.md, "Add a family".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from torch import Tensor, nn

from orchestrator.graphs import Graphs
from orchestrator.models import (
    alexnet,
    bert,
    diffusion,
    efficientnet,
    gan,
    gnn,
    gpt,
    gru,
    inception,
    lenet,
    lstm,
    mlp,
    perceptron,
    resnet,
    rnn,
    seq2seq,
    transformer,
    unet,
    vae,
    vgg,
    vit,
)
from orchestrator.tokens import Tokens
from orchestrator.windows import Windows

# Optional extra → the library that a family then has.
EXTRAS: Mapping[str, str] = {"graphs": "torch_geometric"}


@dataclass(frozen=True, eq=False)
class Family:
    """An architecture with a size dial.

    `config` is a frozen dataclass; `sizes[size]` sets some of its fields, a search space may set the others.
    `tasks` are the learning problems that it can do, each with a small input shape, which the tests use.
    `build(config, input_shape, outputs)` makes the network from the global random state; it takes
    inputs [batch, *input_shape] and raises UserError for a shape that the architecture can't take.
    `extra` is the optional extra of this package that brings what the family needs beside torch.
    `continue_from(network, weights)`, of a family that learns in two stages, gives a network the weights (a state) that
    another task has left, all but those of the head; UserError for weights of another network.
    """

    config: type[Any]
    build: Callable[[Any, tuple[int, ...], int], nn.Module]
    sizes: Mapping[str, Mapping[str, Any]]
    tasks: Mapping[str, tuple[int, ...]]
    paper: str
    extra: str = ""
    continue_from: Callable[[nn.Module, Mapping[str, Tensor]], None] | None = None

    def installed(self) -> bool:
        """Whether what its extra brings is here."""
        return not self.extra or find_spec(EXTRAS[self.extra]) is not None


_ANY: Mapping[str, tuple[int, ...]] = {"classification": (1, 8, 8), "regression": (10,)}
_IMAGES: Mapping[str, tuple[int, ...]] = {"classification": (1, 8, 8), "regression": (1, 8, 8)}
_SEQUENCES: Mapping[str, tuple[int, ...]] = {
    "classification": (12, 5),
    "regression": Windows(time=48, channels=3),
    "language_modelling": Tokens(time=12, vocabulary=10),
}
_TEXT: Mapping[str, tuple[int, ...]] = {"language_modelling": Tokens(time=12, vocabulary=10)}
_PAIRS: Mapping[str, tuple[int, ...]] = {"transduction": Tokens(time=6, vocabulary=12)}
_STAGES: Mapping[str, tuple[int, ...]] = {
    "classification": Tokens(time=12, vocabulary=10),
    "masked_language_modelling": Tokens(time=12, vocabulary=10),
}
_GENERATED: Mapping[str, tuple[int, ...]] = {"generation": (1, 8, 8), "anomaly_detection": (10,)}
_MASKED: Mapping[str, tuple[int, ...]] = {"segmentation": (1, 16, 16)}
_RING = Graphs(nodes=6, codes=3, neighbours=2, vocabulary=20, mean_nodes=6, mean_links=12)
_GRAPHS: Mapping[str, tuple[int, ...]] = {
    "node_classification": _RING._replace(each_node=True),
    "regression": _RING,
    "multilabel": _RING,
}
_PLAYED: Mapping[str, tuple[int, ...]] = {"adversarial_generation": (1, 8, 8)}
_DENOISED: Mapping[str, tuple[int, ...]] = {"denoising": (1, 8, 8)}

FAMILIES: Mapping[str, Family] = {
    "perceptron": Family(perceptron.Config, perceptron.build, perceptron.SIZES, _ANY, perceptron.PAPER),
    "mlp": Family(mlp.Config, mlp.build, mlp.SIZES, _ANY, mlp.PAPER),
    "lenet": Family(lenet.Config, lenet.build, lenet.SIZES, _IMAGES, lenet.PAPER),
    "alexnet": Family(alexnet.Config, alexnet.build, alexnet.SIZES, _IMAGES, alexnet.PAPER),
    "vgg": Family(vgg.Config, vgg.build, vgg.SIZES, _IMAGES, vgg.PAPER),
    "resnet": Family(resnet.Config, resnet.build, resnet.SIZES, _IMAGES, resnet.PAPER),
    "inception": Family(inception.Config, inception.build, inception.SIZES, _IMAGES, inception.PAPER),
    "efficientnet": Family(efficientnet.Config, efficientnet.build, efficientnet.SIZES, _IMAGES, efficientnet.PAPER),
    "vit": Family(vit.Config, vit.build, vit.SIZES, _IMAGES, vit.PAPER),
    "unet": Family(unet.Config, unet.build, unet.SIZES, _MASKED, unet.PAPER),
    "gnn": Family(gnn.Config, gnn.build, gnn.SIZES, _GRAPHS, gnn.PAPER, extra="graphs"),
    "rnn": Family(rnn.Config, rnn.build, rnn.SIZES, _SEQUENCES, rnn.PAPER),
    "lstm": Family(lstm.Config, lstm.build, lstm.SIZES, _SEQUENCES, lstm.PAPER),
    "gru": Family(gru.Config, gru.build, gru.SIZES, _SEQUENCES, gru.PAPER),
    "gpt": Family(gpt.Config, gpt.build, gpt.SIZES, _TEXT, gpt.PAPER),
    "seq2seq": Family(seq2seq.Config, seq2seq.build, seq2seq.SIZES, _PAIRS, seq2seq.PAPER),
    "transformer": Family(transformer.Config, transformer.build, transformer.SIZES, _PAIRS, transformer.PAPER),
    "bert": Family(bert.Config, bert.build, bert.SIZES, _STAGES, bert.PAPER, continue_from=bert.continue_from),
    "vae": Family(vae.Config, vae.build, vae.SIZES, _GENERATED, vae.PAPER),
    "gan": Family(gan.Config, gan.build, gan.SIZES, _PLAYED, gan.PAPER),
    "diffusion": Family(diffusion.Config, diffusion.build, diffusion.SIZES, _DENOISED, diffusion.PAPER),
}
