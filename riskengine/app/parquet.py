"""Tables of named columns as Parquet files, through duckdb."""

import functools
from pathlib import Path
from typing import Any

import numpy as np

KINDS = {"f": (np.float64, "DOUBLE"), "i": (np.int64, "BIGINT"), "b": (np.bool_, "BOOLEAN")}
# One thread: the same table gives the same bytes. No spilling, no extensions: nothing is written or
# fetched beside the file itself.
LIMITS: dict[str, Any] = {
    "threads": 1,
    "memory_limit": "1GB",
    "temp_directory": "",
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}


def write(path: Path, columns: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    """Write columns of equal length; numbers widen to float64 or int64, text is str.

    Not a number stays that (duckdb takes a NaN from NumPy for a missing value, and nothing here is
    missing), and infinities stay infinite. Raises OSError where the file cannot be written.
    """
    if len({len(column) for column in columns.values()}) != 1:
        raise ValueError(f"columns must have one length, got {_lengths(columns)}")
    typed = [_typed(name, column) for name, column in columns.items()]
    selected = ", ".join(
        f"{_expression(place, kind)} AS {_quoted(name)}"
        for place, (name, (_, kind)) in enumerate(zip(columns, typed, strict=True))
    )
    keys = sorted(metadata)
    pairs = f", KV_METADATA {{{', '.join(f'{_quoted(k)}: ?' for k in keys)}}}" if keys else ""
    command = f"COPY (SELECT {selected} FROM table_) TO ? (FORMAT parquet, COMPRESSION zstd{pairs})"
    _run(
        command,
        [_plain(path), *(metadata[key] for key in keys)],
        {str(place): column for place, (column, _) in enumerate(typed)},
    )


def read(path: Path) -> dict[str, np.ndarray]:
    """Columns by name, in the order of the file."""
    command = "SELECT * FROM read_parquet(?, hive_partitioning = false)"
    return {name: _full(name, column) for name, column in _run(command, [_plain(path)]).items()}


def metadata(path: Path) -> dict[str, str]:
    """What was written beside the columns."""
    table = _run("SELECT key, value FROM parquet_kv_metadata(?)", [_plain(path)])
    return {key.decode(): value.decode() for key, value in zip(*table.values(), strict=True)}


def rows(path: Path) -> int:
    """Number of rows, from the file's footer."""
    table = _run("SELECT num_rows FROM parquet_file_metadata(?)", [_plain(path)])
    return int(table["num_rows"][0])


@functools.cache
def _database() -> Any:
    """An empty database in memory; made once, which takes longer than a small table."""
    import duckdb

    return duckdb.connect(":memory:", config=LIMITS)


def _run(command: str, values: list[str], table: dict[str, np.ndarray] | None = None) -> dict:
    """Run one statement; what duckdb cannot do with a file is an OSError."""
    import duckdb

    try:
        with _database().cursor() as connection:
            if table is not None:
                connection.register("table_", table)
            return connection.execute(command, values).fetchnumpy()
    except (duckdb.IOException, duckdb.OutOfMemoryException, duckdb.InvalidInputException) as error:
        raise OSError(str(error).partition("\n")[0]) from error


def _typed(name: str, column: np.ndarray) -> tuple[np.ndarray, str]:
    """A column in one of the four types that are stored, and duckdb's name of the type."""
    column = np.asarray(column)
    kind = "i" if column.dtype.kind == "u" else column.dtype.kind
    if kind in KINDS:
        dtype, stored = KINDS[kind]
        return np.ascontiguousarray(column.astype(dtype, casting="safe")), stored
    if kind == "U" or all(isinstance(value, str) for value in column):
        return column.astype(object), "VARCHAR"
    raise TypeError(f"column {name} must hold numbers, booleans or text, got {column.dtype}")


def _expression(place: int, kind: str) -> str:
    value = f'"{place}"::{kind}'
    return f"coalesce({value}, 'nan'::DOUBLE)" if kind == "DOUBLE" else value


def _full(name: str, column: np.ndarray) -> np.ndarray:
    """A column as it was written; a missing value in a foreign file reads as not a number."""
    if isinstance(column, np.ma.MaskedArray):
        if column.dtype.kind != "f":
            raise OSError(f"column {name} has missing values")
        return column.filled(np.nan)
    return column.astype(str) if column.dtype == object else column


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _plain(path: Path) -> str:
    """An absolute path: a relative one could look like an address on the network."""
    return str(path.absolute())


def _lengths(columns: dict[str, np.ndarray]) -> str:
    return ", ".join(f"{name} {len(column)}" for name, column in columns.items())
