"""Scaling laws: fit them, say what the data identify, predict with intervals that were measured, compare families."""

from orchestrator.report.scaling.fit import Estimate, Fit, FitOptions, fit
from orchestrator.report.scaling.law import Law
from orchestrator.report.scaling.laws import LAWS, law_named
from orchestrator.report.scaling.objective import Objective
from orchestrator.report.scaling.points import Points

__all__ = ["LAWS", "Estimate", "Fit", "FitOptions", "Law", "Objective", "Points", "fit", "law_named"]
