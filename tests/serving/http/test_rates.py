"""How often somebody may do something."""

from serving.http.rates import RateLimit


def test_so_many_a_minute_are_let_through_and_then_as_fast_as_they_come_back() -> None:
    now = 0.0
    limit = RateLimit(6, clock=lambda: now)
    assert [limit.take("ward") for _ in range(7)] == [0, 0, 0, 0, 0, 0, 10]
    now = 10.0
    assert [limit.take("ward") for _ in range(2)] == [0, 10]


def test_each_has_a_limit_of_its_own() -> None:
    limit = RateLimit(1, clock=lambda: 0.0)
    assert [limit.take("a"), limit.take("b"), limit.take("a")] == [0, 0, 60]
