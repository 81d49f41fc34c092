"""Learning problems. Families differ in the training *step*, so the task owns it and the loop is written once.

Adding a task: its file (see `task.py` for what it must offer), a line here, a test.
"""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.tasks.adversarial_generation import AdversarialGeneration
from orchestrator.tasks.anomaly_detection import AnomalyDetection
from orchestrator.tasks.classification import Classification
from orchestrator.tasks.denoising import Denoising
from orchestrator.tasks.generation import Generation
from orchestrator.tasks.language_modelling import LanguageModelling
from orchestrator.tasks.masked_language_modelling import MaskedLanguageModelling
from orchestrator.tasks.multilabel import Multilabel
from orchestrator.tasks.node_classification import NodeClassification
from orchestrator.tasks.regression import Regression
from orchestrator.tasks.segmentation import Segmentation
from orchestrator.tasks.task import Direction, Judge, Split, Task
from orchestrator.tasks.transduction import Transduction

# Each entry is a class: `TASKS["classification"].metrics`, `TASKS["classification"](label_smoothing=0.1)`.
TASKS: Mapping[str, type[Task]] = {
    "classification": Classification,
    "regression": Regression,
    "segmentation": Segmentation,
    "multilabel": Multilabel,
    "node_classification": NodeClassification,
    "language_modelling": LanguageModelling,
    "masked_language_modelling": MaskedLanguageModelling,
    "transduction": Transduction,
    "generation": Generation,
    "adversarial_generation": AdversarialGeneration,
    "denoising": Denoising,
    "anomaly_detection": AnomalyDetection,
}

# Other ways to learn what the data of a task is for: a family that goes one of them is trained on such data too.
WAYS: Mapping[str, str] = {"adversarial_generation": "generation", "denoising": "generation"}

__all__ = ["TASKS", "WAYS", "Direction", "Judge", "Split", "Task"]
