"""study_prior.py - what a calibrated prior and shrinkage would do to questions that were already asked.

packllm calibrate reads the questions anew. Here the same problem (docs/math.md, Calibration) is solved from
what eval recorded: of two members, the prompt's loss and the options' losses at fixed weights on a grid
are smooth in the weight, so between its points cubics through the four next ones stand for them. The
recorded exact weights at other shrinkages say how good that is (error())."""
import numpy as np

DRAWINGS = 20  # of halves
PRIORS = np.linspace(0, 1, 21)
SHRINKS = [0.0, *(2.0 ** k for k in range(-2, 13))]
FINE = np.linspace(0, 1, 401)


def between(at, values):
    """values [..., len(at)] at equal steps, at every point of FINE: a cubic through the four next to it."""
    step = at[1] - at[0]
    first = np.clip(np.floor(FINE / step).astype(int) - 1, 0, len(at) - 4)
    out = 0.0
    for j in range(4):
        weight = np.ones(len(FINE))
        for k in range(4):
            if k != j:
                weight *= (FINE - at[first + k]) / (at[first + j] - at[first + k])
        out = out + weight * values[..., first + j]
    return out


class Questions:
    """Of every question: the prompt's loss and the options' at every weight of FINE for the first member, and the
    gold nll and whether the answer is right under every setting."""

    def __init__(self, records, members):
        self.records, self.first = records, members[0]
        grid = sorted((m for m in records[0]["nats"] if m.startswith("fixed:")), key=self.weight)
        at = np.array([self.weight(m) for m in grid])
        self.prompt = np.array([between(at, np.array([r["loss"][m] for m in grid])) for r in records])
        self.bytes = np.array([r["context"] for r in records], float)
        nll, right, self.nats = [], [], []
        for r in records:
            nats = between(at, np.array([r["nats"][m] for m in grid]).T)
            score = -nats / np.array(r["bytes"], float)[:, None]
            top = score.max(0)
            nll.append(top + np.log(np.exp(score - top).sum(0)) - score[r["gold"]])
            right.append(nats.argmin(0) == r["gold"])
            self.nats.append(nats)
        self.settings = [(p, s) for s in SHRINKS for p in (PRIORS if s else [0.5])]
        at = np.array([self.solve(*setting) for setting in self.settings])
        every = np.arange(len(records))
        self.nll, self.right = np.array(nll)[every, at], np.array(right)[every, at]  # [setting, question]

    @staticmethod
    def weight(method):
        return float(method.split(":")[1].split("/")[0])

    def solve(self, prior, shrink):
        """The index in FINE of each question's exact weight."""
        return (self.prompt + shrink / self.bytes[:, None] * (FINE - prior) ** 2).argmin(1)

    def error(self):
        """The largest difference to what eval recorded: of exact's weight at each shrinkage, and of its losses in nats."""
        weight = loss = 0.0
        for m in ("exact@0", "exact", "exact@10", "exact@100"):
            if m in self.records[0]["nats"]:
                at = self.solve(0.5, float(m.split("@")[1]) if "@" in m else 1.0)
                for k, r in enumerate(self.records):
                    weight = max(weight, abs(FINE[at[k]] - r["weights"][m][self.first]))
                    loss = max(loss, np.abs(self.nats[k][:, at[k]] - r["nats"][m]).max())
        return weight, loss

    def fit(self, use):
        """The number of the setting of the lowest mean gold nll on the questions in use; the weakest pull of equals."""
        mean = self.nll[:, use].mean(1)
        return int(np.flatnonzero(mean <= mean.min() + 1e-9)[0])

    def held_out(self, groups, rounds=1, seed=17):
        """Marks and gold nll [question] with settings fitted on the other half of its group, and the settings.
        groups: a number a question. Halves are drawn; with more rounds, means over drawings."""
        rng = np.random.default_rng(seed)
        n, settings = len(self.records), []
        right, nll = np.zeros(n), np.zeros(n)
        for _ in range(rounds):
            for g in sorted(set(groups)):
                order = rng.permutation(np.flatnonzero(np.asarray(groups) == g))
                halves = order[: len(order) // 2], order[len(order) // 2:]
                for fitted, asked in (halves, halves[::-1]):
                    if len(fitted) and len(asked):
                        best = self.fit(fitted)
                        settings.append((g, *map(float, self.settings[best])))
                        right[asked] += self.right[best, asked] / rounds
                        nll[asked] += self.nll[best, asked] / rounds
        return right, nll, settings

