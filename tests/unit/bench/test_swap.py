"""What the bench of swaps makes of what its clients met."""

from bench.swap.people import Met
from bench.swap.reporting import figures, quantile
from bench.swap.ways import Seen


def test_a_quantile_is_the_smallest_value_that_so_many_do_not_exceed() -> None:
    values = [float(value) for value in range(1, 101)]
    assert [quantile(values, share) for share in (0.5, 0.99, 1.0)] == [50.0, 99.0, 100.0]
    assert quantile(values[:60], 0.99) == 60.0, "of sixty it is the largest"


def test_requests_count_by_the_span_in_which_they_began_and_failures_have_no_first_token() -> None:
    seen = Seen(quiet=[(0.0, 1.0)], busy=[(1.0, 2.0)], taken=[0.1])
    seen.met = [
        Met(0.5, 0.6, 1.5, "v1"),
        Met(1.1, 1.3, 1.4, "v2"),
        Met(1.5, 1.5, 1.6, "", "status 404"),
        Met(2.5, 9.0, 9.0, "v2"),
    ]
    found = figures(seen)
    assert (found["quiet"]["requests"], found["quiet"]["failed"]) == (1, 0)
    assert (found["busy"]["requests"], found["busy"]["failed"], found["busy"]["how"]) == (2, 1, ["status 404"])
    assert round(found["first_token_p99_ratio"], 6) == 2.0
    assert found["longest_silence"] == 9.0 - 1.3
