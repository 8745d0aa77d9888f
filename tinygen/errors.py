"""The one exception that is meant for the user's eyes."""

import difflib
from collections.abc import Iterable


class TinygenError(Exception):
    """A mistake that the user can mend: the message is one line and says what to do. The CLI prints it and exits with code 2."""


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint such as `; did you mean 'cosine'? (known: cosine, linear)` for an unknown `word`."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"{hint} (known: {', '.join(known)})"
