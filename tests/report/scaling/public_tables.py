"""Where the public tables lie: they are not part of the repository, and a test that needs them is skipped without."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from orchestrator.report.scaling import Points

FOLDER = Path(os.environ.get("ORCHESTRATOR_SCALING_TABLES", Path(__file__).parents[4] / "shared" / "scaling"))


def table(name: str) -> pd.DataFrame:
    path = FOLDER / name
    if not path.exists():
        pytest.skip(f"the public table {name} is not here: set ORCHESTRATOR_SCALING_TABLES to its folder")
    return pd.read_csv(path)


def numbers(frame: pd.DataFrame, name: str) -> np.ndarray:
    return frame[name].to_numpy(float)


def chinchilla() -> Points:
    frame = table("chinchilla_points.csv")
    params, flops = numbers(frame, "params"), numbers(frame, "flops")
    return Points({"N": params, "D": flops / (6 * params)}, numbers(frame, "loss")).drop_highest(5)


def gemstones(which: str, embeddings: bool = True) -> Points:
    frame = table(f"gemstones_{which}.csv")
    params = numbers(frame, "params") - (0 if embeddings else 50304 * numbers(frame, "width"))
    return Points({"N": params, "D": numbers(frame, "tokens")}, numbers(frame, "final_loss"), frame["run_name"].to_numpy())


def overtraining(dataset: str) -> tuple[pd.DataFrame, Points]:
    frame = table("overtraining.csv")
    frame = frame[frame["dataset"] == dataset].reset_index(drop=True)
    return frame, Points({"N": numbers(frame, "N"), "D": numbers(frame, "D")}, numbers(frame, "loss_c4_val"))
