"""What every family has to fulfil: a new line in FAMILIES is tested by being there."""

from __future__ import annotations

import random
import re
import sys
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from examples import families_and_tasks, if_installed
from torch import Tensor, nn

from orchestrator import records
from orchestrator.errors import UserError
from orchestrator.graphs import Graphs
from orchestrator.models import FAMILIES
from orchestrator.models.embeddings import embedding_parameters
from orchestrator.space import Choice, Float, Int, Space, is_active, load
from orchestrator.tasks import TASKS
from orchestrator.tasks.examples import random_inputs
from orchestrator.tokens import Tokens
from orchestrator.training.flops import flops_per_sample
from orchestrator.training.hyperparameters import Hyperparameters
from orchestrator.training.parameters import Settings, count_parameters, describe, parameters, split_config
from orchestrator.windows import Windows

ROOT = Path(__file__).parents[2]
IN_EVERY_SPACE = ("learning_rate", "batch_size", "dropout", "weight_decay", "optimizer", "schedule", "warmup_fraction")
# A choice that only some families' recipes have: test_families_in_training.py.
OPTIONAL = {"classification_loss"}
# Parameters that are the two ends of one thing, so that one comment is for both.
ONE_REASON = {("beta1", "beta2"), ("step_fraction", "step_gamma")}
OUTPUTS = {
    "classification": 10,
    "regression": 3,
    "segmentation": 3,
    "multilabel": 10,
    "node_classification": 10,
    "language_modelling": 10,
    "masked_language_modelling": 10,
    "transduction": 10,
    "generation": 64,
    "adversarial_generation": 1,
    "denoising": 64,
    "anomaly_detection": 10,
}
STEPS = {"denoising": 400}
GRAPHS = Graphs(nodes=6, codes=3, neighbours=2, vocabulary=20, mean_nodes=6, mean_links=12)
AT_EVERY_PLACE = ("segmentation", "node_classification")  # outputs for each place of the targets, not one for the row
TRAINING = {field.name for field in fields(Hyperparameters)}  # what no network sees
pairs = pytest.mark.parametrize(("family", "task"), families_and_tasks())
families = pytest.mark.parametrize("family", [if_installed(family) for family in FAMILIES])
listed = pytest.mark.parametrize("family", FAMILIES)  # what can be told of a family without building it
FOR_IMAGES = [
    family
    for family in FAMILIES
    if set(FAMILIES[family].tasks.values()) == {(1, 8, 8)} and "classification" in FAMILIES[family].tasks
]
families_for_images = pytest.mark.parametrize("family", FOR_IMAGES)


def build(settings: Settings, task: str, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return settings.family.build(settings.model, settings.family.tasks[task], OUTPUTS[task])


def batch(settings: Settings, task: str, rows: int = 16, seed: int = 1) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    return settings.task.example(rows, settings.family.tasks[task], OUTPUTS[task])


def without_embeddings(family: str, size: str, task: str, shape: tuple[int, ...]) -> int:
    """Parameters of the network, which takes no memory, outside of tables that are looked up."""
    with torch.device("meta"):
        network = FAMILIES[family].build(split_config(family, size, task, {}).model, shape, 10)
    return count_parameters(network) - embedding_parameters(network)


def losses(settings: Settings, model: nn.Module, data: tuple[Tensor, Tensor]) -> Tensor:
    return torch.stack([loss for _, loss in settings.task.step(model, *data)])


def space_of(family: str, task: str) -> Space:
    return load(ROOT / "search_spaces" / f"{family}.yaml").given(task=task)


def draw(space: Space, seed: int) -> dict[str, Any]:
    """A configuration drawn at random, bounds included now and then."""
    chance = random.Random(seed)
    drawn: dict[str, Any] = {}
    for name, parameter in space.parameters.items():
        if not is_active(parameter, drawn):
            continue
        if isinstance(parameter, Choice):
            drawn[name] = chance.choice(parameter.values)
        else:
            end = chance.choice([parameter.low, parameter.high, None])
            middle = chance.uniform(parameter.low, parameter.high)
            drawn[name] = end if end is not None else round(middle) if isinstance(parameter, Int) else middle
    return drawn


def every_choice(space: Space, names: set[str]) -> list[dict[str, Any]]:
    """Configurations in which every value of each choice among these names occurs."""
    missing = {
        (name, value)
        for name, parameter in space.parameters.items()
        if name in names and isinstance(parameter, Choice)
        for value in parameter.values
    }
    drawn: list[dict[str, Any]] = []
    for seed in range(1000):
        config = draw(space, seed)
        if seed == 0 or missing & config.items():
            drawn.append(config)
            missing -= config.items()
        if not missing:
            return drawn
    raise AssertionError(f"never drawn: {missing}")


@listed
def test_has_a_file_a_space_a_test_and_a_paper(family: str) -> None:
    assert (ROOT / "orchestrator" / "models" / f"{family}.py").is_file()
    assert (ROOT / "search_spaces" / f"{family}.yaml").is_file()
    tests = (ROOT / "tests" / "models" / f"test_{family}.py").read_text(encoding="utf-8")
    assert re.search(r"^def test_", tests, re.MULTILINE), f"{family}: nothing is tested that is special to it"
    paper = FAMILIES[family].paper
    year = re.search(r"\b(19|20)\d\d\b", paper)
    assert year, f"{family}: the paper needs its year"
    module = sys.modules[FAMILIES[family].config.__module__]
    first_author = paper.split(",")[0].split(":")[0]
    assert module.__doc__ and first_author in module.__doc__ and year[0] in module.__doc__


@listed
def test_has_every_size_and_at_least_one_known_task(family: str) -> None:
    assert tuple(FAMILIES[family].sizes) == records.SIZES
    assert FAMILIES[family].tasks and set(FAMILIES[family].tasks) <= set(TASKS)


@families
def test_parameters_at_least_double_from_size_to_size(family: str) -> None:
    shapes = set(FAMILIES[family].tasks.values())
    shapes |= {(1, 28, 28)} if (1, 8, 8) in shapes else set()
    for shape in shapes:
        task = next(task for task, example in FAMILIES[family].tasks.items() if len(example) == len(shape))
        counts = [without_embeddings(family, size, task, shape) for size in records.SIZES]
        assert all(after >= 2 * before for before, after in pairwise(counts)), (shape, counts)


@pairs
@pytest.mark.parametrize("size", records.SIZES)
def test_gives_one_row_of_outputs_for_each_row_of_inputs(family: str, task: str, size: str) -> None:
    settings = split_config(family, size, task, {})
    inputs, targets = batch(settings, task, rows=5)
    outputs = build(settings, task)(inputs)
    assert outputs.shape == (5, OUTPUTS[task], *(targets.shape[1:] if task in AT_EVERY_PLACE else ()))
    assert outputs.isfinite().all()


# The papers' own: what a projection adds everywhere, the normalization of the next expansion takes off; what GAT finds
# in the node that attends is the same beside each neighbour, and moves a softmax only where it changes a sum's sign.
CANCELLED = {"efficientnet": (".3.1.bias", ".5.1.bias"), "gnn": (".att_dst",)}


@pairs
def test_a_gradient_reaches_every_parameter_whatever_is_chosen(family: str, task: str) -> None:
    for config in every_choice(space_of(family, task), set(parameters(family, task)) - TRAINING):
        settings = split_config(family, "s", task, config)
        model = build(settings, task).train()
        # An odd number of rows: the signs that are the absolute error's gradient can't cancel.
        loss = losses(settings, model, batch(settings, task, rows=33)).sum()
        torch.autograd.backward(loss)
        assert loss.isfinite()
        whole = torch.stack([weight.grad.norm() for weight in model.parameters() if weight.grad is not None]).norm()
        for name, parameter in model.named_parameters():
            # What is taken off again has rounding for a gradient, and that is none.
            least = 0 if name.endswith(CANCELLED.get(family, "?")) else 1e-6 * whole
            assert parameter.grad is not None and parameter.grad.norm() > least, (name, settings.model)


@pairs
def test_the_same_seed_gives_the_same_network_and_another_seed_another(family: str, task: str) -> None:
    settings = split_config(family, "s", task, {})
    data = batch(settings, task)
    first, again, other = (losses(settings, build(settings, task, seed), data) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pairs
def test_dropout_acts_in_training_and_only_there_whatever_is_chosen(family: str, task: str) -> None:
    for config in every_choice(space_of(family, task), set(parameters(family, task)) - TRAINING):
        found = []
        for share in (0.0, 0.5):
            settings = split_config(family, "s", task, {**config, "dropout": share})
            model, data = build(settings, task), batch(settings, task)
            judged = model.eval()(data[0])
            found.append((judged, losses(settings, model.train(), data)))
        (judged, trained), (judged_with_it, trained_with_it) = found
        assert torch.equal(judged, judged_with_it), config
        assert not torch.equal(trained, trained_with_it), config


MAKERS = ("generation", "adversarial_generation", "denoising")


def given(model: Any, inputs: torch.Tensor, task: str) -> list[torch.Tensor]:
    """What it gives out, and of what generates what that is from the same noise too."""
    torch.manual_seed(0)
    return [model(inputs), *([model.generate(3)] if task in MAKERS else [])]


@pairs
def test_the_state_holds_all_that_makes_the_outputs(family: str, task: str) -> None:
    settings = split_config(family, "s", task, {})
    inputs, _ = batch(settings, task)
    one, other = build(settings, task, 0).eval(), build(settings, task, 1).eval()
    assert all(
        not torch.equal(*pair) for pair in zip(given(one, inputs, task), given(other, inputs, task), strict=True)
    )
    other.load_state_dict(one.state_dict())
    assert all(torch.equal(*pair) for pair in zip(given(one, inputs, task), given(other, inputs, task), strict=True))


@pairs
def test_overfits_one_batch(family: str, task: str) -> None:
    """Each player in its turn, while the others stand still as they have become; noise is the same at each step."""
    settings = split_config(family, "s", task, {})
    model, data = build(settings, task).train(), batch(settings, task)
    for player in TASKS[task].players:
        optimizer = torch.optim.Adam(model.get_submodule(player).parameters(), lr=1e-2, fused=True)
        found: list[float] = []
        for _ in range(STEPS.get(task, 150)):
            torch.manual_seed(0)
            loss = next(loss for name, loss in settings.task.step(model, *data) if name == player)
            found.append(loss.item())
            if found[-1] < 0.02 * found[0]:
                break
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
        assert found[-1] < 0.02 * found[0], f"{player}: the loss went from {found[0]:.3f} to {found[-1]:.3f} only"


@pairs
def test_floating_point_operations_are_counted_alike_for_real_and_on_the_meta_device(family: str, task: str) -> None:
    counted, shape = [], FAMILIES[family].tasks[task]
    settings = split_config(family, "xs", task, {})
    for device in ("cpu", "meta"):
        with torch.device(device):
            model = build(settings, task)
        counted.append(flops_per_sample(model, settings.task, shape, OUTPUTS[task]))
    assert counted[0] == counted[1] > 0
    assert describe(family, "xs", shape, OUTPUTS[task], task=task).flops_per_sample == counted[0]


@pairs
def test_real_numbers_in_a_configuration_do_not_change_the_cost(family: str, task: str) -> None:
    """What `cost` takes for granted when it remembers a count."""
    shape, space = FAMILIES[family].tasks[task], space_of(family, task)
    ends = [
        {name: getattr(one, end) for name, one in space.parameters.items() if isinstance(one, Float)}
        for end in ("low", "high")
    ]
    for seed in range(4):
        config = draw(space, seed)
        config |= {name: value for name, value in ends[seed % 2].items() if name in config}
        settings = split_config(family, "xs", task, config)
        model = build(settings, task)
        described = describe(family, "xs", shape, OUTPUTS[task], task=task, config=config)
        assert sum(p.numel() for p in model.parameters()) == described.params
        assert flops_per_sample(model, settings.task, shape, OUTPUTS[task]) == described.flops_per_sample


@pairs
def test_every_configuration_of_its_space_is_possible(family: str, task: str) -> None:
    space, allowed = space_of(family, task), parameters(family, task)
    assert set(space.parameters) <= set(allowed)
    for name, parameter in space.parameters.items():
        if isinstance(parameter, Float):
            assert allowed[name] is float, name
        if isinstance(parameter, Int):
            assert allowed[name] is int, name
    for seed in range(100):
        split_config(family, "m", task, draw(space, seed))


@listed
def test_its_space_varies_what_every_family_varies(family: str) -> None:
    space = load(ROOT / "search_spaces" / f"{family}.yaml")
    assert space.family == family
    assert set(IN_EVERY_SPACE) <= set(space.parameters)
    for task in FAMILIES[family].tasks:
        own = {name for name in parameters(family, task) if hasattr(TASKS[task], name)}
        assert own - OPTIONAL <= set(space.given(task=task).parameters), "the task's own hyperparameters"


@listed
def test_each_range_has_its_reason_beside_it(family: str) -> None:
    lines = (ROOT / "search_spaces" / f"{family}.yaml").read_text(encoding="utf-8").splitlines()
    names = [found[1] if (found := re.match(r"  (\w+): \{", line)) else "" for line in lines]
    for (before, name), line in zip(pairwise(names), lines[1:], strict=True):
        above = lines[lines.index(line) - 1].strip()
        assert not name or above.startswith("#") or (before, name) in ONE_REASON, f"{family}: {line.strip()}"


@listed
def test_fields_that_the_size_does_not_set_have_defaults(family: str) -> None:
    for size in records.SIZES:
        FAMILIES[family].config(**FAMILIES[family].sizes[size])
    fields = {tuple(values) for values in FAMILIES[family].sizes.values()}
    assert len(fields) == 1, "every size sets the same fields"


@pairs
def test_no_name_has_two_owners(family: str, task: str) -> None:
    from orchestrator.training.hyperparameters import Hyperparameters

    owners: list[type[Any]] = [FAMILIES[family].config, TASKS[task], Hyperparameters]
    names = [name for owner in owners for name in owner.__dataclass_fields__]
    assert len(set(names)) == len(names)


@families
def test_dropout_outside_its_range_is_refused(family: str) -> None:
    task = next(iter(FAMILIES[family].tasks))
    for wrong in (1.0, -0.1):
        with pytest.raises(UserError, match="dropout"):
            split_config(family, "s", task, {"dropout": wrong})


@families_for_images
@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 11, 12), (3, 28, 28), (1, 32, 20), (1, 63, 65), (3, 64, 64)], ids=str)
def test_takes_images_of_8_to_64_pixels(family: str, shape: tuple[int, ...]) -> None:
    settings = split_config(family, "xs", "classification", {})
    assert settings.family.build(settings.model, shape, 10)(torch.randn(2, *shape)).shape == (2, 10)


@families_for_images
@pytest.mark.parametrize("shape", [(64,), (24, 7), (1, 4, 4)], ids=str)
def test_refuses_what_is_no_image_in_one_line(family: str, shape: tuple[int, ...]) -> None:
    settings = split_config(family, "xs", "classification", {})
    with pytest.raises(UserError, match=f"{family} takes images") as error:
        settings.family.build(settings.model, shape, 10)
    assert "\n" not in str(error.value) and "×".join(map(str, shape)) in str(error.value)


KINDS: dict[str, tuple[int, ...]] = {
    "row": (10,),
    "sequence": (12, 5),
    "windows": Windows(time=12, channels=5),
    "image": (3, 9, 12),
    "text": Tokens(time=12, vocabulary=10),
    "graphs": GRAPHS,
    "one graph": GRAPHS._replace(each_node=True),
}


@families
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_sample_is_taken_or_refused_in_one_line(family: str, kind: str) -> None:
    settings, shape = split_config(family, "xs", next(iter(FAMILIES[family].tasks)), {}), KINDS[kind]
    torch.manual_seed(0)
    try:
        model = settings.family.build(settings.model, shape, 10)
    except UserError as error:
        assert str(error).startswith(family) and "\n" not in str(error)
        assert not any(type(shape) is type(own) and len(shape) == len(own) for own in settings.family.tasks.values())
        return
    outputs = model(random_inputs(3, shape))
    assert len(outputs) == 3 and outputs.isfinite().all()


@pytest.mark.parametrize("family", ["perceptron", "mlp", "lenet", "rnn"])
def test_what_refuses_graphs_calls_them_so(family: str) -> None:
    settings = split_config(family, "xs", "regression", {})
    with pytest.raises(UserError, match=f"{family} takes .*, found graphs$"):
        settings.family.build(settings.model, GRAPHS, 1)


def lacking(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> None:
    monkeypatch.setitem(FAMILIES, "mlp", replace(FAMILIES["mlp"], **fields))  # type: ignore[arg-type]


def test_a_family_that_lacks_something_would_be_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The checks themselves, of a family that lacks what each is for."""
    sizes = FAMILIES["mlp"].sizes
    with monkeypatch.context() as patch, pytest.raises(AssertionError, match="year"):
        lacking(patch, paper="Rumelhart, Hinton, Williams: Learning representations by back-propagating errors")
        test_has_a_file_a_space_a_test_and_a_paper("mlp")
    with monkeypatch.context() as patch, pytest.raises(AssertionError):
        lacking(patch, paper="Somebody else: Something else, 1986")
        test_has_a_file_a_space_a_test_and_a_paper("mlp")
    with monkeypatch.context() as patch, pytest.raises(AssertionError):
        lacking(patch, sizes={size: sizes[size] for size in ("xs", "s", "m", "l")})
        test_has_every_size_and_at_least_one_known_task("mlp")
    with monkeypatch.context() as patch, pytest.raises(AssertionError):
        lacking(patch, sizes={**sizes, "l": sizes["m"]})
        test_parameters_at_least_double_from_size_to_size("mlp")
    parts = ("orchestrator/models/mlp.py", "search_spaces/mlp.yaml", "tests/models/test_mlp.py")
    for part in parts:
        (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / part).write_bytes((ROOT / part).read_bytes())
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    test_has_a_file_a_space_a_test_and_a_paper("mlp")
    test_its_space_varies_what_every_family_varies("mlp")
    for part, check, text in (
        (parts[0], test_has_a_file_a_space_a_test_and_a_paper, None),
        (parts[1], test_has_a_file_a_space_a_test_and_a_paper, None),
        (parts[2], test_has_a_file_a_space_a_test_and_a_paper, "# nothing yet\n"),
        (parts[1], test_its_space_varies_what_every_family_varies, without(tmp_path / parts[1], "  warmup_fraction:")),
        (parts[1], test_its_space_varies_what_every_family_varies, without(tmp_path / parts[1], "  label_smoothing:")),
        (parts[1], test_each_range_has_its_reason_beside_it, without(tmp_path / parts[1], "  # Up to a fifth")),
    ):
        whole = (tmp_path / part).read_text(encoding="utf-8")
        if text is None:
            (tmp_path / part).unlink()
        else:
            (tmp_path / part).write_text(text, encoding="utf-8")
        with pytest.raises(AssertionError):
            check("mlp")
        (tmp_path / part).write_text(whole, encoding="utf-8")


def without(file: Path, start: str) -> str:
    """Its text but the line that begins so."""
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    left = [line for line in lines if not line.startswith(start)]
    assert len(left) == len(lines) - 1
    return "".join(left)


def test_families_can_be_imported_without_more_than_torch() -> None:
    import subprocess

    heavy = ("ray", "mlflow", "optuna", "pandas", "sklearn", "matplotlib", "torch_geometric", "rdkit")
    code = f"import sys, orchestrator.models, orchestrator.tasks; print([m for m in sys.modules if m in {heavy}])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_activation_by_name() -> None:
    from orchestrator.models.activations import ACTIVATIONS, Activation

    assert tuple(ACTIVATIONS) == get_args(Activation)
