"""Frozen records that JAX can map over, and the one switch for double precision."""

import dataclasses
from typing import Any, TypeVar, dataclass_transform

import jax

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
