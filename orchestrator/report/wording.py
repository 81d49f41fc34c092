"""Numbers and lists in words that people read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

THIN = "\u202f"  # narrow, and no line is broken there
PREFIXES = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
NOTHING = "–"
# Of metrics, whose names are those of the specification; of the others the words are the name's own.
METRICS = {
    "frechet": "Fréchet distance",
    "kl": "KL divergence",
    "iou": "IoU",
    "mae": "MAE",
    "rmse": "RMSE",
    "r2": "R²",
    "roc_auc": "ROC AUC",
}
SPLITS = ("train_", "validation_", "test_")


def metric(name: str) -> str:
    """test_roc_auc: test ROC AUC."""
    split = next((split for split in SPLITS if name.startswith(split)), "")
    plain = name.removeprefix(split)
    return split.replace("_", " ") + METRICS.get(plain, plain.replace("_", " "))


def capital(words: str) -> str:
    """The first letter large, the others as they are."""
    return words[:1].upper() + words[1:]


def missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def count(value: float | None) -> str:
    """12,345."""
    return NOTHING if value is None or missing(value) else f"{round(value):,}"


def short(value: float | None, unit: str = "") -> str:
    """12.3 k, 4.56 M: three significant digits and a metric prefix."""
    if value is None or missing(value):
        return NOTHING
    for scale, prefix in PREFIXES:
        if abs(value) >= scale * 0.9995:
            return f"{_three(value / scale)}{THIN}{prefix}{unit}"
    return f"{_three(value)}{THIN}{unit}" if unit else _three(value)


def tick(value: float) -> str:
    """A number along an axis: 1 k, 2.5 M."""
    figures, *prefix = short(value).split(THIN)
    return THIN.join([figures.rstrip("0").rstrip(".") if "." in figures else figures, *prefix])


def _three(value: float) -> str:
    # Rounded first: 0.9996 has as many digits before the point as 1.00.
    digits = max(0, 2 - math.floor(math.log10(abs(float(f"{value:.2e}"))))) if value else 0
    return f"{value:.{min(digits, 4)}f}"


def flop(value: float | None) -> str:
    """Floating-point operations: 1.23 TFLOP."""
    return short(value, "FLOP")


def number(value: float | None, digits: int = 4) -> str:
    """A measured value at `digits` significant digits; very large or small ones as powers of ten."""
    if value is None or missing(value):
        return NOTHING
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value != 0 and not 1e-3 <= abs(value) < 1e6:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        power = f"10{_superscript(int(exponent))}"
        return (power if float(mantissa) == 1 else f"{mantissa}·{power}").replace("-", "−")
    digits_after = max(0, digits - 1 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:,.{digits_after}f}".replace("-", "−")


def setting(value: Any) -> str:
    """A hyperparameter's value."""
    if missing(value):
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        figures, times, power = number(value, 3).partition("·")
        return (figures.rstrip("0").rstrip(".") if "." in figures else figures) + times + power
    return f"{value:,}" if isinstance(value, int) else str(value)


def percent(share: float | None) -> str:
    if share is None or missing(share):
        return NOTHING
    if 0 < share < 0.005:
        return f"<1{THIN}%"
    if 0.995 <= share < 1:
        return f">99{THIN}%"
    return f"{100 * share:.0f}{THIN}%"


def duration(seconds: float | None) -> str:
    """2 h 05 min, 3 min 20 s, 4.2 s."""
    if seconds is None or missing(seconds):
        return NOTHING
    if seconds < 59.95:
        return f"{seconds:.3g}{THIN}s"
    if seconds < 3599.5:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes}{THIN}min {rest:02d}{THIN}s"
    hours, rest = divmod(round(seconds / 60), 60)
    return f"{hours}{THIN}h {rest:02d}{THIN}min"


def listing(words: Sequence[str], last: str = "and") -> str:
    """a, b and c."""
    words = [str(word) for word in words]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}" if words else "none"


def plural(amount: int, one: str, many: str | None = None) -> str:
    """1 trial, 2 trials."""
    return f"{amount:,} {one if amount == 1 else many or one + 's'}"


def _superscript(value: int) -> str:
    return str(value).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
