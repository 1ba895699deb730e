"""connect.balance.cooldown."""

from chowk.connect.balance.cooldown import PAUSE_S_MAX, PAUSE_S_MIN, Cooldown


def test_a_failed_instance_is_avoided_for_a_moment_and_then_tried_again():
    cooldown = Cooldown()
    cooldown.failed("a", 100.0)
    assert cooldown.avoided(100.0) == {"a"}
    assert cooldown.avoided(100.0 + PAUSE_S_MIN) == set()


def test_pauses_double_up_to_a_limit_and_a_success_forgets_them():
    cooldown, now, pauses = Cooldown(), 0.0, []
    for _ in range(12):
        cooldown.failed("a", now)
        began = now
        while cooldown.avoided(now):
            now += PAUSE_S_MIN
        pauses.append(now - began)
    assert pauses[:3] == [PAUSE_S_MIN, 2 * PAUSE_S_MIN, 4 * PAUSE_S_MIN]
    assert max(pauses) == PAUSE_S_MAX
    cooldown.succeeded("a")
    cooldown.failed("a", now)
    assert cooldown.avoided(now + PAUSE_S_MIN) == set()


def test_many_failures_at_once_count_as_one():
    cooldown = Cooldown()
    for _ in range(100):
        cooldown.failed("a", 5.0)
    assert cooldown.avoided(5.0 + PAUSE_S_MIN) == set()


def test_what_is_no_endpoint_any_more_is_forgotten():
    cooldown = Cooldown()
    for number in range(100):
        cooldown.failed(str(number), 0.0)
    cooldown.keep({"3"})
    assert cooldown.avoided(0.1) == {"3"}
