"""Jobs with leases."""

import time

import pytest

from hospital import queue
from hospital.database import Job, now
from hospital.parts import Parts
from hospital.queue import Backoff, Lease, Queue


def add(parts: Parts, key: str = "a", **given: object) -> None:
    with parts.database.session() as session:
        parts.queue.add(session, "score", key, 1, **given)  # type: ignore[arg-type]


def claim(given: Queue) -> Lease:
    lease = given.claim("score")
    assert lease is not None
    return lease


def another(parts: Parts, seconds: float = 300, backoff: Backoff | None = None, gateway: str = "gateway") -> Queue:
    return Queue(parts.database, gateway, "there", seconds, backoff or Backoff(0.001, 0.001))


def test_job_is_claimed_once(parts: Parts) -> None:
    add(parts)
    claim(parts.queue)
    assert another(parts).claim("score") is None


def test_job_of_the_same_key_is_one(parts: Parts) -> None:
    add(parts)
    add(parts)
    claim(parts.queue)
    assert parts.queue.claim("score") is None


def test_lease_of_a_dead_process_expires(parts: Parts) -> None:
    add(parts)
    first = claim(Queue(parts.database, "gateway", "gone", -1, Backoff()))
    second = claim(parts.queue)
    with parts.database.session() as session:
        assert not parts.queue.finish(session, first)
        assert parts.queue.finish(session, second)


def test_job_that_could_not_be_settled_is_given_back(parts: Parts) -> None:
    add(parts)
    claim(parts.queue)
    parts.queue.give_back()
    claim(parts.queue)


def test_job_that_was_settled_stays_so(parts: Parts) -> None:
    add(parts)
    lease = claim(parts.queue)
    with parts.database.session() as session:
        parts.queue.finish(session, lease)
    parts.queue.give_back()
    assert parts.queue.claim("score") is None


def test_start_frees_the_leases_of_the_same_gateway(parts: Parts) -> None:
    add(parts)
    claim(another(parts))
    assert parts.queue.release_own() == 1
    claim(parts.queue)


def attempts(parts: Parts) -> int:
    with parts.database.session() as session:
        return session.get_one(Job, 1).attempts


def interrupt(parts: Parts, times: int) -> None:
    """Let processes end while they are at work on the job."""
    for _ in range(times):
        claim(another(parts))
        parts.queue.release_own()
        time.sleep(0.002)  # after the first time it waits a moment


def dead(parts: Parts) -> list[str]:
    with parts.database.session() as session:
        return [job.code for job in queue.listed(session, ["dead"], 9)]


def test_job_during_which_the_process_ends_again_and_again_is_put_aside(parts: Parts) -> None:
    add(parts)
    interrupt(parts, queue.MOST_INTERRUPTIONS - 1)
    assert dead(parts) == []
    interrupt(parts, 1)
    assert dead(parts) == [queue.INTERRUPTED]


def test_interruptions_count_in_a_row_alone(parts: Parts) -> None:
    add(parts)
    for _ in range(2):
        interrupt(parts, queue.MOST_INTERRUPTIONS - 1)
        with parts.database.session() as session:
            parts.queue.retry(session, claim(parts.queue), "disk", "", after=0)
    assert dead(parts) == []


def test_job_during_which_the_process_ended_twice_waits_for_the_others(parts: Parts) -> None:
    add(parts)
    patient = another(parts, backoff=Backoff(first=60))
    for _ in range(2):
        claim(Queue(parts.database, "gateway", "gone", 300, Backoff()))
        patient.release_own()
    add(parts, key="b")
    assert claim(parts.queue).key == "b"
    assert parts.queue.claim("score") is None


def test_processes_that_ended_are_no_failed_attempts(parts: Parts) -> None:
    add(parts)
    interrupt(parts, 3)
    claim(Queue(parts.database, "gateway", "gone", -1, Backoff()))
    claim(parts.queue)
    assert attempts(parts) == 1


def test_each_failure_is_an_attempt(parts: Parts) -> None:
    add(parts)
    for _ in range(2):
        lease = claim(parts.queue)
        with parts.database.session() as session:
            parts.queue.retry(session, lease, "disk", "", after=0)
    assert attempts(parts) == 2


def test_job_belongs_to_the_gateway_that_holds_its_bytes(parts: Parts) -> None:
    add(parts)
    assert another(parts, gateway="other").claim("score") is None


def test_job_in_the_future_is_not_due(parts: Parts) -> None:
    add(parts, due_at=now() + 60)
    assert parts.queue.claim("score") is None


def test_paused_queue_gives_nothing_until_resumed(parts: Parts) -> None:
    add(parts)
    with parts.database.session() as session:
        queue.pause(session, True)
    assert parts.queue.claim("score") is None
    with parts.database.session() as session:
        queue.pause(session, False)
    claim(parts.queue)


def test_job_that_fails_for_a_day_is_dead(parts: Parts) -> None:
    given = another(parts, backoff=Backoff(0.001, 0.001, dead_after=0))
    add(parts)
    with parts.database.session() as session:
        assert given.retry(session, claim(given), "away", "it is away") == "dead"
        (job,) = queue.listed(session, ["dead"], 9)
    assert (job.code, job.reason) == ("away", "it is away")


def test_job_that_is_added_while_it_is_worked_on_starts_anew(parts: Parts) -> None:
    add(parts)
    lease = claim(parts.queue)
    add(parts)
    with parts.database.session() as session:
        assert not parts.queue.finish(session, lease)
    claim(parts.queue)


@pytest.mark.parametrize(("attempts", "low", "high"), [(1, 2.5, 5), (2, 5, 10), (4, 20, 40), (99, 450, 900)])
def test_waits_grow_with_jitter_up_to_a_quarter_of_an_hour(attempts: int, low: float, high: float) -> None:
    assert low <= Backoff().wait(attempts) <= high


def test_retry_by_hand_starts_a_dead_job_again(parts: Parts) -> None:
    add(parts)
    with parts.database.session() as session:
        parts.queue.bury(session, claim(parts.queue), "x", "y")
        queue.retry_by_hand(session.get_one(Job, 1))
    claim(parts.queue)


def test_dropped_job_is_never_done(parts: Parts) -> None:
    add(parts)
    with parts.database.session() as session:
        queue.drop_by_hand(session, session.get_one(Job, 1))
    assert parts.queue.claim("score") is None
