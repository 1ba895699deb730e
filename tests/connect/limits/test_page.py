"""docs/resilience.md names the numbers that the code has."""

from pathlib import Path

from chowk.connect.balance import groups, hosts, maglev, outlier, policies, ring
from chowk.connect.limits import admission, concurrency, rates, retry_budget
from chowk.connect.proxy import upstream
from chowk.connect.snapshot import Limits, Outlier

PAGE = " ".join((Path(__file__).resolve().parents[3] / "docs" / "resilience.md").read_text().split())


def test_the_page_says_the_numbers_of_the_code():
    rules, limits = Outlier(), Limits()
    for words in (
        f"counts like {hosts.FAULT_LOAD:g} in work",
        f"of `ChoiceCount` ({policies.CHOICES})",
        f"`MinimumRingSize` ({ring.RING_SIZE_MIN}, at least {ring.POINTS_EACH} points an instance)",
        f"at most {ring.RING_SIZE_MAX:,}",
        f"table of {maglev.TABLE_SIZE_FEW:,} slots ({maglev.TABLE_SIZE:,} from {maglev.HOSTS_FEW + 1} instances on)",
        f"{groups.OVERPROVISION:g} times what is left",
        f"| `MaxFailures` | {rules.max_failures} |",
        f"cuts within {upstream.EARLY_RESET_S:g} s without a byte",
        f"| `BaseEjectionTime` | {rules.ejection_s:g} s |",
        f"up to {outlier.JITTER:.0%} longer".replace("%", " %"),
        f"at most {outlier.EJECTION_S_MAX:g} s",
        f"| `MaxEjectionPercent` | {rules.ejected_percent_max} |",
        f"| `EnforcingConsecutive5xx` | {rules.enforcing_percent} |",
        f"| `Interval` | {rules.interval_s:g} s |",
        f"had {outlier.RATE_REQUESTS_MIN} requests and a success rate {outlier.RATE_DEVIATIONS:g} deviations",
        f"and {outlier.RATE_GAP_MIN * 100:g} points",
        f"(from {outlier.RATE_HOSTS_MIN} instances on)",
        f"for {outlier.PAUSE_S_MIN:g} s, doubling up to {outlier.PAUSE_S_MAX:g} s",
        f"bounded to {limits.retry_percent:g} % of the requests of the last {retry_budget.WINDOW_S} s, "
        f"plus {limits.retries_per_s_min:g} a second",
        f"At most {rates.CALLERS_MAX:,} callers",
        f"every {concurrency.WINDOW_S:g} s",
        f"queue × {1 + concurrency.BUFFER:g}",
        f"measured every {concurrency.MEASURE_EVERY_S:g} s",
        f"({admission.QUEUE_MIN} to {admission.QUEUE_MAX:,})",
        f"longer than {admission.WAIT_S * 1000:g} ms",
        f"longer than {admission.WAIT_S_OVERLOADED * 1000:g} ms",
    ):
        assert words in PAGE, words
    assert groups.PANIC_SHARE == 0.5, "less than half"
    assert round(groups.OVERPROVISION * 5 / 7, 9) == 1, "5 of 7"
