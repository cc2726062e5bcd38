"""Files as a user writes them, and what a good refusal looks like."""

from pathlib import Path

import duckdb
import pytest

from riskengine.errors import InputError

HEADER = "account,market,size,entry_price,collateral"
GOOD = f"{HEADER}\nalice,BTC,1.5,100,1000\nbob,ETH,-2,10,50\n"


def write(folder: Path, text: str | bytes, name: str = "book.csv") -> str:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def parquet(folder: Path, select: str, name: str = "book.parquet") -> str:
    path = folder / name
    with duckdb.connect() as connection:
        connection.execute(f"COPY ({select}) TO '{path}' (FORMAT parquet)")
    return str(path)


def refused(read, *parts: str) -> str:
    """One readable line that holds all parts."""
    with pytest.raises(InputError) as caught:
        read()
    text = str(caught.value)
    missing = [part for part in parts if part not in text]
    assert not missing, f"{missing} not in {text!r}"
    assert text.isprintable() and len(f"error: {text}") <= 300, text
    return text


def row(account="a", market="BTC", size="1", entry="100", collateral="10") -> str:
    return f"{HEADER}\nx,BTC,1,100,10\n{account},{market},{size},{entry},{collateral}\n"
