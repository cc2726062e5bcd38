"""Runs of a task that an earlier process left, and new ones that a later process may need."""

from collections.abc import Callable

from riskengine.app import study
from riskengine.app.run import Broken
from riskengine.app.store import RunFolder
from riskengine.montecarlo.simulate import Results


class Kept:
    """Runs that an earlier process left are used again; new ones are kept."""

    def __init__(self, folder: RunFolder):
        self.folder = folder
        self.known = {(s.first, s.count): s.arrays for s in folder.load_shards()}

    def one(self, first: int, count: int, compute: Callable[[], Results]) -> Results:
        """The runs of the shard that begins at `first`."""
        if (first, count) in self.known:
            return Results.of(self.known[first, count])
        found = compute()
        self.folder.save_shard(first, count, found.arrays())
        return found

    def pair(
        self, paths: int, number: int, compute: Callable[[], tuple[Results, Results]]
    ) -> tuple[Results, Results]:
        """The runs of one side of a lever; their shards come after those of the paths themselves."""
        firsts = tuple(paths * (1 + 2 * number + part) for part in (0, 1))
        places = {first: place for place in self.known for first in firsts if place[0] == first}
        if len(places) == len(firsts):
            without, fund = (Results.of(self.known[places[first]]) for first in firsts)
            return without, fund
        found = compute()
        for first, results in zip(firsts, found, strict=True):
            self.folder.save_shard(first, len(results), results.arrays())
        return found


def intact(*runs: Results) -> None:
    """Raise `Broken` where something happened that never must."""
    bad = [line for results in runs for line in study.violations(results)]
    if bad:
        raise Broken("; ".join(bad))
