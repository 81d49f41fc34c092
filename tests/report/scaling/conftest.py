"""The public tables: they are not part of the repository, and a test that needs them is skipped without."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from orchestrator.report.scaling import Points

BESIDE = Path(__file__).parents[4] / "shared" / "scaling"


def numbers(frame: pd.DataFrame, name: str) -> np.ndarray:
    return frame[name].to_numpy(float)


class PublicTables:
    """Reads the tables; where the folder is missing, the test is skipped with the reason."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        path = self.folder / name
        if not path.exists():
            pytest.skip(f"the public table {name} is not here: set ORCHESTRATOR_SCALING_TABLES to its folder")
        return path

    def frame(self, name: str) -> pd.DataFrame:
        return pd.read_csv(self.path(name))

    @property
    def expected(self) -> dict[str, Any]:
        return json.loads(self.path("expected.json").read_text())

    def chinchilla(self) -> Points:
        frame = self.frame("chinchilla_points.csv")
        params, flops = numbers(frame, "params"), numbers(frame, "flops")
        return Points({"N": params, "D": flops / (6 * params)}, numbers(frame, "loss")).drop_highest(5)

    def gemstones(self, which: str, embeddings: bool = True) -> Points:
        frame = self.frame(f"gemstones_{which}.csv")
        params = numbers(frame, "params") - (0 if embeddings else 50304 * numbers(frame, "width"))
        columns = {
            "N": params,
            "D": numbers(frame, "tokens"),
            "W": numbers(frame, "width"),
            "H": numbers(frame, "depth"),
        }
        if "flops" in frame:
            columns["C"] = numbers(frame, "flops")
        return Points(columns, numbers(frame, "final_loss"), frame["run_name"].to_numpy(str))

    def isoflop(self, experiment: str) -> Points:
        frame = self.frame("isoflop_profiles.csv")
        frame = frame[frame["experiment"] == experiment]
        columns = {"N": numbers(frame, "params"), "D": numbers(frame, "tokens"), "C": numbers(frame, "flops")}
        return Points(columns, numbers(frame, "loss"))

    def overtraining(self, dataset: str) -> tuple[pd.DataFrame, Points]:
        frame = self.frame("overtraining.csv")
        frame = frame[frame["dataset"] == dataset].reset_index(drop=True)
        return frame, Points({"N": numbers(frame, "N"), "D": numbers(frame, "D")}, numbers(frame, "loss_c4_val"))


@pytest.fixture(scope="session")
def public() -> PublicTables:
    return PublicTables(Path(os.environ.get("ORCHESTRATOR_SCALING_TABLES", BESIDE)))
