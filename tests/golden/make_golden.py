#!/usr/bin/env python3
"""make_golden.py - states the mathematics of docs/math.md once more, with NumPy, SciPy and scikit-learn, and writes
golden vectors that the C tests read. Shares no code and no method with packllm: the best weights are
found by trying every face of the simplex (see minimise).

    pip install numpy scipy scikit-learn && python3 tests/golden/make_golden.py      # writes tests/golden/*.txt

Format: lines of `key count value...`; numbers in full precision (repr of a double, or of a float32
where the C side has floats). The random numbers are seeded, so running it again changes nothing.
"""
import itertools
import os

import numpy as np
from scipy import optimize, special, stats
from sklearn.cluster import KMeans
from sklearn.feature_extraction.text import TfidfVectorizer

HERE = os.path.dirname(os.path.abspath(__file__))
EVENTS = 257
ETA = 1e-9


class Writer:
    def __init__(self, name):
        self.file = open(os.path.join(HERE, name), "w")
        self.file.write("# made by make_golden.py; do not edit\n")

    def put(self, key, values):
        values = np.atleast_1d(np.asarray(values)).ravel()
        text = " ".join("%.9g" % v if values.dtype == np.float32 else repr(float(v)) for v in values)
        self.file.write(f"{key} {len(values)} {text}\n")


# ---- pools, objective ---------------------------------------------------------------------------


def floor(q):
    return np.log((1 - ETA) * q + ETA / EVENTS)


def log_pool(lam, logq):
    z = np.tensordot(lam, logq, axes=1)
    return z - special.logsumexp(z, axis=-1, keepdims=True)


def linear_pool(lam, logq):
    p = np.tensordot(lam, np.exp(logq), axes=1)
    return np.log(p / p.sum(axis=-1, keepdims=True))


def objective(pool, lam, logq, event):
    """f, gradient, Hessian; logq [K][T][257]."""
    t = np.arange(logq.shape[1])
    seen = logq[:, t, event]
    if pool == "linear":
        q = np.exp(seen)
        mix = lam @ q
        return -np.log(mix).mean(), -(q / mix).mean(axis=1), (q / mix) @ (q / mix).T / len(t)
    z = np.tensordot(lam, logq, axes=1)
    norm = special.logsumexp(z, axis=1)
    p = np.exp(z - norm[:, None])
    mean = np.einsum("tc,ktc->kt", p, logq)
    second = np.einsum("tc,ktc,jtc->kjt", p, logq, logq).mean(axis=2)
    hessian = second - mean @ mean.T / len(t)
    return (norm - lam @ seen).mean(), (mean - seen).mean(axis=1), hessian


def minimise(fun, n, cap):
    """Every face of the capped simplex (each member at 0, at its cap, or free), Newton's root of the
    stationarity condition on it by SciPy; the best feasible point. Slow and literal, for n <= 4."""
    best = None
    for kinds in itertools.product("0cf", repeat=n):
        fixed = np.array([cap[i] if k == "c" else 0.0 for i, k in enumerate(kinds)])
        free = [i for i, k in enumerate(kinds) if k == "f"]
        left = 1 - fixed.sum()
        if not free:
            if abs(left) > 1e-12:
                continue
            candidates = [fixed]
        else:
            if left <= 0:
                continue

            def point(y):
                lam = fixed.copy()
                lam[free[:-1]] = y
                lam[free[-1]] = left - sum(y)
                return lam

            start = np.full(len(free) - 1, left / len(free))
            if len(free) == 1:
                candidates = [point([])]
            else:

                def slopes(y):
                    g = fun(point(y))[1]
                    return g[free[:-1]] - g[free[-1]]

                solution = optimize.root(slopes, start, method="hybr", tol=1e-15)
                candidates = [point(solution.x)]
        for lam in candidates:
            if (lam >= -1e-12).all() and (lam <= np.asarray(cap) + 1e-12).all():
                f = fun(lam)[0]
                if best is None or f < best[0]:
                    best = (f, lam)
    return best


def make_rows(rng, members, count):
    score = 3 * rng.standard_normal((count, EVENTS))
    event = np.argmax(score + rng.gumbel(size=score.shape), axis=1)
    logq = np.empty((members, count, EVENTS))
    for k in range(members):
        z = rng.uniform(0.2, 1.3) * score + rng.uniform(0.2, 2.0) * rng.standard_normal(score.shape)
        logq[k] = floor(special.softmax(z, axis=1))
    return logq.astype(np.float32), event


def write_fuse():
    rng = np.random.default_rng(11)
    out = Writer("fuse.txt")
    q = special.softmax(6 * rng.standard_normal(EVENTS))
    q[3] = 0
    q /= q.sum()
    out.put("floor_q", q)
    out.put("floor_log", floor(q))
    shapes = [(1, 1), (2, 4), (3, 3), (4, 3)]
    out.put("cases", len(shapes))
    for members, count in shapes:
        logq32, event = make_rows(rng, members, count)
        logq = logq32.astype(np.float64)
        lam = rng.dirichlet(np.ones(members))
        prior = rng.dirichlet(3 * np.ones(members))
        cap = np.minimum(1, rng.uniform(1.1, 2.5, members) / members)
        ridge = 0.05
        out.put("shape", [members, count])
        out.put("logq", logq32)
        out.put("event", event)
        out.put("lambda", lam)
        out.put("prior", prior)
        out.put("cap", cap)
        out.put("ridge", ridge)
        for pool in ("log", "linear"):
            row = log_pool(lam, logq) if pool == "log" else linear_pool(lam, logq)
            out.put("pool", row[0])
            f, g, h = objective(pool, lam, logq, event)
            out.put("f", f)
            out.put("g", g)
            out.put("h", h)

            def pure(x, pool=pool):
                return objective(pool, x, logq, event)[:2]

            def ridged(x, pool=pool):
                value, gradient = objective(pool, x, logq, event)[:2]
                away = x - prior
                return value + ridge / 2 * away @ away, gradient + ridge * away

            for fun, bound in ((pure, np.ones(members)), (ridged, np.ones(members)), (pure, cap)):
                best_f, best = minimise(fun, members, bound)
                out.put("best_f", best_f)
                out.put("best", best)


# ---- weighers -----------------------------------------------------------------------------------


def mean_loss(pool, row, event):
    """row [T][257]: logits (log) or probabilities (linear)."""
    logp = row - special.logsumexp(row, axis=1, keepdims=True) if pool == "log" else np.log(row)
    return -logp[np.arange(len(event)), event].mean()


def greedy(pool, logq, event):
    """The paper's algorithm as it is told: a mixture of logits (or probabilities), fold by fold."""
    rows = logq if pool == "log" else np.exp(logq)
    order = np.argsort([-logq[k][np.arange(len(event)), event].mean() for k in range(len(logq))],
                       kind="stable")
    curr, alphas = rows[order[0]], []
    for k in order[1:]:
        grid = [step / 20 for step in range(20, -1, -1)]  # ties to the incumbent
        losses = [mean_loss(pool, a * curr + (1 - a) * rows[k], event) for a in grid]
        alphas.append(grid[int(np.argmin(losses))])
        curr = alphas[-1] * curr + (1 - alphas[-1]) * rows[k]
    lam = np.zeros(len(order))
    lam[order[0]] = np.prod(alphas)
    for j, k in enumerate(order[1:]):
        lam[k] = (1 - alphas[j]) * np.prod(alphas[j + 1:])
    return lam, mean_loss(pool, curr, event)


def free(fun, n):
    """SLSQP from several starts over lambda >= 0, sum <= 16."""
    best = None
    for start in (np.ones(n) / n, np.ones(n), 3 * np.ones(n), np.eye(n)[0]):
        found = optimize.minimize(fun, start, jac=True, method="SLSQP", bounds=[(0, 16)] * n,
                                  constraints={"type": "ineq", "fun": lambda x: 16 - x.sum()},
                                  options={"ftol": 1e-15, "maxiter": 1000})
        if best is None or found.fun < best.fun:
            best = found
    return best.x, best.fun


def em(q, steps):
    """q [K][T]."""
    w = np.ones(len(q)) / len(q)
    for _ in range(steps):
        w = (w[:, None] * q / (w @ q)).mean(axis=1)
    return w, -np.log(w @ q).mean()


def bayes(prior, q):
    """The mixture byte by byte: its loss in nats, and the weights behind the last byte."""
    w, loss = prior.copy(), 0.0
    for column in q.T:
        p = w @ column
        loss -= np.log(p)
        w = w * column / p
    return w, loss


def experts(base, expert, anti, alpha):
    """Rows [T][257] of log-probabilities -> the steered base, before the floor."""
    p = np.exp(base + alpha * (expert - anti)) * (np.exp(base) >= 0.1 * np.exp(base).max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def write_experts(rng, out):
    out.put("experts", 2)
    for count in (3, 6):
        logq32, event = make_rows(rng, 3, count)
        logq = logq32.astype(np.float64)

        def loss(alpha):
            p = experts(*logq, alpha)[np.arange(count), event]
            return np.where(p > 0, -np.log(np.maximum(p, 1e-300)), np.log(EVENTS / ETA)).mean()

        out.put("bytes", count)
        out.put("logq", logq32)
        out.put("event", event)
        out.put("pool", floor(experts(*logq, 0.7))[0])
        out.put("loss", loss(0.7))
        best = optimize.minimize_scalar(loss, bounds=(0, 16), method="bounded", options={"xatol": 1e-12})
        ends = min((loss(0.0), 0.0), (loss(16.0), 16.0))
        out.put("best_loss", min(best.fun, ends[0]))
        out.put("alpha", best.x if best.fun < ends[0] else ends[1])


def write_weighers():
    rng = np.random.default_rng(14)
    out = Writer("weighers.txt")
    shapes = [(1, 2), (2, 5), (3, 4), (4, 4)]
    out.put("cases", len(shapes))
    for members, count in shapes:
        logq32, event = make_rows(rng, members, count)
        logq = logq32.astype(np.float64)
        prior = rng.dirichlet(3 * np.ones(members))
        q = np.exp(logq[:, np.arange(count), event])
        ridge = 0.05
        out.put("shape", [members, count])
        out.put("logq", logq32)
        out.put("event", event)
        out.put("prior", prior)
        out.put("ridge", ridge)

        def ridged(x, kappa):
            value, gradient = objective("log", x, logq, event)[:2]
            return value + kappa / 2 * (x - prior) @ (x - prior), gradient + kappa * (x - prior)

        for pool in ("log", "linear"):
            lam, f = greedy(pool, logq, event)
            out.put("greedy", lam)
            out.put("greedy_f", f)
        for kappa in (0.0, ridge):
            lam, f = free(lambda x: ridged(x, kappa), members)
            out.put("free", lam)
            out.put("free_F", f)
        lam, f = em(q, 100000)
        out.put("em", lam)
        out.put("em_f", f)
        lam, loss = bayes(prior, q)
        out.put("bayes", lam)
        out.put("bayes_loss", loss)
    write_experts(rng, out)


# ---- sampling -----------------------------------------------------------------------------------


def chain(x, history, o):
    """The distribution that llama.cpp's chain draws from: {id: probability}, o the options."""
    x = np.array(x)
    last = history if o["last_n"] < 0 else history[len(history) - min(o["last_n"], len(history)):]
    for i in range(len(x)):
        count = list(last).count(i)
        if count:
            x[i] = x[i] / o["repeat"] if x[i] > 0 else x[i] * o["repeat"]
            x[i] -= count * o["frequency"] + o["presence"]
    ids = sorted(range(len(x)), key=lambda i: (-x[i], i))
    if o["top_k"] > 0:
        ids = ids[: o["top_k"]]
    if o["top_p"] < 1:
        head = np.cumsum(special.softmax(x[ids]))
        ids = ids[: int(np.searchsorted(head, o["top_p"])) + 1]
    if o["min_p"] > 0:
        ids = [i for i in ids if np.exp(x[i] - x[ids[0]]) >= o["min_p"]]
    p = np.zeros(len(x))
    p[ids] = special.softmax(x[ids] / o["temp"])
    return p


def write_sample():
    rng = np.random.default_rng(12)
    out = Writer("sample.txt")
    base = dict(temp=1.0, top_k=0, top_p=1.0, min_p=0.0, repeat=1.0, last_n=64, presence=0.0,
                frequency=0.0)
    changes = [{}, {"temp": 0.7}, {"top_k": 5}, {"top_p": 0.8}, {"min_p": 0.1}, {"repeat": 1.5},
               {"presence": 0.6, "frequency": 0.3}, {"repeat": 1.3, "last_n": 3},
               {"repeat": 1.2, "last_n": -1, "frequency": 0.2},
               {"temp": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05},
               {"temp": 1.5, "top_k": 8, "top_p": 0.9, "min_p": 0.02, "repeat": 1.1}]
    out.put("cases", len(changes))
    for change in changes:
        o = {**base, **change}
        x = 2 * rng.standard_normal(16)
        history = rng.integers(0, 16, 10)
        out.put("options", [o[k] for k in ("temp", "top_k", "top_p", "min_p", "repeat", "last_n",
                                           "presence", "frequency")])
        out.put("x", x)
        out.put("history", history)
        out.put("p", chain(x, history, o))


# ---- sums and closed weights --------------------------------------------------------------------


def write_math():
    rng = np.random.default_rng(13)
    out = Writer("math.txt")
    sizes = [1, 2, 5, 8, 9, 33]
    out.put("cases", len(sizes))
    for n in sizes:
        x = rng.uniform(-700, 700) + rng.uniform(0.1, 30) * rng.standard_normal(n)
        out.put("x", x)
        out.put("log_sum", special.logsumexp(x))
        out.put("softmax", special.softmax(x))
        nll = rng.uniform(0.3, 2, n)
        tau = rng.uniform(0.2, 2)
        out.put("nll", nll)
        out.put("tau", tau)
        out.put("sim", special.softmax(-nll / tau))


# ---- cbtm ---------------------------------------------------------------------------------------


def draw(step):
    """rng_uniform(rng_key(0, step, 0)) of src/base/rng.c."""
    mask = (1 << 64) - 1

    def mix(z):
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & mask
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & mask
        return z ^ (z >> 31)

    key = mix(0x9E3779B97F4A7C15)
    key = mix(key ^ (step + 0x7F4A7C159E3779B9 & mask))
    key = mix(key ^ 0x243F6A8885A308D3)
    return ((key >> 12) + 0.5) * 2.0**-52


def centres(x, clusters):
    """k-means++ with those draws, then scikit-learn's Lloyd."""
    chosen = [int(draw(0) * len(x))]
    for step in range(1, min(clusters, len(x))):
        far = ((x[:, None] - x[chosen][None]) ** 2).sum(axis=2).min(axis=1)
        far[far < 1e-12] = 0
        if not far.any():
            break
        chosen.append(int(np.searchsorted(np.cumsum(far), draw(step) * far.sum())))
    return KMeans(len(chosen), init=x[chosen], n_init=1, tol=0).fit(x).cluster_centers_


def write_cbtm():
    rng = np.random.default_rng(15)
    out = Writer("cbtm.txt")
    common = "the of and to in is was that for it a x 7 on".split()
    topics = ["Cell protein GENE mrna_2 patients dose trial blood 5mg the2".split(),
              "court Appeal statute plaintiff clause §12 liable law's judge".split(),
              "lorsque forêt château très été où mère garçon naïve «bonjour»".split()]
    texts, owner = [], []
    for member, topic in enumerate(topics):
        for part in range(5 + member):
            pool = topic[:5] if part % 2 else topic[5:]
            words = rng.choice(pool + common, size=int(rng.integers(8, 25)))
            marks = rng.choice([" ", ", ", ". ", " - ", "\n", "\u2014", "("], size=len(words))
            texts.append("".join(w + m for w, m in zip(words, marks)))
            owner.append(member)
    vectorizer = TfidfVectorizer()
    x = vectorizer.fit_transform(texts).toarray()
    out.put("texts", len(texts))
    for text, member in zip(texts, owner):
        out.put("member", member)
        out.put("text", list(text.encode()))
    prompts = ["The judge of the court of appeal was liable.", "A protein, a GENE; blood\u2014dose 5mg.",
               "très naïve, lorsque la mère est au château", "zebra quux", "the trial of the court in été", ""]
    for clusters in (1, 2, 3):
        found = [centres(x[np.array(owner) == member], clusters) for member in range(3)]
        out.put("clusters", clusters)
        out.put("prompts", len(prompts))
        for prompt in prompts:
            q = vectorizer.transform([prompt]).toarray()[0]
            d2 = np.array([((c - q) ** 2).sum(axis=1).min() for c in found])
            out.put("text", list(prompt.encode()))
            out.put("d2", d2)
            out.put("weights", special.softmax(-d2 / 0.1))


# ---- members with different vocabularies, in the tokens of a reference ---------------------------

# The first two ids are the start token and END.
VOCABULARIES = [["a", "b", "c", "d", "e", "f", " ", "ab", "cd", " ab", "fee", " de", "bad", " c", "ef"],
                ["f", "e", "d", "c", "b", "a", " ", "abd", " d", "ba", " abc", "cd", "ce", "fe", "dee", "fa"],
                ["e", " ", "a", "f", "b", "d", "c", "fee", "bade", " cab", "ed", " fa", "ac"]]
TEXT = "bad cab fed a cede; abed face dead beef fade cafe add bad decade faded bee".replace(";", "")


def logits(member, history):
    """Any function of the history: what matters is that both sides compute the same."""
    h = member + 1
    for token in history:
        h = (h * 31 + token + 7) % 1009
    v = np.arange(len(VOCABULARIES[member]) + 2)
    return ((h * (v + 3) * 17 + v * v * 5) % 251) / 25


def longest_match(vocabulary, text):
    out = []
    while text:
        best = max((t for t in vocabulary if text.startswith(t)), key=len)
        out.append(vocabulary.index(best) + 2)
        text = text[len(best):]
    return out


def edit_distance(a, b):
    row = list(range(len(b) + 1))
    for i, x in enumerate(a):
        diagonal, row[0] = row[0], i + 1
        for j, y in enumerate(b):
            diagonal, row[j + 1] = row[j + 1], min(diagonal + (x != y), row[j] + 1, row[j + 1] + 1)
    return row[-1]


def mined(reference, member):
    """For each of the reference's tokens (id of the member, distance)."""
    return [min((edit_distance(t, m), i) for i, m in enumerate(member))[::-1] for t in reference]


def mapped_rows(member, reference, translated, paper):
    """Log-probabilities [T][reference's text tokens, END] along the reference's tokens of TEXT."""
    target, own = VOCABULARIES[reference], VOCABULARIES[member]
    tokens, rows, done = longest_match(target, TEXT), [], ""
    to = mined(target, own)
    ids = np.array([i + 2 for i, _ in to])
    share = np.array([2.0 ** -d for _, d in to])
    share /= np.array([share[ids == i].sum() for i in ids])
    for k, token in enumerate(tokens):
        history = [ids[t - 2] for t in tokens[:k]] if translated else longest_match(own, done)
        x = logits(member, [0] + list(history))
        if paper or member == reference:
            x = np.concatenate([x[ids], x[1:2]]) if member != reference else np.concatenate([x[2:], x[1:2]])
            rows.append(special.log_softmax(x))
        else:
            p = special.softmax(x[1:])  # all but the start token
            q = np.concatenate([p[ids - 1] * share, p[:1]])
            even = max(1 - q.sum(), 1e-3)
            rows.append(np.log(q / q.sum() * (1 - even) + even / len(q)))
        done += target[token - 2]
    return np.array(rows), np.array(tokens) - 2


def paper_greedy(rows, seen):
    """PackLLM's greedy search over alpha, on logits; ties to the incumbent."""
    def loss(x):
        return -special.log_softmax(x, axis=1)[np.arange(len(seen)), seen].sum() / len(TEXT)
    order = sorted(range(len(rows)), key=lambda i: loss(rows[i]))
    lam, now = np.eye(len(rows))[order[0]], rows[order[0]]
    for j in order[1:]:
        found = [(loss(a * now + (1 - a) * rows[j]), -a) for a in np.arange(20, -1, -1) / 20]
        a = -min(found, key=lambda f: (f[0] - (1e-12 if f[1] == -1 else 0), f[1]))[1]
        lam, now = a * lam + (1 - a) * np.eye(len(rows))[j], a * now + (1 - a) * rows[j]
    return lam, loss(now)


def write_mapped():
    out = Writer("mapped.txt")
    out.put("text", list(TEXT.encode()))
    out.put("members", len(VOCABULARIES))
    for vocabulary in VOCABULARIES:
        out.put("tokens", len(vocabulary))
        for token in vocabulary:
            out.put("token", list(token.encode()))
    for reference in range(len(VOCABULARIES)):
        for translated in (0, 1):
            for paper in (0, 1):
                rows, seen = zip(*(mapped_rows(i, reference, translated, paper) for i in range(len(VOCABULARIES))))
                rows, seen = np.array(rows), seen[0]
                pool = log_pool(np.full(len(rows), 1 / len(rows)), rows)
                lam, f = paper_greedy(rows, seen)
                out.put("uniform_f", -pool[np.arange(len(seen)), seen].sum() / len(TEXT))
                out.put("greedy", lam)
                out.put("greedy_f", f)


# ---- marks of questions -------------------------------------------------------------------------


def rng_key(seed, position, symbol):
    """rng_key of src/base/rng.c."""
    mask = (1 << 64) - 1

    def mix(z):
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & mask
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & mask
        return z ^ (z >> 31)

    key = mix(seed + 0x9E3779B97F4A7C15 & mask)
    key = mix(key ^ (position + 0x7F4A7C159E3779B9 & mask))
    return mix(key ^ (symbol * 0x9E3779B97F4A7C15 + 0x243F6A8885A308D3 & mask))


def marks(nll, size, gold):
    each = -nll / size
    return np.argmin(nll) == gold, np.argmax(each) == gold, -special.log_softmax(each)[gold]


def write_marks():
    rng = np.random.default_rng(16)
    out = Writer("marks.txt")
    cases = [(40, 4, 50), (7, 2, 20), (120, 5, 30), (1, 3, 10)]
    out.put("cases", len(cases))
    for n, choices, rounds in cases:
        out.put("items", n)
        out.put("choices", choices)
        out.put("rounds", rounds)
        graded = []
        for method in range(2):
            rows = []
            for i in range(n):
                size = rng.integers(2, 40, choices)
                nll = rng.gamma(2.0, 1.0, choices) * size
                gold = int(rng.integers(choices))
                if i % 3 > 0:
                    nll[gold] *= 0.4 + 0.1 * method
                out.put("nll", nll)
                out.put("bytes", size)
                out.put("gold", gold)
                rows.append(marks(nll, size, gold))
                out.put("mark", [float(v) for v in rows[-1]])
            graded.append(np.array(rows, float))
            mean = graded[-1].mean(axis=0)
            error = graded[-1].std(axis=0, ddof=1) / np.sqrt(n) if n > 1 else [-1.0] * 3
            out.put("mean", mean)
            out.put("stderr", error)
        a, b = graded
        won, lost = int(((a[:, 0] > b[:, 0])).sum()), int((a[:, 0] < b[:, 0]).sum())
        out.put("won", won)
        out.put("lost", lost)
        out.put("mcnemar", stats.binomtest(won, won + lost).pvalue if won + lost else 1.0)
        draws = np.array([[rng_key(17, r, i) % n for i in range(n)] for r in range(rounds)])
        for column in (0, 2):
            d = a[:, column] - b[:, column]
            out.put("difference", d.mean())
            out.put("interval", np.quantile(d[draws].mean(axis=1), [0.025, 0.975]))


if __name__ == "__main__":
    write_fuse()
    write_weighers()
    write_sample()
    write_math()
    write_cbtm()
    write_mapped()
    write_marks()
