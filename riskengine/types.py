"""Frozen records that JAX can map over, double precision, and how programs are compiled."""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar, dataclass_transform

import jax

from riskengine.errors import InputError, printable  # noqa: F401

T = TypeVar("T")


def static(**options: Any) -> Any:
    """A field that is structure, not a number: another value compiles another program."""
    return dataclasses.field(metadata={"static": True}, **options)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(static,))
def pytree(cls: type[T]) -> type[T]:
    """Make `cls` a frozen keyword-only dataclass whose non-static fields are JAX leaves.

    Rebuilding a record never calls `__init__`: JAX puts shapes, booleans and placeholders where
    numbers belong, and a type checker on the constructor must not see those.
    """
    cls = dataclasses.dataclass(frozen=True, kw_only=True)(cls)
    fields = dataclasses.fields(cls)  # pyright: ignore[reportArgumentType]
    leaves = tuple(f.name for f in fields if not f.metadata.get("static"))
    structure = tuple(f.name for f in fields if f.metadata.get("static"))

    def flatten_with_keys(record):
        keyed = tuple((jax.tree_util.GetAttrKey(n), getattr(record, n)) for n in leaves)
        return keyed, tuple(getattr(record, n) for n in structure)

    def flatten(record):
        return tuple(getattr(record, n) for n in leaves), tuple(
            getattr(record, n) for n in structure
        )

    def unflatten(fixed, children):
        record = object.__new__(cls)
        for name, value in zip(leaves + structure, tuple(children) + tuple(fixed), strict=True):
            object.__setattr__(record, name, value)
        return record

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    return cls


def use_double() -> None:
    """Let JAX hold float64: pools and sums of money need it in every precision of the state."""
    jax.config.update("jax_enable_x64", True)


# XLA's CPU compiler drops optimization barriers before it decides what to merge. Two things go wrong
# without them. A gather that is merged with a concatenation computes garbage on the CPU with jax
# 0.10.1 to 0.11.2 (tests/test_numerics.py shows it); and whole chains of elementwise work are
# computed again inside every reordering, which made a step 2.3 times slower.
CPU_OPTIONS = {"xla_disable_hlo_passes": "cse_barrier_expander,small-while-loop-hoisting"}


def compiled(function: Callable, **options: Any) -> Callable:
    """`jax.jit` for programs of this engine: keeps the barriers that `waterfall.ledger` sets."""
    if jax.default_backend() == "cpu":
        options["compiler_options"] = CPU_OPTIONS
    return jax.jit(function, **options)
