"""Ctrl-C, taken between two steps."""

import signal
import threading


class Interrupt:
    """Context in which the first Ctrl-C only sets `asked`; the second acts at once.

    A loop that looks at `asked` between steps saves a state that no half-done step has touched, so that the resumed run
    ends like one that was never stopped. Outside the main thread, or where Ctrl-C is ignored, nothing is changed.
    """

    def __init__(self):
        self.asked, self.previous = False, None

    def __enter__(self) -> "Interrupt":
        handler = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is threading.main_thread() and handler not in (signal.SIG_IGN, None):
            self.previous = signal.signal(signal.SIGINT, self.note)
        return self

    def __exit__(self, *_) -> None:
        if self.previous is not None:
            signal.signal(signal.SIGINT, self.previous)

    def note(self, *_) -> None:
        """What the first Ctrl-C does."""
        self.asked = True
        signal.signal(signal.SIGINT, self.previous)
