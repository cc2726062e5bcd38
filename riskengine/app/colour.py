"""What a stream can show: its letters, and colour on terminals that have it (NO_COLOR: no-color.org)."""

import os
from typing import Any, TextIO

BOLD, RED, YELLOW = "1", "1;31", "33"


def paint(text: str, code: str, stream: Any) -> str:
    """The text in a colour, if the stream shows any."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    if plain or not stream.isatty():
        return text
    return f"\x1b[{code}m{text}\x1b[0m"


def carried(text: str, stream: TextIO) -> str:
    """Text that the stream's encoding can carry."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)
