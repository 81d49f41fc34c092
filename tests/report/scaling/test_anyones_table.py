"""`orchestrate scaling` without its command line: options in, dictionary and text out, one-line errors."""

import json

import numpy as np
import pandas as pd
import pytest

from orchestrator.errors import UserError
from orchestrator.report.scaling.table import Options, analyse, text

SIZE, DATA = (part.ravel() for part in np.meshgrid(np.geomspace(1e6, 1e9, 6), np.geomspace(1e8, 1e11, 6)))
PROMISED = {"law", "rows", "status", "objective", "parameters", "minima", "diagnostics", "predictions"}


def write(folder, **columns):
    path = folder / "table.csv"
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def loss(noise=0.002, size=SIZE, data=DATA):
    rng = np.random.default_rng(0)
    return (1.7 + 400 * size**-0.34 + 900 * data**-0.33) * np.exp(noise * rng.normal(size=size.size))


@pytest.fixture
def table(tmp_path):
    return write(tmp_path, params=SIZE, tokens=DATA, flops=6 * SIZE * DATA, loss=loss())


def quick(table, **more):
    return Options(table, more.pop("loss", "loss"), bootstrap=more.pop("bootstrap", 20), **more)


def test_the_json_has_what_is_promised(table):
    result = json.loads(json.dumps(analyse(quick(table, params="params", data="tokens")), allow_nan=False))
    assert set(result) >= PROMISED
    assert result["law"] == "chinchilla"
    assert result["rows"] == 36
    assert result["status"] == "converged"
    alpha = result["parameters"]["alpha"]
    assert alpha["low"] < 0.34 < alpha["high"]
    assert len(result["diagnostics"]) == 13


def test_public_chinchilla_points_through_the_front_door(public):
    path = public.path("chinchilla_points.csv")
    result = analyse(Options(path, "loss", params="params", compute="flops", drop_highest=5, bootstrap=0))
    assert result["rows"] == 240
    assert result["objective"] <= 1.01827404e-3
    assert result["parameters"]["B"]["value"] == pytest.approx(2143.4, abs=1)
    assert "no --data given: D = C/(6N)" in result["notes"]


def test_public_gemstones_through_the_front_door(public):
    path = public.path("gemstones_hot.csv")
    result = analyse(Options(path, "final_loss", params="params", data="tokens", run="run_name", bootstrap=0))
    assert result["runs"] == 22
    assert result["objective"] <= 0.0019816129


@pytest.mark.parametrize("given", ["params", "tokens", "flops"])
def test_one_column_gets_a_law_of_one_variable(tmp_path, given):
    size = np.geomspace(1e5, 1e9, 25)
    path = write(tmp_path, **{given: size, "loss": 1.7 + 400 * size**-0.34})
    option = {"params": "params", "tokens": "data", "flops": "compute"}[given]
    result = analyse(quick(path, **{option: given}))
    assert result["law"] == "power_floor"
    assert result["parameters"]["alpha"]["value"] == pytest.approx(0.34, rel=1e-6)


def test_all_laws_are_ranked_by_back_test(table):
    result = analyse(quick(table, params="params", data="tokens", law="all", bootstrap=0))
    errors = [entry["error"] for entry in result["ranking"] if entry["error"] is not None]
    assert errors == sorted(errors)
    assert {"chinchilla", "kaplan", "power"} <= {entry["law"] for entry in result["ranking"]}
    assert result["law"] in ("chinchilla", "chinchilla_shared", "overtraining")
    assert "laws by error on held-back larger runs" in text(result)


def test_predictions_have_intervals_and_their_basis(table):
    result = analyse(quick(table, params="params", data="tokens", predict=("N=3e9,D=1e11", "N=1e9,C=6e20")))
    first, second = result["predictions"]
    assert first["low"] < first["value"] < first["high"]
    assert first["value"] == pytest.approx(1.7 + 400 * 3e9**-0.34 + 900 * 1e11**-0.33, rel=0.01)
    assert second["at"]["D"] == pytest.approx(1e11)
    assert "at C=1.8e+21, N=3e+09, D=1e+11" in text(result)


def test_families_are_compared_by_group(tmp_path):
    path = write(
        tmp_path, params=np.tile(SIZE, 2), tokens=np.tile(DATA, 2), family=np.repeat(["mlp", "gpt"], SIZE.size),
        loss=np.concatenate([loss(), 1.2 * loss()]),
    )  # fmt: skip
    result = analyse(quick(path, params="params", data="tokens", group="family", predict=("N=3e9,D=1e11",)))
    assert result["families"]["pairs"][0]["verdict"] == "gpt needs more compute than mlp for the same loss"
    assert result["families"]["ranking"]["ranking"][0]["family"] == "mlp"
    said = text(result)
    assert "gpt needs more compute than mlp" in said
    assert "untuned" not in said  # rows of both under one law, which is nobody's question
    assert said.count("status converged") == 2 and said.count("at C=1.8e+21") == 2
    mlp, gpt = (result["families"]["families"][name]["predictions"][0]["value"] for name in ("mlp", "gpt"))
    assert gpt == pytest.approx(1.2 * mlp, rel=0.02)


def test_runs_that_differ_in_a_column_outside_the_law_are_not_called_untuned(table):
    assert "they differ in D, which this law leaves out" in analyse(
        quick(table, params="params", data="tokens", law="power_floor")
    )["reasons"][0]  # fmt: skip
    assert "(--data, --group)" in analyse(quick(table, params="params", law="power_floor"))["reasons"][0]


def test_checkpoints_of_one_run_have_no_interval(tmp_path):
    steps = np.geomspace(100, 1e5, 40)
    losses = (3 + 30 * (steps + 50) ** -0.5) * np.exp(0.001 * np.random.default_rng(0).normal(size=40))
    path = write(tmp_path, step=steps, run=["r"] * 40, loss=losses)
    result = analyse(quick(path, steps="step", run="run", law="curve_power"))
    assert result["parameters"]["alpha"]["value"] == pytest.approx(0.5, abs=0.05)
    assert result["parameters"]["alpha"]["low"] is None and "intervals need at least 5 runs" in text(result)


def test_sizes_and_data_that_rise_together_have_no_frontier(tmp_path):
    size = np.geomspace(1e6, 1e9, 12)
    path = write(tmp_path, params=size, tokens=20 * size, loss=loss(size=size, data=20 * size))
    routes = analyse(quick(path, params="params", data="tokens"))["frontier"]["routes"]
    assert [route["exponent"] for route in routes] == [None] * 4


def test_an_accuracy_is_seen_to_be_no_loss(tmp_path):
    path = write(tmp_path, params=SIZE, tokens=DATA, accuracy=1 - 0.1 * loss())
    result = analyse(quick(path, params="params", data="tokens", loss="accuracy", bootstrap=0))
    assert "an accuracy?" in " ".join(result["reasons"])


def test_no_exponent_is_printed_where_none_is_identified(tmp_path):
    path = write(tmp_path, params=SIZE, tokens=20 * SIZE, loss=loss(data=20 * SIZE))
    result = analyse(quick(path, params="params", data="tokens"))
    assert result["status"] == "unidentified"
    assert result["parameters"]["alpha"]["value"] is None
    shown = text(result)
    assert "alpha withheld" in shown
    assert "several ratios D/N" in shown


def test_the_highest_losses_are_dropped_with_their_families(tmp_path):
    spoiled = loss()
    spoiled[[3, 20]] = 50.0
    path = write(tmp_path, params=SIZE, tokens=DATA, loss=spoiled)
    assert analyse(quick(path, params="params", data="tokens", drop_highest=2))["rows"] == 34


def test_results_are_written_where_asked(table, tmp_path):
    out = tmp_path / "made" / "here"
    result = analyse(quick(table, params="params", data="tokens", out=out))
    assert json.loads((out / "scaling.json").read_text()) == json.loads(json.dumps(result))
    rows = pd.read_csv(out / "points.csv")
    assert len(rows) == 36
    assert np.abs(rows["log_residual"]).max() < 0.02


def test_same_seed_same_result(table):
    first, second = (analyse(quick(table, params="params", data="tokens", seed=3)) for _ in range(2))
    assert first == second


def test_rows_with_an_empty_cell_are_left_out_and_counted(tmp_path):
    holes = loss()
    holes[5] = np.nan
    result = analyse(quick(write(tmp_path, params=SIZE, tokens=DATA, loss=holes), params="params", data="tokens"))
    assert result["rows"] == 35
    assert "1 of 36 rows have an empty cell and are left out" in result["notes"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"params": "parms"}, r"--params parms: no such column; did you mean params\?"),
        ({"params": "params", "loss": "los"}, r"--loss los: no such column; did you mean loss\?"),
        ({"params": "params", "run": "run"}, "--run run: no such column"),
        ({}, "give --params, --data or --compute"),
        ({"params": "params", "data": "params"}, "are the same column params"),
        ({"params": "params", "fit": "hubr"}, "fit 'hubr': not one of"),
        ({"params": "params", "fit": "huber:x"}, "'x' is not a number"),
        ({"params": "params", "on": "loglog"}, "on 'loglog': not one of log, linear"),
        ({"params": "params", "law": "powr"}, "law 'powr': not one of all, power"),
        ({"params": "params", "law": "chinchilla"}, "needs the column D"),
        ({"params": "params", "drop_highest": 36}, "drop-highest 36: valid is 0 to 35"),
        ({"params": "params", "drop_highest": 34}, "2 rows for 2 parameters"),
        ({"params": "params", "predict": ("N:3",)}, "is not SYMBOL=NUMBER"),
        ({"params": "params", "predict": ("N=-3",)}, "-3 is not a finite number above zero"),
        ({"params": "params", "data": "tokens", "predict": ("N=3e9",)}, "law chinchilla needs N, D; D not given"),
        ({"params": "params", "data": "tokens", "predict": ("N=1e14,D=1e16",)}, "decades of cost beyond"),
        ({"params": "params", "bootstrap": 1}, "bootstrap 1"),
        ({"params": "params", "seed": -1}, "seed -1"),
        ({"params": "params", "beyond": -1.0}, "beyond -1: valid are decades from 0 up"),
    ],
)  # fmt: skip
def test_a_mistake_gives_one_line_that_says_what_is_valid(table, options, message):
    with pytest.raises(UserError, match=message) as caught:
        analyse(quick(table, **options))
    assert "\n" not in str(caught.value)


def test_a_word_among_numbers_is_named_by_line_and_column(tmp_path):
    cells = [str(value) for value in SIZE]
    cells[4] = "big"
    with pytest.raises(UserError, match="line 6, column params: 'big' is not a number"):
        analyse(quick(write(tmp_path, params=cells, loss=loss()), params="params"))


@pytest.mark.parametrize("bad", [-1.0, 0.0, np.inf])
def test_a_number_that_is_not_above_zero_is_named_by_line_and_column(tmp_path, bad):
    spoiled = loss()
    spoiled[2] = bad
    with pytest.raises(UserError, match=r"line 4, column loss: .* is not a finite number above zero"):
        analyse(quick(write(tmp_path, params=SIZE, loss=spoiled), params="params"))


def test_columns_that_are_equal_are_refused(tmp_path):
    with pytest.raises(UserError, match="columns params and tokens are equal"):
        analyse(quick(write(tmp_path, params=SIZE, tokens=SIZE, loss=loss()), params="params", data="tokens"))


def test_a_file_that_is_not_there_or_no_table(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        analyse(quick(tmp_path / "none.csv", params="params"))
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(UserError, match="not a CSV table"):
        analyse(quick(tmp_path / "empty.csv", params="params"))


def test_neither_torch_nor_ray_nor_a_plotting_library_is_loaded():
    import subprocess
    import sys

    code = (
        "import sys; import orchestrator.report.scaling.table; "
        "heavy = ('torch', 'ray', 'mlflow', 'optuna', 'matplotlib', 'seaborn', 'pandas'); "
        "print([name for name in heavy if name in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )
