"""What a person sees while a sweep runs: one live view on a terminal, a few lines elsewhere."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator import budget, journal
from orchestrator.history import History, cell_rows
from orchestrator.spec import NO_LIMIT
from orchestrator.time_left import seconds_left

# Without a terminal: one line each time this share of all trials has ended, so never more than 1 / SHARE lines.
SHARE = 0.1


class Progress:
    """Follows the journal in a thread of its own, as a context manager around a sweep."""

    def __init__(self, run_dir: Path, expected: int, console: Console) -> None:
        self._reader = journal.Reader(run_dir)
        self._history = History()
        self._expected, self._console = expected, console
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._began = time.monotonic()
        self._spent_before = 0.0

    def __enter__(self) -> Progress:
        self._update()
        self._spent_before = self._of_budget()
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()
        self._reader.close()

    def _update(self) -> None:
        for event in self._reader.new():
            self._history.apply(event)

    def _follow(self) -> None:
        if self._console.is_terminal:
            with Live(console=self._console, auto_refresh=False, transient=True) as live:
                while not self._over.wait(0.5):
                    self._update()
                    live.update(self._view(), refresh=True)
        else:
            told, ended = self._done(), _ended(self._history)
            while not self._over.wait(0.5):
                self._update()
                if self._done() >= told + SHARE and _ended(self._history) > ended:
                    told, ended = self._done(), _ended(self._history)
                    self._console.print(self._line(), soft_wrap=True, highlight=False)

    def _line(self) -> str:
        counts, ended = self._history.counts(), _ended(self._history)
        # More than expected: finalists that an extension replaced.
        of = f"/{max(self._expected, counts['asked'])}" if self._expected < NO_LIMIT else ""
        parts = [f"{ended}{of} trials"]
        if budget.limits(self._history):
            parts.append(f"{self._done():.0%} of the budget")
        parts += [f"{counts[word]} {word}" for word in ("running", "pruned", "diverged", "failed") if counts[word]]
        left = self._left()
        # Nothing is known of the first epoch, and nothing of the last minute: of a finalist's test, say.
        said = [f"about {duration(left)} left"] if left is not None and left >= 1 else []
        return ", ".join([*parts, *self._best(), *said])

    def _best(self) -> list[str]:
        direction = max if self._history.direction == "max" else min
        found = [(row["best"], row["cell"]) for row in cell_rows(self._history) if row["best"] is not None]
        return ["best {} {:.4g} ({})".format(self._history.metric, *direction(found))] if found else []

    def _done(self) -> float:
        """The share that is done, from 0 to 1: of the trials, or of the budget where that is nearer to its end."""
        return min(1.0, max(_ended(self._history) / self._expected, self._of_budget()))

    def _of_budget(self) -> float:
        """The largest share of what is limited that is spent; 0 without a budget."""
        so_far = budget.spent(self._history, time.time())
        return max((so_far[name] / limit for name, limit in budget.limits(self._history).items()), default=0.0)

    def _left(self) -> float | None:
        """Seconds until all trials have ended or, at this session's pace, the budget is spent; None if unknown."""
        left, spent = seconds_left(self._history), self._of_budget()
        if left is None or spent <= self._spent_before:
            return left
        pace = (spent - self._spent_before) / (time.monotonic() - self._began)
        return min(left, max(1.0 - spent, 0.0) / pace)

    def _view(self) -> Group:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name in ("cell", "done", "running", "pruned", "diverged", self._history.metric):
            table.add_column(name, justify="left" if name == "cell" else "right")
        running = {cell: 0 for cell in self._history.cells}
        for told in self._history.trials.values():
            running[told.trial.cell] += told.status == "running"
        rows = sorted(cell_rows(self._history), key=lambda row: -running[row["cell"]])
        room = max(3, self._console.size.height - 5)
        for row in rows[:room]:
            done = sum(row[word] for word in ("complete", "pruned", "diverged", "failed"))
            best = "" if row["best"] is None else f"{row['best']:.4g}"
            table.add_row(row["cell"], *map(_blank, (done, running[row["cell"]], row["pruned"], row["diverged"])), best)
        if len(rows) > room:
            table.add_row(f"… {len(rows) - room} cells more")
        head = Table.grid(padding=(0, 2))
        head.add_row(ProgressBar(total=1.0, completed=self._done(), width=30), Text(self._line()))
        return Group(head, table)


def duration(seconds: float) -> str:
    """`45 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _ended(history: History) -> int:
    counts = history.counts()
    return counts["asked"] - counts["running"] - sum(t.status == "asked" for t in history.trials.values())


def _blank(number: int) -> str:
    return str(number) if number else ""
