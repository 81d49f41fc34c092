"""Samples per second of `fit` against a loop written by hand, and against Lightning's Trainer where it is
installed.

    python benchmarks/training.py [--epochs 20] [--rows 4096] [--case NAME]...
    python benchmarks/training.py --families [--family NAME]...

All train the same network on the same tensors with the same batch size, optimizer and cosine schedule. They
take turns epoch by epoch, so that what else the machine does falls on all alike; a ratio is that of two
neighbouring epochs. The hand-written loop does the least that trains: no loss is read, nothing is checked,
nothing is validated. It is run with the optimizer as torch gives it by default, and with the fused one that
`fit` uses. There is one thread, and nothing is waited for, so it is CPU seconds that are counted: waiting
for other processes is not.

With --families: every family at size s on random data of the shape of a data set that it is for, as `fit` trains it
(Adam, which is fused), without validation. Samples per CPU second and CPU milliseconds a step over five passes; and
the share of the time that is not spent in torch's kernels (the operators `aten::…` themselves, as torch's profiler has
them) but in Python, in torch's bookkeeping for gradients and in the loop: median of three passes. Three minutes of CPU.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import os
import statistics
import time
import warnings
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from orchestrator.graphs import Graphs
from orchestrator.models import FAMILIES
from orchestrator.tasks import TASKS
from orchestrator.tokens import Tokens
from orchestrator.training import fit as training
from orchestrator.training.fit import Job, fit
from orchestrator.training.parameters import split_config
from orchestrator.windows import Windows


@dataclass(frozen=True)
class Case:
    family: str
    size: str
    input_shape: tuple[int, ...]
    batch_size: int
    optimizer: str
    gradient_clip: float = 0.0
    fused: bool = True

    def config(self) -> dict[str, Any]:
        return {
            "batch_size": self.batch_size,
            "optimizer": self.optimizer,
            "schedule": "cosine",
            "gradient_clip": self.gradient_clip,
            **({"momentum": 0.9} if self.optimizer == "sgd" else {}),
        }


CASES = {
    "mlp-s-32-sgd": Case("mlp", "s", (1, 8, 8), 32, "sgd"),
    "mlp-s-32-adamw": Case("mlp", "s", (1, 8, 8), 32, "adamw"),
    "mlp-m-64-adam-clip": Case("mlp", "m", (1, 8, 8), 64, "adam", gradient_clip=1.0),
    "mlp-xl-256-adam": Case("mlp", "xl", (1, 28, 28), 256, "adam"),
    "perceptron-m-64-rmsprop": Case("perceptron", "m", (1, 8, 8), 64, "rmsprop", fused=False),
    "lenet-m-64-adamw": Case("lenet", "m", (1, 8, 8), 64, "adamw"),
    "lenet-m-64-adamw-28": Case("lenet", "m", (1, 28, 28), 64, "adamw"),
}


@dataclass(frozen=True)
class Rows:
    inputs: Tensor
    targets: Tensor


@dataclass(frozen=True)
class Card:
    task: str
    input_shape: tuple[int, ...]
    outputs: int


@dataclass(frozen=True)
class Data:
    card: Card
    train: Rows
    validation: Rows
    test: Rows


def synthetic(case: Case, rows: int) -> Data:
    """Random numbers of the case's shape; the validation split is too small to matter."""
    inputs, targets = torch.randn(rows, *case.input_shape), torch.randint(10, (rows,))
    few = Rows(inputs[:2], targets[:2])
    return Data(Card("classification", case.input_shape, 10), Rows(inputs, targets), few, few)


def network(case: Case) -> torch.nn.Module:
    settings = split_config(case.family, case.size, "classification", case.config())
    torch.manual_seed(0)
    return settings.family.build(settings.model, case.input_shape, 10)


def torch_optimizer(case: Case, model: torch.nn.Module, *, fused: bool) -> torch.optim.Optimizer:
    kinds: dict[str, Callable[..., torch.optim.Optimizer]] = {
        "sgd": torch.optim.SGD,
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "rmsprop": torch.optim.RMSprop,
    }
    extra: dict[str, Any] = {"momentum": 0.9} if case.optimizer == "sgd" else {}
    if fused:
        extra |= {"fused": True} if case.fused else {"foreach": True}
    return kinds[case.optimizer](model.parameters(), lr=1e-3, **extra)


def ours(case: Case, data: Data, epochs: int) -> Iterator[Any]:
    return fit(Job(case.family, case.size, case.config(), seed=0, max_epochs=epochs), data)


def bare(case: Case, data: Data, epochs: int, *, fused: bool) -> Generator[None, None, None]:
    """The loop that one would write by hand, yielding after each epoch."""
    model, inputs, targets = network(case), data.train.inputs, data.train.targets
    optimizer = torch_optimizer(case, model, fused=fused)
    steps = epochs * -(-len(inputs) // case.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(epochs):
        for index in torch.split(torch.randperm(len(inputs)), case.batch_size):
            loss = functional.cross_entropy(model(inputs[index]), targets[index])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            if case.gradient_clip:
                torch.nn.utils.clip_grad_norm_(model.parameters(), case.gradient_clip)
            optimizer.step()
            schedule.step()
        yield


def lightning_seconds(case: Case, data: Data, epochs: int) -> list[float]:
    """Seconds of each epoch but the first, with a TensorDataset and a DataLoader as its documentation
    shows."""
    import lightning
    from torch.utils.data import DataLoader, TensorDataset

    marks: list[float] = []

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = network(case)

        def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
            return functional.cross_entropy(self.model(batch[0]), batch[1])

        def configure_optimizers(self) -> Any:
            optimizer = torch_optimizer(case, self.model, fused=True)
            steps = epochs * -(-len(data.train.inputs) // case.batch_size)
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
            return [optimizer], [{"scheduler": schedule, "interval": "step"}]

        def on_train_epoch_start(self) -> None:
            marks.append(time.process_time())

        def on_train_end(self) -> None:
            marks.append(time.process_time())

    loader = DataLoader(TensorDataset(data.train.inputs, data.train.targets), case.batch_size, shuffle=True)
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        gradient_clip_val=case.gradient_clip or None,
    )
    trainer.fit(Module(), loader)
    return [after - before for before, after in itertools.pairwise(marks[1:])]


def measure(case: Case, rows: int, epochs: int) -> dict[str, list[float]]:
    """Seconds of each epoch but the first, one list a contender; they take turns."""
    data = synthetic(case, rows)
    contenders = {
        "fit": ours(case, data, epochs),
        "bare": bare(case, data, epochs, fused=False),
        "bare, fused": bare(case, data, epochs, fused=True),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for epoch in range(epochs):
        for name, contender in contenders.items():
            start = time.process_time()
            next(contender)
            if epoch:
                seconds[name].append(time.process_time() - start)
    return seconds


def spread(values: list[float], form: str) -> str:
    return "/".join(format(value, form) for value in (min(values), statistics.median(values), max(values)))


@dataclass(frozen=True)
class Use:
    """What a family is for: the shape of a data set, what it learns there, and the rows of a step."""

    data: str
    task: str
    input_shape: tuple[int, ...]
    outputs: int
    batch_size: int = 64


TABLE = Use("magic_gamma", "classification", (10,), 2)
IMAGES = Use("fashion_mnist", "classification", (1, 28, 28), 10)
SPEECH = Use("fsdd", "classification", (64, 32), 10)
WORDS = Use("cmudict", "transduction", Tokens(28, 34), 44)
USES = {
    **dict.fromkeys(("perceptron", "mlp"), TABLE),
    **dict.fromkeys(("lenet", "alexnet", "vgg", "resnet", "inception", "efficientnet", "vit"), IMAGES),
    "unet": Use("nuclei", "segmentation", (3, 128, 128), 2, 8),
    # As many atoms as a molecule of esol has on average, in a ring.
    "gnn": Use("esol", "regression", Graphs(18, 7, 6, 73, 18, 36), 1),
    "rnn": SPEECH,
    "lstm": SPEECH,
    "gru": Use("etth1", "regression", Windows(96, 7), 672),
    "gpt": Use("tiny_shakespeare", "language_modelling", Tokens(128, 70), 70, 32),
    **dict.fromkeys(("seq2seq", "transformer"), WORDS),
    "bert": Use("banking77", "classification", Tokens(64, 1453), 77),
    "vae": Use("fashion_mnist", "generation", (1, 28, 28), 784),
    "gan": Use("fashion_mnist", "adversarial_generation", (1, 28, 28), 784),
    "diffusion": Use("fashion_mnist", "denoising", (1, 28, 28), 784),
}
REPEATS, PROFILED, SECONDS = 5, 3, 0.3  # passes without and with the profiler, and about how long each takes


class Steps:
    """A family's training, by `fit`'s own epochs of as many steps as asked for, without validation."""

    def __init__(self, family: str) -> None:
        self.use, self.epoch = USES[family], 0
        self.card = Card(self.use.task, self.use.input_shape, self.use.outputs)
        few = self.rows(2)
        config = {"batch_size": self.use.batch_size, "optimizer": "adam"}
        job = Job(family, "s", config, seed=0, max_epochs=1000, metric="train_loss")
        self.training = training._start(job, Data(self.card, few, few, few), torch.device("cpu"))

    def rows(self, count: int) -> Rows:
        return Rows(*TASKS[self.use.task]().example(count, self.use.input_shape, self.use.outputs))

    def run(self, rows: Rows) -> tuple[float, float]:
        """CPU and wall seconds of one pass over the rows."""
        self.epoch += 1
        wall, cpu = time.perf_counter(), time.process_time()
        training._train(self.training, rows, self.epoch)
        return time.process_time() - cpu, time.perf_counter() - wall

    def outside_kernels(self, rows: Rows) -> tuple[float, float]:
        """Share of the time that is not spent in torch's operators: at least, and at most.

        The profiler costs something for each operator. Against a pass without it, that counts as the operators' where
        one calls another; against the profiled pass, it counts as what is outside of them.
        """
        alone = self.run(rows)[0]
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            cpu, wall = self.run(rows)
        own = sum(event.self_cpu_time_total for event in profile.key_averages() if event.key.startswith("aten::"))
        share = own * 1e-6 / wall
        return 1 - share * cpu / alone, 1 - share


def measure_family(family: str) -> str:
    """One line of the table."""
    steps, size = Steps(family), USES[family].batch_size
    warm = steps.rows(2 * size)
    steps.run(warm)
    count = min(200, max(3, round(SECONDS / (steps.run(warm)[0] / 2))))
    rows = steps.rows(count * size)
    seconds = [steps.run(rows)[0] / count for _ in range(REPEATS)]
    few = steps.rows(max(3, count // 3) * size)
    shares = zip(*(steps.outside_kernels(few) for _ in range(PROFILED)), strict=True)
    least, most = sorted(max(0, 100 * statistics.median(share)) for share in shares)
    shape = "×".join(map(str, USES[family].input_shape[:3]))
    speed, step = spread([size / each for each in seconds], ",.0f"), statistics.median(seconds) * 1e3
    return f"{family:13} {USES[family].data:17} {shape:9} {size:5} {speed:>23} {step:9.2f} {least:7.0f} to {most:.0f}"


def compare_families(names: list[str]) -> None:
    print("size s; min/median/max over repeats; CPU seconds of one thread")
    print(f"{'family':13} {'shape of':17} {'':9} {'batch':>5} {'samples/s':>23} {'ms a step':>9} {'% not kernels':>13}")
    for name in names:
        if not FAMILIES[name].installed():
            print(f"{name:13} needs the extra {FAMILIES[name].extra!r}")
            continue
        print(measure_family(name), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--case", action="append", choices=list(CASES))
    parser.add_argument("--families", action="store_true", help="the speed of every family")
    parser.add_argument("--family", action="append", choices=list(USES), help="of this one (again: and of that)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler's own notices
    if arguments.families or arguments.family:
        compare_families(arguments.family or list(USES))
        return
    try:
        import lightning  # noqa: F401

        with_lightning = True
        for logger in ("lightning", "lightning.pytorch", "lightning.pytorch.utilities.rank_zero"):
            logging.getLogger(logger).setLevel(logging.ERROR)
    except ImportError:
        with_lightning = False
    print("samples/s of fit, then fit's as a multiple of each other's, per epoch: min/median/max")
    print(f"{'case':24} {'fit, samples/s':>22} {'÷ bare, fused':>18} {'÷ bare':>18} {'÷ Lightning':>18}")
    for name in arguments.case or CASES:
        case = CASES[name]
        seconds = measure(case, arguments.rows, arguments.epochs)
        ratios = [
            [other / own for own, other in zip(seconds["fit"], seconds[contender], strict=True)]
            for contender in ("bare, fused", "bare")
        ]
        if with_lightning:
            # Lightning can't take turns by epoch: its epochs come right after.
            data = synthetic(case, arguments.rows)
            typical = statistics.median(seconds["fit"])
            ratios.append([epoch / typical for epoch in lightning_seconds(case, data, max(4, arguments.epochs // 4))])
        speed = spread([arguments.rows / value for value in seconds["fit"]], ",.0f")
        print(f"{name:24} {speed:>22} " + " ".join(f"{spread(ratio, '.2f'):>18}" for ratio in ratios), flush=True)


if __name__ == "__main__":
    main()
