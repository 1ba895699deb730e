"""Each of the twenty classic bugs, planted, is found within a thousand seeds; without it the same seeds are fine."""

from __future__ import annotations

import pytest
from sim.mutants.classic import MUTANTS
from sim.mutants.edits import Edit, Mutant
from sim.profile import draw
from sim.run import judge
from sim.world import FAILURES, World

SEEDS_MAX = 1000


def killing_seed(mutant: Mutant) -> int:
    """The first seed that breaks a promise. Any other exception is a bug of the mutant or the simulation, and no kill."""
    with mutant.planted():
        for seed in range(SEEDS_MAX):
            try:
                World(seed, draw(seed, mutant.kind)).run()
            except FAILURES:
                return seed
    pytest.fail(f"{SEEDS_MAX} seeds did not find that {mutant.name}")


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.number:02} {mutant.name}")
def test_the_simulation_finds_a_planted_classic_bug_and_nothing_in_the_same_seeds_without_it(mutant: Mutant) -> None:
    killed_by = killing_seed(mutant)
    for seed in range(killed_by + 1):
        failure = judge(seed, mutant.kind)
        assert failure is None, failure


def test_all_twenty_are_there() -> None:
    assert [mutant.number for mutant in MUTANTS] == list(range(1, 21))


def test_a_mutant_that_no_longer_fits_the_code_is_an_error_and_no_kill() -> None:
    stale = Mutant(0, "no such text", "mixed", (Edit("chowk.server.raft.replication:accept", "no such text", ""),))
    with pytest.raises(LookupError, match="no longer fits"), stale.planted():
        pass
