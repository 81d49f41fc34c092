"""What a network notes of itself: against hand calculations, in the rows of a training, and never as an objective."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from examples import example
from torch import Tensor
from torch.nn import functional

from orchestrator.errors import UserError
from orchestrator.models import FAMILIES, bert, gpt, seq2seq, transformer, vae, vit
from orchestrator.models.attention import Attention, Past, weights
from orchestrator.models.diagnostics import ROWS, Notes, active_units, attention_entropy, listening, smoothness
from orchestrator.models.positions import Rotation
from orchestrator.tasks import TASKS, judged
from orchestrator.tokens import Tokens
from orchestrator.training import fit as fit_module
from orchestrator.training.fit import Job, fit

# Family → what each of its tasks reports beside the loss: its diagnostics, and those that are the task's metrics.
REPORTED = {
    **dict.fromkeys(("gpt", "bert", "vit", "transformer", "seq2seq"), "attention_entropy"),
    "gnn": "smoothness",
    "vae": "active_units",
    "gan": "coverage",
}


def tokens(rows: int = 3, time: int = 6, vocabulary: int = 20) -> Tensor:
    """Random texts; of all but the first only the first three tokens."""
    text = torch.randint(5, vocabulary, (rows, time), generator=torch.Generator().manual_seed(1))
    text[1:, 3:] = 0
    return text


def share(weights: Tensor, places: int) -> float:
    """By the definition, of one query."""
    return -sum(w * math.log(w) for w in weights.tolist() if w > 0) / math.log(places)


# ---- by hand ---------------------------------------------------------------------------------------------------


def test_attention_entropy_by_hand() -> None:
    everywhere, one = [0.25] * 4, [0.0, 1.0, 0.0, 0.0]
    rows = torch.tensor([[[everywhere, one, [0.5, 0.5, 0.0, 0.0]]]])
    all_seen = torch.ones(1, 1, 1, 4, dtype=torch.bool)
    # ln 2 of ln 4 is a half.
    assert attention_entropy(rows, all_seen).item() == pytest.approx((1 + 0 + 0.5) / 3)
    # Of two heads, of which the other looks everywhere.
    heads = torch.cat([rows, torch.full_like(rows, 0.25)], 1)
    assert attention_entropy(heads, all_seen).item() == pytest.approx((0.5 + 1) / 2)


def test_only_queries_that_have_a_choice_and_are_no_padding_count() -> None:
    rows = torch.tensor([[[[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]]])
    visible = torch.ones(3, 3, dtype=torch.bool).tril()[None, None]
    assert attention_entropy(rows, visible).item() == pytest.approx((1 + 0) / 2)
    own = torch.tensor([[True, True, False]])
    assert attention_entropy(rows, visible, own).item() == pytest.approx(1)
    assert attention_entropy(rows[:, :, :1], visible[:, :, :1]).isnan(), "nothing to be measured is no number"


def test_smoothness_by_hand() -> None:
    same, across = torch.tensor([[1.0, 2.0], [2.0, 4.0]]), torch.tensor([[1.0, 0.0], [0.0, 3.0]])
    lonely, empty = torch.tensor([[1.0, 1.0]]), torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    graph = torch.tensor([0, 0, 1, 1, 2, 3, 3])
    # The third graph has no pair; a node without features is like no other.
    assert smoothness(torch.cat([same, across, lonely, empty]), graph).tolist() == pytest.approx([1.0, 0.0, 0.0])


def test_smoothness_is_the_mean_similarity_of_all_pairs() -> None:
    torch.manual_seed(0)
    graphs, expected = torch.randn(5, 8, 3), []
    for states in graphs:
        pairs = functional.cosine_similarity(states[:, None], states[None], dim=2)
        expected.append((pairs.sum() - len(states)).item() / (len(states) * (len(states) - 1)))
    found = smoothness(graphs.flatten(0, 1), torch.arange(5).repeat_interleave(8))
    assert found.tolist() == pytest.approx(expected, rel=1e-4)


def test_active_units_by_hand() -> None:
    # Of the first latent ±0.11 (variance 0.0121), of the second ±0.09 (0.0081): one of two is in use.
    assert active_units(torch.tensor([[0.61, 0.59], [0.39, 0.41]]).repeat(4, 1)).item() == 0.5
    assert active_units(torch.randn(50, 1).repeat(1, 3) * torch.tensor([1.0, 0.0, 2.0])).item() == pytest.approx(2 / 3)


# ---- what networks say -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("causal", [True, False])
def test_the_weights_are_those_that_torchs_kernel_uses(causal: bool) -> None:
    torch.manual_seed(0)
    queries, keys, values = torch.randn(3, 2, 4, 7, 8)
    visible = torch.ones(7, 7, dtype=torch.bool)[None, None]
    visible = visible.tril() if causal else visible
    expected = functional.scaled_dot_product_attention(queries, keys, values, is_causal=causal)
    torch.testing.assert_close(weights(queries, keys, visible) @ values, expected)


@pytest.mark.parametrize("rotary", [True, False])
def test_attention_says_how_widely_its_queries_look(rotary: bool) -> None:
    """By the formula, for each row, head and query; the second row has three tokens."""
    torch.manual_seed(0)
    rotation = Rotation(6, 4) if rotary else None
    attention = Attention(8, 2, 0.0, causal=True, rotation=rotation).eval()
    torch.nn.init.normal_(attention.query.weight)
    steps, own = torch.randn(2, 6, 8), torch.arange(6) < torch.tensor([[6], [3]])
    queries, keys = attention.query(steps), attention.key_value(steps).chunk(2, 2)[0]
    found, expected = [], []
    for row, length in enumerate((6, 3)):
        for head in (slice(0, 4), slice(4, 8)):
            q, k = queries[row, :, head][None, None], keys[row, :, head][None, None]
            q, k = (rotation(q, 0), rotation(k, 0)) if rotation else (q, k)
            for query in range(1, length):
                scores = q[0, 0, query] @ k[0, 0, : query + 1].T / 2
                expected.append(share(scores.softmax(0), query + 1))
    with listening(attention) as notes:
        notes.own = own
        attention(steps)
        found = notes.means()
    assert found == {"attention_entropy": pytest.approx(sum(expected) / len(expected), rel=1e-4)}


def still(kind: Any) -> Any:
    """A network whose attention sees no difference between one place and another."""
    for part in kind.modules():
        if isinstance(part, Attention):
            torch.nn.init.zeros_(part.query.weight), torch.nn.init.zeros_(part.query.bias)
        if isinstance(part, seq2seq.Seq2Seq):
            part.weight.weight.data.zero_()
    return kind.eval()


TEXT = Tokens(6, 20)
LOOKING: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "gpt": (lambda: gpt.build(gpt.Config(12, 2, 3), TEXT, 20), lambda model: model.at_every_step(tokens())),
    "bert": (lambda: bert.build(bert.Config(12, 2, 3), TEXT, 4), lambda model: model(tokens())),
    "vit": (lambda: vit.build(vit.Config(16, 2, 2), (1, 8, 8), 4), lambda model: model(torch.randn(3, 1, 8, 8))),
    "transformer": (
        lambda: transformer.build(transformer.Config(12, 2, 3), TEXT, 20),
        lambda model: model.at_every_step(tokens(), tokens(time=5)),
    ),
    "seq2seq": (
        lambda: seq2seq.build(seq2seq.Config(12), TEXT, 20),
        lambda model: model.at_every_step(tokens(), tokens(time=5)),
    ),
}


@pytest.mark.parametrize("family", LOOKING)
def test_who_sees_no_difference_looks_everywhere_and_who_is_certain_at_one_place(family: str) -> None:
    build, run = LOOKING[family]
    torch.manual_seed(0)
    model = still(build())
    with torch.inference_mode(), listening(model) as notes:
        run(model)
    assert notes.means() == {"attention_entropy": pytest.approx(1, abs=1e-5)}, "padding is no place to look at"
    certain = build().eval()
    for name, weight in certain.named_parameters():
        if name.endswith(("query.weight", "key_value.weight", "queries_keys_values.weight")):
            weight.data.normal_(std=300 if family != "seq2seq" else 1)
        if name == "weight.weight":  # of seq2seq's scores, of what is between -1 and 1
            weight.data.normal_(std=3000)
    with torch.inference_mode(), listening(certain) as notes:
        run(certain)
    assert notes.means()["attention_entropy"] < 0.1


def test_seq2seq_speaks_of_the_weights_that_it_shows() -> None:
    torch.manual_seed(0)
    model: Any = LOOKING["seq2seq"][0]().eval()
    model.weight.weight.data.mul_(20)
    shown = model.attention(tokens(), tokens(time=5))
    expected = [share(shown[row, step], places) for row, places in ((0, 6), (1, 3), (2, 3)) for step in range(places)
                if step < 5]  # fmt: skip
    with listening(model) as notes:
        model.at_every_step(tokens(), tokens(time=5))
    assert notes.means()["attention_entropy"] == pytest.approx(sum(expected) / len(expected), rel=1e-4)


def test_what_is_padding_does_not_change_what_is_said() -> None:
    for family in ("gpt", "bert"):
        build, _ = LOOKING[family]
        torch.manual_seed(0)
        model, said = build().eval(), []
        for part in model.modules():
            if isinstance(part, Attention):
                torch.nn.init.normal_(part.query.weight)
        for text in (tokens()[1:2], tokens()[1:2, :3]):
            with torch.inference_mode(), listening(model) as notes:
                (model.at_every_step if family == "gpt" else model)(text)
            said.append(notes.means()["attention_entropy"])
        assert said[0] == pytest.approx(said[1], rel=1e-5) and said[0] < 0.999


def test_each_part_speaks_once_of_the_first_rows_and_to_a_listener_alone() -> None:
    torch.manual_seed(0)
    attention = Attention(8, 2, 0.0, causal=False, rotation=None).eval()
    torch.nn.init.normal_(attention.query.weight)
    steps = torch.randn(ROWS + 5, 4, 8)

    def said(*batches: Tensor) -> float:
        with listening(attention) as notes:
            for batch in batches:
                attention(batch)
        return notes.means()["attention_entropy"]

    assert said(steps) == said(steps[:ROWS]) == said(steps[:ROWS], 5 * steps) != said(5 * steps)
    assert attention.notes is None, "nobody listens any more"
    with listening(attention) as notes:
        attention(steps, past=Past())
    assert notes.means() == {}, "what is written step by step is not spoken of"


def test_a_latent_that_no_image_moves_is_not_active() -> None:
    torch.manual_seed(0)
    model: Any = vae.build(vae.Config(20, 3, 4), (1, 8, 8), 64).eval()
    last = model.encoder[-1]
    torch.nn.init.normal_(last.weight)
    last.weight.data[1] = 0
    with listening(model) as notes:
        model.encode(torch.rand(40, 1, 8, 8))
    assert notes.means() == {"active_units": 0.75}


# ---- in a training ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [family for family in REPORTED if FAMILIES[family].installed()])
def test_every_epoch_and_the_test_report_it_and_no_training_can_be_chosen_by_it(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judged, "GENERATED", 30)
    for task in FAMILIES[family].tasks:
        data, name = example(family, task), REPORTED[family]
        metric = "train_loss" if family == "gan" else "validation_loss"
        epochs, rows = fit(Job(family, "xs", {"batch_size": 8}, 0, 2, metric, test=True), data), []
        while True:
            try:
                rows.append(next(epochs))
            except StopIteration as end:
                assert 0 <= end.value.test[f"test_{name}"] <= 1
                break
        assert len(rows) == 2 and all(-1 <= row[f"validation_{name}"] <= 1 for row in rows)
        assert all(row["gradient_norm"] > 0 for row in rows)
        if name not in TASKS[task].metrics:
            with pytest.raises(UserError, match=f"no training reports the metric 'validation_{name}'"):
                next(fit(Job(family, "xs", {}, 0, 2, f"validation_{name}"), data))


def test_diagnostics_are_no_metrics_of_a_task() -> None:
    metrics = {name for task in TASKS.values() for name in task.metrics}
    assert metrics.isdisjoint({"attention_entropy", "smoothness", "active_units"})


@pytest.mark.parametrize("family", ["gpt", "vae"])
def test_listening_changes_no_other_number(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judged, "GENERATED", 30)
    data, job = example(family, next(iter(FAMILIES[family].tasks))), Job(family, "xs", {"batch_size": 8}, 0, 2)
    rows = list(fit(job, data))
    monkeypatch.setattr(fit_module, "listening", lambda model: nullcontext(Notes()))
    deaf = list(fit(job, data))
    for row, other in zip(rows, deaf, strict=True):
        assert set(row) - set(other) == {f"validation_{REPORTED[family]}"}
        assert all(row[name] == other[name] for name in other if "second" not in name)
