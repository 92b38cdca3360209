"""study_stats.py - the statistics of the study: paired bootstraps, standard errors, ranks. NumPy only.

A *group* is a text or a question set, its values stand in the order of the text. Groups are drawn from
apart and weigh the same, so a long text does not count for more than a short one."""
import math

import numpy as np

ROUNDS, SEED, SURE = 2000, 17, 0.95


def block_length(n):
    """Neighbouring windows of one text are alike: n^(1/3) of them are drawn together."""
    return max(1, round(n ** (1 / 3)))


def draw(rng, n, rounds, block):
    """Indices [rounds, n] of a circular block bootstrap."""
    count = -(-n // block)
    starts = rng.integers(0, n, size=(rounds, count))
    return ((starts[:, :, None] + np.arange(block)) % n).reshape(rounds, -1)[:, :n]


def bounds(values):
    tail = 100 * (1 - SURE) / 2
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low), float(high)


def change(ours, theirs, rounds=ROUNDS, seed=SEED):
    """Relative change of the mean of ours against theirs, in per cent, and its interval.

    ours, theirs: a list of values a group, paired. The mean over groups of each group's relative change.
    The interval is of windows drawn anew within the same texts, and says nothing about other texts. Where a
    text has one window alone, texts are drawn instead of windows, from three on; else it is (nan, nan).
    The spread of n drawn ones is short by n/(n-1): they are moved away from the point by its root."""
    rng = np.random.default_rng(seed)
    pairs = [(np.asarray(a, float), np.asarray(b, float)) for a, b in zip(ours, theirs)]
    points = np.array([a.mean() / b.mean() - 1 for a, b in pairs])
    if min(len(a) for a, _ in pairs) > 1:
        off = 0
        for (a, b), point in zip(pairs, points):
            at = draw(rng, len(a), rounds, block_length(len(a)))
            off = off + (a[at].mean(1) / b[at].mean(1) - 1 - point) * math.sqrt(len(a) / (len(a) - 1))
        off = off / len(pairs)
    elif len(pairs) >= 3:
        n = len(pairs)
        off = (points[draw(rng, n, rounds, 1)].mean(1) - points.mean()) * math.sqrt(n / (n - 1))
    else:
        return float(points.mean() * 100), math.nan, math.nan
    return float(points.mean() * 100), *bounds(100 * (points.mean() + off))


def share(right):
    """A share in per cent and its standard error."""
    right = np.asarray(right, float)
    error = math.sqrt(right.mean() * (1 - right.mean()) / (len(right) - 1)) if len(right) > 1 else math.nan
    return float(right.mean() * 100), error * 100


def error(values):
    """The standard error of a mean."""
    values = np.asarray(values, float)
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan


def difference(ours, theirs, rounds=ROUNDS, seed=SEED):
    """Mean difference of paired marks pooled over all questions, and its interval; questions are drawn
    within their sets."""
    rng = np.random.default_rng(seed)
    total, drawn, n = 0.0, np.zeros(rounds), 0
    for a, b in zip(ours, theirs):
        d = np.asarray(a, float) - np.asarray(b, float)
        total += d.sum()
        drawn += d[draw(rng, len(d), rounds, 1)].sum(1)
        n += len(d)
    return total / n, *bounds(drawn / n)


def auc(score, right):
    """How often a right one has the higher score than a wrong one; ties count half. nan: all alike."""
    score, right = np.asarray(score, float), np.asarray(right, bool)
    a, b = score[right], score[~right]
    if len(a) == 0 or len(b) == 0:
        return math.nan
    return float(((a[:, None] > b).sum() + 0.5 * (a[:, None] == b).sum()) / (len(a) * len(b)))


def correlation(x, y):
    """Pearson's; nan where one of them does not vary."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    if len(x) < 3 or x.std() == 0 or y.std() == 0:
        return math.nan
    return float(np.corrcoef(x, y)[0, 1])


def wilson(k, n):
    """Interval of a share k/n, in per cent."""
    if n == 0:
        return math.nan, math.nan
    z, p = 1.959964, k / n
    middle, width = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return 100 * (middle - width) / (1 + z * z / n), 100 * (middle + width) / (1 + z * z / n)


def spread_order(n):
    """0..n-1 so that any beginning of it lies evenly over the range: ends first, then halves."""
    order, seen = [], set()
    for i in [0, n - 1] + [round((n - 1) * k / d) for d in (2, 4, 8, 16, 32, 64, 128) for k in range(1, d, 2)] + list(range(n)):
        if 0 <= i < n and i not in seen:
            seen.add(i)
            order.append(i)
    return order
