"""What transfer saved: a true saving is found with its size, chance is not told as one, an unfair twin is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from orchestrator.errors import UserError
from orchestrator.report import frames, head_start, render

Made = Callable[..., Path]
ALONE = "sweeps: [demo]\nsections: [transfer]\n"
TWIN = f"{ALONE}options: {{without_transfer: alone}}\n"


def search(*values: float, status: str = "complete", flops: float = 1.0) -> pd.DataFrame:
    """A cell's trials in the order in which they were asked; larger values are better."""
    trials = [f"t{place}" for place in range(len(values))]
    return pd.DataFrame({"trial": trials, "status": status, "value": values, "flops": flops, "early": values})


def race(one: pd.DataFrame, other: pd.DataFrame, direction: str = "max") -> dict[str, Any]:
    return head_start.race(head_start.Course.of(one), head_start.Course.of(other), direction)


def test_a_trial_is_ranked_by_what_it_had_where_all_were() -> None:
    """At the end the one that was never stopped would be the best of them."""
    rows = search(0.9, 0.3, 0.2).assign(status=["complete", "pruned", "pruned"], early=[0.1, 0.3, 0.2])
    assert head_start._rank(head_start.Course.of(rows), "t0", "max") == (3, 3)


def built(path: Path) -> Path:
    return render.build(path, path.parents[1] / "runs").parent


def answer(path: Path) -> str:
    found = re.search(r'<p class="answer">(.*?)</p>', (built(path) / "index.html").read_text(encoding="utf-8"), re.S)
    assert found
    return found[1]


def test_two_searches_are_raced_to_what_both_reached() -> None:
    raced = race(search(0.5, 0.8, 0.9), search(0.2, 0.6, 0.8))
    assert raced["target"] == 0.8
    assert (raced["trials_with"], raced["trials_without"], raced["trials_factor"]) == (2, 3, 1.5)
    assert (raced["reached_with"], raced["reached_without"]) == (2, None)
    assert (raced["trial_with"], raced["trial_without"]) == ("t1", "t2")
    turned = race(search(0.2, 0.6, 0.8), search(0.5, 0.8, 0.9))
    assert turned["trials_factor"] == pytest.approx(2 / 3) and turned["reached_with"] is None


def test_a_small_loss_is_better_where_the_metric_is_one() -> None:
    raced = race(search(0.9, 0.2), search(0.8, 0.3), "min")
    assert (raced["target"], raced["trials_with"], raced["trials_without"]) == (0.3, 2, 2)


def test_trials_that_came_to_nothing_cost_what_they_cost() -> None:
    one = search(0.1, 0.2, 0.9, flops=10.0)
    one["status"] = ["failed", "diverged", "complete"]
    raced = race(one, search(0.9, 0.5, 0.4, flops=20.0))
    assert (raced["trials_with"], raced["flops_with"], raced["flops_without"]) == (3, 30.0, 20.0)


def test_a_longer_search_gets_no_credit_for_its_length() -> None:
    raced = race(search(0.5, 0.6), search(0.4, 0.5, 0.9))
    assert raced["trials"] == 2 and raced["best_without"] == 0.5 and raced["reached_without"] is None


def test_a_stopped_trial_counts_only_where_a_search_has_nothing_else() -> None:
    one, other = search(0.9, 0.5), search(0.6, 0.4)
    one["status"] = ["pruned", "complete"]
    assert race(one, other)["best_with"] == 0.5
    one["status"] = "pruned"
    assert race(one, other)["best_with"] == 0.9
    one["status"] = "failed"
    assert "target" not in race(one, other), "a search that came to nothing cannot be raced"


def race_of_draws(random: np.random.Generator, ahead: float) -> float:
    """The factor of one cell: two searches of 12 standard normal draws, the first draw of one of them `ahead`."""
    one, other = random.normal(size=12), random.normal(size=12)
    one[0] = ahead or one[0]
    return float(race(search(*one), search(*other))["trials_factor"])


def test_chance_is_told_as_a_saving_in_at_most_one_ladder_in_twenty() -> None:
    """Eight cells: the most that the test ever rejects, 5 % less a little."""
    random = np.random.default_rng(0)
    false = sum(head_start.typical([race_of_draws(random, 0.0) for _ in range(8)], 0.95).told for _ in range(100))
    assert false <= 9


def test_a_true_head_start_is_told() -> None:
    random = np.random.default_rng(0)
    found = [head_start.typical([race_of_draws(random, 2.0) for _ in range(9)], 0.95) for _ in range(20)]
    assert sum(one.told and (one.low or 0) > 1 for one in found) >= 16


def test_the_interval_is_that_of_the_signed_rank_test() -> None:
    factors = [1.2, 1.5, 2.0, 3.0, 4.0, 6.0]
    found = head_start.typical(factors, 0.95)
    assert found.low == pytest.approx(1.2) and found.high == pytest.approx(6.0), "of six only the very ends hold"
    assert head_start.typical(factors[:5], 0.95).low is None and head_start.fewest(0.95) == 6
    assert head_start.typical([], 0.95).value is None


def test_a_saving_is_found_and_its_parts_are_in_the_tables(made_up: Made, recipe: Any) -> None:
    path = made_up(TWIN, recipe(transfer="useful", search=12), recipe(name="alone", search=12, seed=2))
    folder = built(path)
    assert answer(path).startswith("Yes, it saved trials")
    numbers = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert numbers["transfer.trials_factor_low"] > 1 and numbers["transfer.cells"] == 15
    saved = pd.read_csv(folder / "tables" / "transfer-saving.csv")
    assert list(saved.columns) == list(head_start.SAVINGS) and len(saved) == 15
    assert not saved["cell"].str.endswith("xs-0.25").any(), "the smallest cells have nothing to begin with"
    # The first of a useful prediction is near the best rate, which is 0.01 in the made-up sweep.
    missed = pd.read_csv(folder / "tables" / "transfer-predictions.csv")
    rates = missed[missed["hyperparameter"] == "learning_rate"]
    assert rates["predicted"].between(0.005, 0.02).all() and (rates["rank"] <= 4).mean() > 0.8
    assert (missed["factor"].dropna() == (missed["predicted"] / missed["best"])[missed["factor"].notna()]).all()
    assert (folder / "figures" / "transfer.svg").is_file()


def test_rates_of_two_optimizers_are_not_compared(made_up: Made, recipe: Any) -> None:
    path = made_up(ALONE, recipe(transfer="useful"))
    read = frames.read([path.parents[1] / "runs" / "demo"])
    missed, used = head_start.misses(read), read.trials.set_index("trial")["config.optimizer"]
    alike = missed["predicted_trial"].map(used) == missed["best_trial"].map(used)
    assert 0 < alike.sum() < len(alike)
    assert (missed["factor"].notna() == alike).all()


def test_none_is_not_told_as_one(made_up: Made, recipe: Any) -> None:
    path = made_up(TWIN, recipe(transfer="useless", search=12), recipe(name="alone", search=12, seed=2))
    assert answer(path).startswith("Cannot tell whether it saved trials")


def test_few_cells_cannot_tell(made_up: Made, recipe: Any) -> None:
    few: dict[str, Any] = {"families": ("mlp",), "sizes": ("xs", "s"), "search": 12}
    said = answer(made_up(TWIN, recipe(transfer="useful", **few), recipe(name="alone", seed=2, **few)))
    assert said.startswith("Cannot tell") and "of 3 cells nobody can tell that from chance; 6 are needed" in said


def test_without_a_twin_only_the_misses_are_told(made_up: Made, recipe: Any) -> None:
    path = made_up(ALONE, recipe(transfer="useful", search=12))
    said = answer(path)
    assert (
        "the prediction was off by" in said
        and "from the best that was found" in said
        and "options.without_transfer" in said
    )
    assert [file.stem for file in (built(path) / "tables").glob("*")] == ["transfer-predictions"]


def test_a_sweep_without_transfer_has_no_such_section(made_up: Made, recipe: Any) -> None:
    path = made_up("sweeps: [demo]\nsections: [transfer, failures]\n", recipe())
    assert 'id="transfer"' not in (built(path) / "index.html").read_text(encoding="utf-8")


def test_before_a_larger_cell_has_begun_nothing_is_known(made_up: Made, recipe: Any) -> None:
    assert answer(made_up(ALONE, recipe(transfer="useful", sizes=("s",), fractions=(1.0,)))).startswith("Not known yet")


def test_a_search_that_still_runs_is_not_raced(made_up: Made, recipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made_up(TWIN, recipe(transfer="useful"), recipe(name="alone"))
    runs = {name: frames.read_run(path.parents[1] / "runs" / name) for name in ("demo", "alone")}
    for row in runs["demo"][1]["trials"]:
        if row["cell"].startswith("mlp") and row["number"] == 4:
            row["status"] = "running"  # type: ignore[index]
    monkeypatch.setattr(frames, "read_run", lambda folder: runs[Path(folder).name])
    saved = pd.read_csv(built(path) / "tables" / "transfer-saving.csv")
    assert saved.loc[saved["family"] == "mlp", "target"].isna().all()
    assert saved.loc[saved["family"] != "mlp", "target"].notna().all()


@pytest.mark.parametrize(
    ("twin", "said"),
    [
        ({"sizes": ("xs", "s")}, "has no cell like"),
        ({"fractions": (0.25, 0.5)}, "has no cell like"),
        ({"transfer": "useful"}, "ran with `transfer: true` itself"),
        ({"epochs": 9}, "its max_epochs is not that of demo"),
    ],
)
def test_a_twin_of_another_ladder_is_refused(made_up: Made, recipe: Any, twin: Mapping[str, Any], said: str) -> None:
    path = made_up(TWIN, recipe(transfer="useful"), recipe(name="alone", **twin))
    with pytest.raises(UserError) as caught:
        built(path)
    assert said in str(caught.value) and "name a finished sweep" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_twin_that_has_not_finished_is_refused(made_up: Made, recipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made_up(TWIN, recipe(transfer="useful"), recipe(name="alone"))
    read = frames.read_run
    monkeypatch.setattr(frames, "read_run", lambda folder: (dict(read(folder)[0]) | {"state": None}, read(folder)[1]))
    with pytest.raises(UserError, match="alone: has not finished"):
        built(path)


def test_the_command_says_it_in_one_line(made_up: Made, recipe: Any, orchestrate: Callable[..., Any]) -> None:
    path = made_up(TWIN, recipe(), recipe(name="alone"))
    said = orchestrate("report", path, "--runs", path.parents[1] / "runs")
    assert said.code == 2 and said.err.count("\n") == 1
    assert "none of the report's sweeps ran with `transfer: true`" in said.err
