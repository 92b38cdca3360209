"""study_data.py - figures of windows and questions from what packllm eval recorded (Study.records)."""
import math
import statistics

BITS = 1 / math.log(2)


def by_text(records):
    """{text: [records in the order of the text]}"""
    texts = {}
    for r in records:
        texts.setdefault(r["id"].split(":")[0], []).append(r)
    for windows in texts.values():
        windows.sort(key=lambda r: int(r["id"].split(":")[1].split("/")[0]))
    return texts


def bits(record, method):
    return record["nats"][method][0] * BITS / record["bytes"][0]


def series(texts, method):
    """Bits/byte a window, a list a text. 'oracle': the best of the grid with hindsight, for each window;
    'best …': the member with the fewest bits/byte on the text, with hindsight."""
    out = []
    for windows in texts.values():
        if method == "oracle":
            out.append([min(bits(r, m) for m in r["nats"] if m.startswith("fixed:")) for r in windows])
        elif method.startswith("best "):
            kind = method.split()[1] + ":"
            names = [m for m in windows[0]["nats"] if m.startswith(kind)]
            rows = [[bits(r, m) for r in windows] for m in names]
            out.append(min(rows, key=statistics.fmean))
        else:
            out.append([bits(r, method) for r in windows])
    return out


def total(values):
    return statistics.fmean(statistics.fmean(v) for v in values)


def marks(records, method, normed=False):
    """Right or not, a question; the loss that counts is the sum or, normed, per byte."""
    out = []
    for r in records:
        loss = [x / (b if normed else 1) for x, b in zip(r["nats"][method], r["bytes"])]
        out.append(loss.index(min(loss)) == r["gold"])
    return out


def gold(records, method):
    return [r["nats"][method][r["gold"]] for r in records]


def gold_nll(records, method):
    """The right option's loss after a softmax over losses per byte, nats: eval's gold_nll."""
    out = []
    for r in records:
        score = [-x / b for x, b in zip(r["nats"][method], r["bytes"])]
        top = max(score)
        out.append(top + math.log(sum(math.exp(s - top) for s in score)) - score[r["gold"]])
    return out


def by_set(records):
    sets = {}
    for r in records:
        sets.setdefault(r["set"], []).append(r)
    return sets
