"""Rows of which some are anomalies: what is normal is learnt from rows that have none.

The training rows, and with them the statistics that inputs are normalized by, are normal ones alone. The anomalies that
would be among them go to validation: there as in test a label says what each row is, and no row is thrown away.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.order import Rows
from orchestrator.data.raw import Columns
from orchestrator.errors import UserError

CLASSES = ("normal", "anomaly")


def check_anomalies(name: str, inputs: NDArray[Any] | Columns, targets: NDArray[Any]) -> None:
    """UserError where the inputs are no table, or the targets are not 0 and 1."""
    if not isinstance(inputs, dict) and inputs.ndim != 2:
        raise UserError(f"{name}: anomaly_detection takes rows of numbers; one sample is {inputs.shape[1:]}")
    found = np.unique(targets).tolist()
    if found != [0, 1]:
        raise UserError(
            f"{name}: the target of anomaly_detection is 0 for a normal row and 1 for an anomaly, and there are both; "
            f"it holds {', '.join(map(str, found[:10]))}"
        )


def normal_to_train(rows: dict[str, Rows], labels: NDArray[Any]) -> dict[str, Rows]:
    """The split with its training anomalies in validation, after the rows that are there."""
    anomalous = labels[rows["train"]] == 1
    validation = np.concatenate([rows["validation"], rows["train"][anomalous]])
    return rows | {"train": rows["train"][~anomalous], "validation": validation}
