"""What can go wrong for reasons outside the program, and how values are shown in messages."""


class InputError(ValueError):
    """The user's input is wrong: one line that names the field, what it must be and what it was."""

    exit_code = 2

    def __init__(self, field: str, must: str, got: object = None):
        self.field = field
        shown = "" if got is None else f", got {printable(got)}"
        super().__init__(f"{field} {must}{shown}")


class StoreError(RuntimeError):
    """A file cannot be written: one line with the path and the system's reason."""

    exit_code = 3


class CorruptRun(RuntimeError):
    """A finished run is not what its manifest says: one line that names the file."""

    exit_code = 4


class RunBusy(RuntimeError):
    """Another process works in the run folder."""

    exit_code = 5


def printable(value: object, limit: int = 80) -> str:
    """A value for a message: no control characters, not longer than `limit`."""
    text = value if isinstance(value, str) else repr(value)
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= limit else text[: limit - 1] + "…"
