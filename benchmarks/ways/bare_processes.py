"""As many bare loops as there are workers, side by side, each with its share of the trials: what the machine can do at
best while all its workers train (they share caches, memory, and perhaps a core).
"""

from __future__ import annotations

from ways import bare_loop
from ways.setting import Measured, Setting, main, side_by_side


def share(setting: Setting, number: int) -> Measured:
    return bare_loop.train(setting, bare_loop.trials(setting)[number :: setting.workers])


def run(setting: Setting) -> Measured:
    return side_by_side(share, setting)


if __name__ == "__main__":
    main(run)
