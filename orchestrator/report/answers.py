"""The verdict in words that need no statistics, and as JSON. The page and `orchestrate compare` say the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from orchestrator.errors import UserError
from orchestrator.report import anytime, frames, verdict, wording
from orchestrator.report.verdict import (
    BETTER,
    EQUAL,
    LUCK,
    ONE_SEED,
    SAME_SEEDS,
    SHORT_SEARCH,
    TOO_MANY,
    UNSETTLED,
    Comparison,
    Standing,
    Verdict,
)

Mark = Callable[[str], Markup]

# Luck is the obstacle, and an estimate of it is all but a guess.
GUESS = "guess"
# Metrics from 0 to 1, of which no two differ by more than 1.
UP_TO_ONE = (
    "accuracy",
    "balanced_accuracy",
    "top5_accuracy",
    "f1",
    "auc",
    "roc_auc",
    "average_precision",
    "iou",
    "dice",
    "coverage",
)

# What would settle a pair that more seeds alone would not, or where nobody can say how many.
REMEDIES = {
    ONE_SEED: "needs at least 2 more seeds: from one seed nobody can say how much seeds differ",
    SAME_SEEDS: "the seeds of a family all gave the very same number, so how much seeds differ is not known; "
    "a finer metric, such as the loss, would tell",
    SHORT_SEARCH: "needs more search trials: from fewer than three with a value nobody knows how lucky the search was",
    LUCK: "more seeds will not settle it, since they do not lessen the luck of the search; more search trials may",
    GUESS: "how lucky the searches were is itself hardly known, since only about {counted:.0f} trials of a family "
    "count for it; with about {trials:,} trials a cell it would be known well enough, more seeds do not help",
    TOO_MANY: f"the difference is so small that it would need more than {verdict.MOST_SEEDS:,} more seeds a family",
}
# The same for a column of a table.
IN_SHORT = {
    ONE_SEED: "a single seed",
    SAME_SEEDS: "seeds all alike",
    SHORT_SEARCH: "too few search trials",
    LUCK: "luck of the search, not of seeds",
    GUESS: "luck of the search hardly known",
    TOO_MANY: f"over {verdict.MOST_SEEDS:,} more seeds",
}
# Rather the one that nothing can be done without.
WORST_FIRST = (ONE_SEED, SAME_SEEDS, SHORT_SEARCH, GUESS, LUCK, TOO_MANY)


def judged(run_dir: Path, confidence: float, delta: float | None) -> Verdict:
    """The verdict on one run.

    Raises:
        UserError: no run there, no trials yet, or a confidence or δ that cannot be.
    """
    if not 0.5 <= confidence < 1:
        raise UserError(f"--confidence: expected a number from 0.5 to below 1, found {confidence:g}")
    if delta is not None and not 0 < delta < float("inf"):
        raise UserError(f"--delta: expected a difference above 0, in the unit of the metric, found {delta:g}")
    return verdict.judge(frames.read([run_dir]), confidence, delta)


def overall(found: Verdict, mark: Mark = Markup.escape) -> Markup:
    """The answer for all families, in one to three sentences."""
    metric = wording.metric(f"test_{found.metric}")
    if not found.standings:
        return Markup("Not known yet: no finalist has a {}.").format(metric)
    lead = found.standings[0]
    measured = Markup("its mean {} is {} {}").format(metric, wording.number(lead.mean), seeds(lead))
    rest = _untested(found, mark)
    if len(found.standings) == 1:
        return Markup("Only {} was tested: {}.").format(mark(lead.family), measured) + rest
    by = {answer: [pair for pair in found.leading() if pair.answer == answer] for answer in (BETTER, EQUAL, UNSETTLED)}
    if found.answer == BETTER:
        text = Markup("{} is better than {}: {}.").format(mark(lead.family), _names(by[BETTER], mark), measured)
        return text + rest
    if found.answer == EQUAL:
        level = [lead.family, *(pair.second for pair in by[EQUAL])]
        among = [pair for pair in found.comparisons if pair.first in level and pair.second in level]
        if all(pair.answer == EQUAL for pair in among):
            between = Markup(wording.listing([str(mark(family)) for family in level]))
        else:
            between = Markup("{} and each of {}").format(mark(lead.family), _names(by[EQUAL], mark))
        text = Markup("No difference larger than {} between {}").format(wording.number(found.delta, 2), between)
        text += (
            Markup("; {} is better than {}.").format(mark(lead.family), _names(by[BETTER], mark))
            if by[BETTER]
            else Markup(".")
        )
        return text + rest
    open_pairs = by[UNSETTLED]
    text = Markup("Cannot tell whether {} is better than {}: it is ahead, {}, but that may be luck").format(
        mark(lead.family), _names(open_pairs, mark, "or"), measured
    )
    settled = (
        (BETTER, "it is better than"),
        (EQUAL, f"it differs by no more than {wording.number(found.delta, 2)} from"),
    )
    said = [Markup("{} {}").format(words, _names(by[answer], mark)) for answer, words in settled if by[answer]]
    text += Markup("; ") + Markup(" and ").join(said) if said else Markup("")
    return text + Markup(". {}.").format(wording.capital(needed(open_pairs))) + rest


def of_pair(pair: Comparison, delta: float | None) -> str:
    """The answer for one pair, as words."""
    if pair.answer == BETTER:
        return f"{pair.first} is better"
    if pair.answer == EQUAL:
        return f"no difference larger than {wording.number(delta, 2)}"
    return f"cannot tell: {needed([pair])}"


def of_pair_in_short(pair: Comparison, delta: float | None) -> str:
    """The same for a column of a table."""
    if pair.answer != UNSETTLED:
        return of_pair(pair, delta)
    more = f"about {wording.plural(pair.more_seeds or 0, 'more seed')} each"
    return f"cannot tell: {IN_SHORT.get(_obstacle(pair), more)}"


def needed(pairs: Sequence[Comparison]) -> str:
    """What would settle all of these pairs."""
    obstacles = {_obstacle(pair) for pair in pairs}
    guesses = [pair.guess for pair in pairs if pair.guess]
    for obstacle in WORST_FIRST:
        if obstacle in obstacles:
            counted = min((guess.counted for guess in guesses), default=0.0)
            return REMEDIES[obstacle].format(counted=counted, trials=max((one.trials for one in guesses), default=0))
    more = max(pair.more_seeds or 0 for pair in pairs)
    return f"needs about {wording.plural(more, 'more seed')} of each family"


def _obstacle(pair: Comparison) -> str:
    return GUESS if pair.guess else pair.obstacle


def seeds(standing: Standing) -> str:
    count = len(standing.values)
    return f"over {count} seeds" if count > 1 else "on a single seed"


def equal_spend(found: Verdict, mark: Mark = Markup.escape) -> Markup:
    """How the families' searches stood when each had cost as much as the cheapest cost in all; or nothing.

    By time of workers, and by training compute. Families of which one trial alone costs more are named.
    """
    hours, by_time = anytime.at_spend(found.curves)
    flops, by_compute = anytime.at_spend(found.curves, "flops")
    if len(found.standings) < 2 or hours <= 0:
        return Markup("")
    text = Markup(
        "After {} of workers, which is what the cheapest search cost, the searches are expected to have come to a best "
        "validation {} of {}."
    ).format(
        wording.duration(3600 * hours),
        wording.metric(found.metric),
        _standing_then(found, by_time, mark, "equal spend"),
    )
    if flops > 0:
        text += Markup(" After {} of training: {}.").format(
            wording.flop(flops), _standing_then(found, by_compute, mark, "equal compute")
        )
    text += Markup(" Each family was searched only once: take this as what was seen, not as a verdict.")
    if any(one.search.led for one in found.standings):
        text += Markup(" What the smaller networks' searches cost, which led there, is not in it.")
    return text


def left_out(found: Verdict, there: Mapping[str, float]) -> list[str]:
    """The families of which one trial alone costs more than the spend at which those that are `there` are compared."""
    return [one.family for one in found.standings if one.family not in there]


def _standing_then(found: Verdict, there: Mapping[str, float], mark: Mark, equal: str) -> Markup:
    best = (max if found.direction == "max" else min)(there, key=lambda family: there[family])
    listed = [str(Markup("{} {}").format(mark(family), wording.number(value))) for family, value in there.items()]
    lead = found.standings[0].family
    unlike = "" if best == lead else Markup(", though on test, after the whole searches, {} is").format(mark(lead))
    text = Markup(wording.listing(listed))
    if len(there) > 1:
        text += Markup(": {} is ahead at {}{}").format(mark(best), equal, unlike)
    if late := [str(mark(family)) for family in left_out(found, there)]:
        text += Markup("; not in it: {}, of which one trial alone costs more").format(Markup(wording.listing(late)))
    return text


def unequal_trials(found: Verdict) -> str:
    """What was done about searches of unequal length; or nothing."""
    counts = {one.family: one.search.count for one in found.standings}
    if len(set(counts.values())) < 2:
        return ""
    listed = wording.listing([f"{family} {wording.plural(count, 'trial')}" for family, count in counts.items()])
    return (
        f"The searches were of unequal length ({listed}). Each pair is compared at the smaller number: the one with "
        "more trials gets no credit for what they are expected to have gained it."
    )


def text(found: Verdict) -> str:
    """What `orchestrate compare` prints."""
    lines = [_plain(overall(found))]
    if found.standings:
        lines += ["", *_columns(_standing_rows(found))]
    if found.comparisons:
        lines += ["", *_columns(_pair_rows(found))]
        if found.delta is not None:
            lines += ["", f"A difference of {wording.number(found.delta, 2)} or less is counted as none."]
        lines += [f"All {100 * found.confidence:g} % intervals hold at once; fresh seeds and the luck of the search "
                  "are in them, another test split is not."]  # fmt: skip
    lines += [said for said in (unequal_trials(found), _plain(equal_spend(found))) if said]
    return "\n".join(lines)


def as_json(found: Verdict) -> dict[str, Any]:
    """What `orchestrate compare --json` prints; every number finite or None."""
    pairs = [
        {
            "first": pair.first,
            "second": pair.second,
            "difference": pair.difference,
            "interval": list(pair.interval) if pair.interval else None,
            "answer": pair.answer,
            "more_seeds": pair.more_seeds,
            "obstacle": pair.obstacle or None,
            "trials_a_cell_to_know_the_luck": pair.guess and pair.guess.trials,
            "words": of_pair(pair, found.delta),
        }
        for pair in found.comparisons
    ]
    hours, there = anytime.at_spend(found.curves)
    flops, by_compute = anytime.at_spend(found.curves, "flops")
    return {
        "answer": found.answer,
        "winner": found.winner,
        "words": _plain(overall(found)),
        "metric": f"test_{found.metric}",
        "direction": found.direction,
        "confidence": found.confidence,
        "delta": found.delta,
        "families": [_family(one) for one in found.standings],
        "untested": list(found.untested),
        "pairs": pairs,
        "luck": {one.family: one.luck and {**vars(one.luck), "sd": one.luck.deviation} for one in found.standings},
        "equal_spend": {"worker_hours": hours, "expected_best_validation": there, "left_out": left_out(found, there)},
        "equal_compute": {
            "flops": flops,
            "expected_best_validation": by_compute,
            "left_out": left_out(found, by_compute),
        },
    }


def _family(one: Standing) -> dict[str, Any]:
    return {
        "family": one.family,
        "cell": one.cell,
        "mean": one.mean,
        "sd": one.spread,
        "seeds": len(one.values),
        "finalists": list(one.trials),
        "trials": one.search.count,
        "spend": {"worker_hours": one.search.worker_hours, "flops": one.search.flops},
    }


def _standing_rows(found: Verdict) -> list[list[str]]:
    head = [
        "family",
        "cell",
        wording.metric(f"test_{found.metric}"),
        "± sd",
        "seeds",
        "search trials",
        "worker time",
        "search luck",
    ]
    return [head] + [
        [one.family, one.cell, wording.number(one.mean), wording.number(one.spread, 2), str(len(one.values)),
         str(one.search.count), wording.duration(3600 * one.search.worker_hours),
         wording.number(one.luck.deviation if one.luck else None, 2)]
        for one in found.standings
    ]  # fmt: skip


def _pair_rows(found: Verdict) -> list[list[str]]:
    rows = [["pair", "difference", "interval", "answer"]]
    for pair in found.comparisons:
        said = of_pair_in_short(pair, found.delta)
        between = interval(pair, found.metric)
        rows.append([f"{pair.first} – {pair.second}", wording.number(pair.difference, 3), between, said])
    return rows


def interval(pair: Comparison, metric: str) -> str:
    """As it is printed: no further than the metric goes, and not at all where the luck in it is but a guess."""
    if pair.interval is None:
        return "unknown"
    if pair.guess:
        return "hardly known"
    low, high = pair.interval
    if metric in UP_TO_ONE:
        low, high = max(low, -1.0), min(high, 1.0)
    return f"{wording.number(low, 2)} to {wording.number(high, 2)}"


def _columns(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _names(pairs: Sequence[Comparison], mark: Mark, last: str = "and") -> Markup:
    return Markup(wording.listing([str(mark(pair.second)) for pair in pairs], last))


def _untested(found: Verdict, mark: Mark) -> Markup:
    if not found.untested:
        return Markup("")
    names = Markup(wording.listing([str(mark(family)) for family in found.untested]))
    metric = wording.metric(f"test_{found.metric}")
    return Markup(" {} could not be judged: no finalist of it has a {}.").format(names, metric)


def _plain(said: Markup) -> str:
    return said.unescape()
