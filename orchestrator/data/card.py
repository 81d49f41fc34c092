"""The card of a prepared data set: what its arrays are, where they came from, how to normalize them."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from orchestrator.errors import UserError
from orchestrator.graphs import Graphs
from orchestrator.tokens import Tokens
from orchestrator.windows import Windows

TASKS = (
    "classification",
    "regression",
    "segmentation",
    "multilabel",
    "node_classification",
    "language_modelling",
    "transduction",
    "generation",
    "anomaly_detection",
)
MASKED = "masked_language_modelling"  # of texts, whatever task they have
SPLITS = ("train", "validation", "test")
FILE = "card.json"
JUDGE_FILE = "judge.npz"  # beside it, for generation


@dataclass(frozen=True)
class Card:
    """Written beside the prepared arrays as `card.json`; the same bytes on every machine.

    `input_shape` is one sample without the batch axis: (features,), (channels, height, width) or (time,
    features). `sizes` counts samples per split. `source` maps each file to its sha256, `fingerprint` is the
    sha256 over the prepared arrays: the version of the data. `normalization` holds what `load` applies,
    fitted on the training rows: `mean` and `scale` (one per feature or channel), for regression also
    `target_mean` and `target_scale`. `window` is (past, ahead) in time steps where samples are windows of a
    series, else None; target column j then belongs to channel j % channels, and `input_shape` is a
    `windows.Windows`. `recipe` is a hash of how the
    arrays were made.

    Text is token ids, in arrays [n, time], with `input_shape` (time, size of the vocabulary) as `tokens.Tokens`.
    `vocabulary` is what each id stands for, `target_vocabulary` where targets are of other tokens; both begin with
    `tokens.SPECIAL`. `padded` says that samples are of different length and filled up at the end: with the id 0, or
    with steps of NaN in the arrays, which `load` makes zeros. For language_modelling the targets are the inputs one
    token on; for transduction they are between <begin> and <end>, padded to the inputs' length + 2.

    For segmentation the targets are images of classes, [height, width] each, of which 0 is the background.

    `graphs`: samples are graphs, with `input_shape` a `graphs.Graphs` and arrays [n, nodes, codes + neighbours];
    `features` names the ids from 1 on. For multilabel the targets are 1, 0 or NaN, not known, and `classes` names them.
    For node_classification there is one graph, which all splits share; `sizes` counts the nodes whose class is told.

    For generation there are no targets, `outputs` counts the values of a sample, and `normalization` only divides: the
    training rows fill [0, 1]. What is generated has a judge (`judge.py`).

    For anomaly_detection the targets are 0 for what is normal, as all training rows are, and 1 for an anomaly;
    `outputs` counts the values of a row.
    """

    name: str
    task: str
    input_shape: tuple[int, ...]
    outputs: int
    classes: tuple[str, ...]
    sizes: Mapping[str, int]
    licence: str
    source: Mapping[str, str]
    fingerprint: str
    normalization: Mapping[str, Any]
    features: tuple[str, ...] = ()
    window: tuple[int, int] | None = None
    dropped_rows: int = 0
    recipe: str = ""
    vocabulary: tuple[str, ...] = ()
    target_vocabulary: tuple[str, ...] = ()
    padded: bool = False
    graphs: bool = False

    def learnt_by(self, task: str | None) -> "Card":
        """The same samples for another task than their own (None: their own).

        Texts can be learnt from without their targets, by masked_language_modelling; UserError for anything else.
        """
        if task in (None, self.task):
            return self
        if task != MASKED:
            able = f"{self.task}, {MASKED}" if self.vocabulary else self.task
            raise UserError(f"{self.name} can't be learnt by {task!r}; valid: {able}")
        if not self.vocabulary:
            raise UserError(f"{self.name}: {MASKED} needs text; this is {self.task} on numbers")
        return replace(self, task=MASKED, outputs=len(self.vocabulary), classes=())

    def write(self, folder: Path) -> None:
        """Write `folder/card.json`."""
        text = json.dumps(asdict(self), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
        # newline="": the card is hashed with the data, so Windows must not turn \n into \r\n.
        (folder / FILE).write_text(text + "\n", encoding="utf-8", newline="")

    @classmethod
    def read(cls, folder: Path) -> "Card":
        """Read `folder/card.json`; UserError where there is none or it is not a card."""
        path = Path(folder) / FILE
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(
                f"{folder}: no prepared data here (no {FILE}); make it with "
                f"`orchestrate data prepare {Path(folder).name}`"
            ) from None
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from None
        except ValueError as error:
            raise UserError(f"{path}: not a card, {error}; delete the folder and prepare it again") from None
        known = {field.name for field in fields(cls)}
        required = {field.name for field in fields(cls) if field.default is MISSING}
        if not isinstance(values, dict) or set(values) - known or required - set(values):
            raise UserError(f"{path}: not a card of this version; delete the folder and prepare it again")
        for key in ("classes", "features", "window", "vocabulary", "target_vocabulary"):
            if values.get(key) is not None:
                values[key] = tuple(values[key])
        return cls(**values | {"input_shape": shape(values)})


def shape(card: Mapping[str, Any]) -> tuple[int, ...]:
    """A card's input shape, as the kind of samples that the card's other values say it is of."""
    kinds: dict[str, Callable[..., tuple[int, ...]]] = {"vocabulary": Tokens, "graphs": Graphs, "window": Windows}
    kind = next((kind for key, kind in kinds.items() if card.get(key)), None)
    return kind(*card["input_shape"]) if kind else tuple(card["input_shape"])


def judge_digest(folder: Path) -> str | None:
    """The sha256 of a prepared folder's judge, None where it has none; UserError where it can't be read.

    It is not of the fingerprint: the same data, prepared on two machines, may have two judges, whose distances are not
    to be compared.
    """
    path = Path(folder) / JUDGE_FILE
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


def sample(shape: tuple[int, ...]) -> str:
    """A sample of this input shape in words: 1×28×28, or a text, or a graph."""
    return str(shape) if isinstance(shape, Tokens | Graphs) else "×".join(map(str, shape))
