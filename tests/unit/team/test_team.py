from __future__ import annotations

import random
import threading
import time

import pytest
from worlds import ITEMS, Dies, Worker, World, expected

from w2v2_ray.team.team import share_of
from w2v2_ray.team.wire import Expelled

STEPS = 30


def dies_at(at_step, at_item=None):
    def before(worker, step, item):
        if step == at_step and at_item in (None, item):
            raise Dies

    return before


def slowly(worker, step, item):
    time.sleep(0.002)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_totals_do_not_depend_on_the_number_of_workers(size):
    with World(size) as world:
        for number in range(size):
            world.add(Worker(f"w{number}", STEPS))
        world.wait()
        assert [worker.totals for worker in world.workers] == [expected(STEPS)] * size
        computed = sorted(entry for worker in world.workers for entry in worker.computed)
        assert computed == [(step, item) for step in range(STEPS) for item in range(ITEMS)]


@pytest.mark.parametrize("victim", [0, 1, 2])
def test_survivors_go_on_and_compute_nothing_of_theirs_again(victim):
    with World(3) as world:
        for number in range(3):
            world.add(Worker(f"w{number}", STEPS, before=dies_at(10) if number == victim else None))
        world.wait()
        alive = [worker for number, worker in enumerate(world.workers) if number != victim]
        assert [worker.totals for worker in alive] == [expected(STEPS)] * 2
        mine = sorted(entry for worker in alive for entry in worker.computed)
        assert len(mine) == len(set(mine)), "what a survivor had added up was kept"
        assert [event["worker"] for event in world.events if event["event"] == "lost"] == [f"w{victim}"]
        assert all(worker.entered is False for worker in alive), "nobody began anew"


def test_a_newcomer_gets_the_state_of_a_peer():
    with World(1) as world:
        world.add(Worker("first", 300, before=slowly))
        time.sleep(0.3)
        late = world.add(Worker("late", 300, before=slowly))
        world.wait()
        first = world.workers[0]
        assert late.entered is True
        assert late.totals == first.totals == expected(300)
        assert late.state.equal(first.state)
        assert 0 < len(late.computed) < 300 * ITEMS


def test_the_last_of_all_takes_over_and_the_leader_may_die():
    with World(3) as world:
        for number, step in enumerate((5, 12, None)):
            world.add(Worker(f"w{number}", STEPS, before=dies_at(step) if step else None))
        world.wait()
        assert world.workers[2].totals == expected(STEPS)
        assert world.workers[2].team.leads


def test_a_sum_that_reached_one_member_alone_is_handed_on():
    """The reduction of step 4 fails on one member after the others have it; they have stepped."""
    with World(3) as world:
        workers = [world.add(Worker(f"w{number}", STEPS, before=slowly)) for number in range(3)]
        team = workers[1].team
        reduce, torn = team._reduce, []

        def tear(part):
            reduce(part)
            if workers[1].step == 4 and not torn:
                torn.append(True)
                for kept in team._kept_for(part):
                    kept.fill_(-1)
                from w2v2_ray.team.group import GroupError

                raise GroupError("torn by the test")

        team._reduce = tear
        world.wait()
        assert torn
        assert [worker.totals for worker in workers] == [expected(STEPS)] * 3
        computed = sorted(entry for worker in workers for entry in worker.computed)
        assert computed == [(step, item) for step in range(STEPS) for item in range(ITEMS)]


def test_a_member_that_hangs_is_given_up_and_must_not_go_on():
    woken = threading.Event()

    def before(worker, step, item):
        if step == 6 and not woken.is_set():
            worker.member._take = lambda message: None  # as if the thread that answers pings were stopped too
            woken.wait(20)

    with World(2, silence_s=0.8) as world:
        hung = world.add(Worker("hung", STEPS, before=before))
        other = world.add(Worker("other", STEPS))
        world.threads[1].join(20)
        assert other.totals == expected(STEPS)
        assert [event["worker"] for event in world.events if event["event"] == "silent"] == ["hung"]
        woken.set()
        world.threads[0].join(20)
        assert isinstance(hung.problem, Expelled)
        assert len(hung.totals) == 6


def test_a_word_is_said_once_though_its_speaker_dies():
    said = []

    def word_of(worker, fails):
        def run():
            worker.team.enter(lambda: 0, lambda found: None)

            def make():
                said.append(worker.name)
                if fails:
                    worker.member.close()
                    raise Dies
                return worker.name

            try:
                worker.heard = worker.team.word("decision", make)
            except (Dies, Expelled):
                worker.heard = None

        return run

    with World(3) as world:
        workers = [Worker(f"w{number}", 0) for number in range(3)]
        threads = []
        for worker in workers:
            worker.connect(world.address)
            world.workers.append(worker)
            threads.append(threading.Thread(target=word_of(worker, worker.name == "w0"), daemon=True))
            threads[-1].start()
            time.sleep(0.05)
        for thread in threads:
            thread.join(20)
        assert said == ["w0", "w1"]
        assert [worker.heard for worker in workers] == [None, "w1", "w1"]


def test_fewer_than_the_least_wait_for_more():
    with World(2, least=2) as world:
        world.add(Worker("w0", STEPS, before=slowly))
        world.add(Worker("w1", STEPS, before=dies_at(8)))
        world.threads[1].join(20)
        time.sleep(0.4)
        assert len(world.workers[0].totals) == 8, "it waits"
        world.add(Worker("w2", STEPS))
        world.wait()
        assert world.workers[0].totals == world.workers[2].totals == expected(STEPS)


def test_a_spare_waits_until_a_place_is_free():
    with World(2, most=2) as world:
        world.add(Worker("w0", 400, before=slowly))
        doomed = world.add(Worker("w1", 400, before=dies_at(60)))
        spare = world.add(Worker("spare", 400, before=slowly))
        world.threads[1].join(30)
        assert spare.entered is None
        assert len(doomed.totals) == 60
        world.wait()
        assert spare.entered is True
        assert spare.computed[0][0] >= 60
        assert spare.totals == expected(400)


def test_who_leaves_in_good_order_is_not_lost():
    with World(2) as world:
        workers = [world.add(Worker("stays", 200, before=slowly)), Worker("leaves", 200, before=slowly)]
        workers[1].connect(world.address)
        world.workers.append(workers[1])

        def run():
            leaver = workers[1]
            leaver.team.enter(dict, lambda found: None)
            for _ in range(20):
                leaver.team.add_up(range(ITEMS), leaver, newcomers=True)
                leaver.sums.zero_()
                leaver.step += 1
            leaver.team.leave()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(20)
        world.wait()
        assert workers[0].totals == expected(200)
        assert [event["event"] for event in world.events if "worker" in event] == ["left"]


@pytest.mark.parametrize("seed", range(4))
def test_chaos(seed):
    """Deaths at random items and newcomers all along: every total is right and nobody hangs."""
    rng = random.Random(seed)
    steps = 150

    def before(worker, step, item):
        time.sleep(0.001)
        if worker.name != "w0" and rng.random() < 0.004:
            raise Dies

    with World(3) as world:
        for number in range(3):
            world.add(Worker(f"w{number}", steps, before=before))
        number = 3
        deadline = time.monotonic() + 60
        while world.threads[0].is_alive() and time.monotonic() < deadline:
            time.sleep(0.02)
            if sum(thread.is_alive() for thread in world.threads) < 3:
                world.add(Worker(f"w{number}", steps, before=before))
                number += 1
        world.wait()
        assert world.workers[0].totals == expected(steps)
        assert number > 4, "some died"
        for worker in world.workers:
            assert worker.totals == expected(steps)[: len(worker.totals)]


def test_share_of_is_even_and_contiguous():
    assert [share_of(range(7), rank, 3) for rank in range(3)] == [[0, 1, 2], [3, 4], [5, 6]]
    assert share_of([], 0, 2) == []
