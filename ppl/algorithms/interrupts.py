"""Ctrl-C between steps, never inside one: what a run leaves behind is the state after a whole number of steps."""

from __future__ import annotations

import signal
import threading
from typing import Any


class BetweenSteps:
    """Within `with held:` a Ctrl-C waits until the block has ended; a second one does not wait.

    >>> held = BetweenSteps()
    >>> with held.listening(), held:
    ...     2 + 2
    4
    """

    def __init__(self) -> None:
        self.inside, self.asked = False, False

    def __enter__(self) -> None:
        self.inside = True

    def __exit__(self, *_: Any) -> None:
        self.inside = False
        if self.asked:
            self.asked = False
            raise KeyboardInterrupt

    def listening(self) -> _Listening:
        """While this lasts the signal is heard here, where it would raise KeyboardInterrupt otherwise."""
        return _Listening(self)

    def heard(self, number: int, frame: Any) -> None:
        if not self.inside or self.asked:
            self.asked = False
            raise KeyboardInterrupt
        self.asked = True


class _Listening:
    def __init__(self, held: BetweenSteps):
        self.held, self.replaced = held, False

    def __enter__(self) -> None:
        alone = threading.current_thread() is threading.main_thread()
        if alone and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self.held.heard)
            self.replaced = True

    def __exit__(self, *_: Any) -> None:
        if self.replaced:
            signal.signal(signal.SIGINT, signal.default_int_handler)
