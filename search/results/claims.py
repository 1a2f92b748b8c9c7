"""The words of a claim: better, worse or tie, by how much, and how sure.

A loss and a tie are said as plainly as a win.
"""

from __future__ import annotations

from tunemax.search.results.statistics import Comparison


def claim(versus: Comparison, metric: str, pairs: str, where: str) -> str:
    """How a candidate compares with the reference, without a full stop.

    metric: what is compared; lower is better. pairs: what the pairs are (seeds, instances). where: at what size, on
    what text.
    """
    mean, within, digits = extent(versus, pairs)
    if versus.verdict != "tie":
        return (
            f"{versus.name} is {mean:.{digits}f} % {versus.verdict} than {versus.reference} in {metric} ({within}), "
            f"{where}"
        )
    told = f"{versus.name} and {versus.reference} tie in {metric}: {mean:+.{digits}f} % ({within}), {where}"
    if versus.difference.low > 0 or versus.difference.high < 0:
        told += f"; the interval by itself leaves 0 out, but p is {versus.p_holm:.2g}"
    return told


def extent(versus: Comparison, pairs: str) -> tuple[float, str, int]:
    """The difference in percent of the reference, positive for a better or worse one; its interval in words; digits to
    write."""
    sign = -1 if versus.verdict == "better" else 1
    mean, low, high = (100 * sign * share for share in versus.relative)
    low, high = min(low, high), max(low, high)
    digits = 1 if max(abs(low), abs(high)) >= 1 else 2
    return mean, f"95 % interval {low:.{digits}f} … {high:.{digits}f} %, {versus.n} {pairs}", digits
