"""How derivatives pass through a guard: as guards, forwards and backwards.

A guard does its work in a loop of as many turns as paths need it, and reverse mode cannot go back
through a loop whose length is not known. So a guard states its derivative itself: where the work was
done slopes pass through it, elsewhere they stay as they are. That is linear in the slopes, and so is
its transpose, which is a guard, too; `_linear` is an operation that knows both. It is what
`jax.custom_derivatives.linear_call` is, but can be mapped over a batch.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import Literal, Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array

Guard = Callable[[Callable, Callable], Callable]  # (need, run) → run, on the paths that need it
Map = Callable[[list[Array], list[Array]], list[Array]]  # (known numbers, slopes) → slopes


def through(guard: Guard, need: Callable, run: Callable, call: Callable) -> Callable:
    """`call`, the guard of `run(x, *args)`, with its derivatives.

    Numbers whose slope is zero are constants of the derivative: nobody differentiates by a book's
    index tables. Derivatives of derivatives are not known.
    """
    call = jax.custom_jvp(call)

    @functools.partial(call.defjvp, symbolic_zeros=True)
    def with_slopes(primals, tangents):
        known, structure = jax.tree.flatten(primals)
        slopes = _given(structure.flatten_up_to(tangents))
        size = len(jax.tree.leaves(primals[0]))
        out = _reached(run, structure, known, tuple(slopes), size)
        result = call(*primals)
        each: list[Any] = [SymbolicZero(jax.typeof(v).to_tangent_aval()) for v in known[:size]]
        if out:
            inside = out + tuple(i for i in slopes if i >= size)
            forth, back = _maps(guard, need, run, structure, inside, out)
            moving = [slopes.get(i, jnp.zeros_like(known[i])) for i in inside]
            for i, slope in zip(out, _apply(forth, back, known, moving), strict=True):
                each[i] = slope
        return result, jax.tree.unflatten(jax.tree.structure(result), each)

    return call


@jax.custom_jvp
def like(value: Array, same: Array) -> Array:
    """`value` with the slope of `same`, which is the same number but for rounding."""
    return value


like.defjvp(lambda primals, tangents: (primals[0], tangents[1]))


def _given(tangents: list) -> dict[int, Array]:
    """The slopes that are not zero, by place."""
    return {
        i: t
        for i, t in enumerate(tangents)
        if not isinstance(t, SymbolicZero) and jnp.issubdtype(t.dtype, jnp.floating)
    }


def _part(run: Callable, structure: Any, inside: tuple[int, ...], out: tuple[int, ...]) -> Callable:
    """What comes `out` of `run`, by place, as a function of known numbers and of those `inside`."""

    def part(known, values):
        leaves = list(known)
        for i, value in zip(inside, values, strict=True):
            leaves[i] = value
        found = jax.tree.leaves(run(*jax.tree.unflatten(structure, leaves)))
        return [found[i] for i in out]

    return part


def _reached(run, structure, known, inside: tuple[int, ...], size: int) -> tuple[int, ...]:
    """Places of `x` with a slope after `run`: those that had one, and those that `run` gives one."""
    floats = tuple(i for i in range(size) if jnp.issubdtype(known[i].dtype, jnp.floating))
    part = _part(run, structure, inside, floats)

    def slopes(known, moving):
        values = [known[i] for i in inside]
        return jax.jvp(functools.partial(part, known), (values,), (moving,))[1]

    shapes = [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in known]
    program = jax.make_jaxpr(slopes)(shapes, [shapes[i] for i in inside]).jaxpr
    moved = set(program.invars[len(known) :])

    def moves(v) -> bool:
        return not isinstance(v, Literal) and v in moved

    for equation in program.eqns:
        if any(map(moves, equation.invars)):
            moved.update(equation.outvars)
    pairs = zip(floats, program.outvars, strict=True)
    return tuple(i for i, v in pairs if i in inside or moves(v))


def _maps(guard: Guard, need, run, structure, inside, out) -> tuple[Map, Map]:
    """The guard's derivative from slopes `inside` to slopes that come `out`, and its transpose."""
    part, count = _part(run, structure, inside, out), len(out)

    def needed(slopes, known, *more):
        return need(*jax.tree.unflatten(structure, known))

    def push(slopes, known, more):
        values = [known[i] for i in inside]
        return jax.jvp(functools.partial(part, known), (values,), ([*slopes, *more],))[1]

    def pull(slopes, known):
        values = [known[i] for i in inside]
        return jax.vjp(functools.partial(part, known), values)[1](list(slopes[:count]))[0]

    forwards, backwards = guard(needed, push), guard(needed, pull)

    def forth(known, slopes):
        return forwards(slopes[:count], known, slopes[count:])

    def back(known, slopes):
        nothing = [jnp.zeros_like(known[i]) for i in inside[count:]]
        return backwards([*slopes, *nothing], known)

    return forth, back


def _apply(forth: Map, back: Map, known: list[Array], slopes: list[Array]) -> list[Array]:
    """`forth(known, slopes)`, linear in the slopes; `back` is its transpose."""
    return _linear.bind(*known, *slopes, forth=forth, back=back, count=len(known))


def _evaluate(*args, forth: Map, back: Map, count: int):
    return forth(list(args[:count]), list(args[count:]))


def _shapes(*args, **maps):
    shapes = jax.eval_shape(lambda *x: _evaluate(*x, **maps), *args)
    return [ShapedArray(s.shape, s.dtype) for s in shapes]


def _transpose(slopes, *args, forth: Map, back: Map, count: int):
    known = list(args[:count])
    return [None] * count + _apply(back, forth, known, [ad.instantiate_zeros(s) for s in slopes])


def _in_batch(args, axes, forth: Map, back: Map, count: int):
    """Known numbers are mapped where they differ; every path has slopes of its own."""
    size = next(x.shape[a] for x, a in zip(args, axes, strict=True) if a is not None)
    first = [x if a is None else jnp.moveaxis(x, a, 0) for x, a in zip(args, axes, strict=True)]
    slopes = [
        jnp.broadcast_to(x, (size, *x.shape)) if a is None else x
        for x, a in zip(first[count:], axes[count:], strict=True)
    ]
    mapped = [None if a is None else 0 for a in axes[:count]]

    def over(one: Map) -> Map:
        return jax.vmap(one, in_axes=(mapped, 0), axis_size=size)

    found = _apply(over(forth), over(back), first[:count], slopes)
    return found, [0] * len(found)


_linear = Primitive("linear")
_linear.multiple_results = True
_linear.def_impl(_evaluate)
_linear.def_abstract_eval(_shapes)
ad.primitive_transposes[_linear] = _transpose
batching.primitive_batchers[_linear] = _in_batch
mlir.register_lowering(_linear, mlir.lower_fun(_evaluate, multiple_results=True))
