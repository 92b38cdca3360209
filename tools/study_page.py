"""study_page.py - from what the study measured to docs/study: tables (Markdown and CSV), plots (SVG), the page.

Every sentence with a figure is made from the figures, so the page cannot say what was not measured."""
import csv
import math
import os
import statistics

import study_plots as plots
import study_prior
from study_data import BITS, bits, by_set, by_text, gold, gold_nll, marks, series, total
from study_stats import auc, change, correlation, difference, error, share, wilson

NOT_RUN = "*not run in this budget*"


def signed(value, digits=2):
    return "–" if value is None or math.isnan(value) else "%+.*f" % (digits, value)


def interval(low, high, digits=2):
    return "(no interval)" if math.isnan(low) else "[%s, %s]" % (signed(low, digits), signed(high, digits))


def verdict(low, high):
    if math.isnan(low):
        return "too few windows for an interval"
    return "better" if high < 0 else "worse" if low > 0 else "not told apart"


class Page:
    def __init__(self, out):
        self.out, self.lines, self.found = out, [], []
        out.mkdir(parents=True, exist_ok=True)

    def say(self, *lines):
        self.lines += lines

    def table(self, name, header, rows):
        """Into the page, and as NAME.csv."""
        self.say("", "| " + " | ".join(header) + " |", "|" + "---|" * len(header))
        self.say(*("| " + " | ".join(str(c) for c in row) + " |" for row in rows), "", "[%s.csv](%s.csv)" % (name, name), "")
        self.csv(name, header, rows)

    def csv(self, name, header, rows):
        with open(self.out / (name + ".csv"), "w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([header, *rows])

    def plot(self, name, about):
        self.say("", "![%s](%s.svg)" % (about, name), "")


# ---- parts ----

def part_a(page, study, got):
    page.say("## a. Language modelling", "")
    texts = by_text(got["records"])
    if not texts:
        page.say(NOT_RUN)
        return
    a, n = study.args, sum(map(len, texts.values()))
    page.say("%d windows of %d texts (%s), %d bytes of prompt, the next %d scored, in bytes. Change in bits/byte against the best "
             "single member (canonical tokens, chosen with hindsight for each text); mean over the texts, 95 %% interval of the "
             "paired block bootstrap over windows. Below 0 is better. `oracle`: for each window the best λ of a "
             "grid of 0.1 with hindsight." % (n, len(texts), ", ".join("%s %d" % (t, len(w)) for t, w in texts.items()), a.context, a.scored))
    best, through = series(texts, "best canonical"), series(texts, "best member")
    methods = [m for m in got["methods"] if "@" not in m and not m.startswith("fixed:")] + (["oracle"] if any(
        m.startswith("fixed:") for m in got["methods"]) else [])
    rows, points = [], {}
    for m in methods:
        values = series(texts, m)
        mean, low, high = change(values, best)
        each = {t: change([v], [b])[0] for t, v, b in zip(texts, values, best)}
        worst = max(each, key=each.get)
        points[m] = (mean, low, high, list(each.values()))
        rows.append(["`%s`" % m, "%.4f" % total(values), signed(mean), interval(low, high), signed(each[worst]) + " " + worst,
                     signed(change(values, through)[0])])
    rows.sort(key=lambda r: float(r[2]))
    page.table("lm", ["method", "bits/byte", "% against the best member", "95 % interval", "worst text", "% against the best through bytes"], rows)
    page.table("lm-texts", ["method", *texts], [["`%s`" % m, *("%.4f" % statistics.fmean(v) for v in series(texts, m))] for m in methods])
    plots.methods(page.out / "lm.svg", points)
    page.plot("lm", "Change in bits per byte by method")
    mean, low, high, _ = points["exact"]
    page.found.append("**Language modelling** (%d windows, %d texts): `exact` in bytes is %s %% %s against the best member chosen with "
                      "hindsight: %s; `uniform` %s %%, `sim` %s %%, `greedy` %s %%, `top1` %s %%."
                      % (n, len(texts), signed(mean), interval(low, high), verdict(low, high), *(signed(points[m][0]) for m in
                                                                                               ("uniform", "sim", "greedy", "top1"))))
    rivals = [m for m in ("sim", "greedy", "uniform", "top1", "free", "exact:linear", "em", "hedge") if m in points]
    rows = []
    for m in rivals:
        d = change(series(texts, "exact"), series(texts, m))
        rows.append(["`%s`" % m, signed(d[0], 3), interval(d[1], d[2], 3), verdict(d[1], d[2])])
    page.say("`exact` against each other method, the same windows (below 0: `exact` has fewer bits):")
    page.table("lm-pairs", ["against", "%", "95 % interval", "`exact` is"], rows)
    spaces(page, got, texts)


def spaces(page, got, texts):
    page.say("### Spaces", "")
    records = {r["id"]: r for w in texts.values() for r in w}
    names = [s for s in got["spaces"]]
    common = [i for i in records if all(i in got["spaces"][s] for s in names)] if names else []
    if not common:
        page.say("Token spaces (mined+text, mined+translated, first+text): " + NOT_RUN)
        return
    chosen = by_text([records[i] for i in common])
    best = series(chosen, "best canonical")
    rows = []
    for s in ["bytes", *names]:
        values = series(chosen, "exact") if s == "bytes" else [[got["spaces"][s][r["id"]] for r in w] for w in chosen.values()]
        mean, low, high = change(values, best)
        rows.append([s, "%.4f" % total(values), signed(mean), interval(low, high)])
    page.say("`exact` λ in each, on the %d windows that all of them read (%s). Token spaces: the reference's tokens, by vocabulary "
             "map and by what the foreign member reads; mined+translated is the paper's." % (len(common), ", ".join(common)))
    page.table("spaces", ["space", "bits/byte", "% against the best member", "95 % interval"], rows)
    page.found.append("**Spaces** (%d window(s)): against the best member " % len(common) +
                      ", ".join("%s %s %%" % (r[0], r[2]) for r in rows) + ".")


def part_b(page, study, got):
    page.say("## b. Multiple choice", "")
    sets = by_set(got["records"])
    if not sets:
        page.say(NOT_RUN)
        return
    n = sum(map(len, sets.values()))
    methods = [m for m in got["methods"] if not m.startswith("fixed:") and "@" not in m]
    whole = [r for rs in sets.values() for r in rs]
    members = [m for m in methods if m.startswith("member:")]
    best = max(members, key=lambda m: (share(marks(whole, m))[0], -statistics.fmean(gold(whole, m))))
    page.say("%d questions, drawn with a fixed seed (%s). Accuracy from summed losses (per cent ± one standard error) and from losses per "
             "byte; mean loss of the right option in nats; gold nll: its loss after a softmax over the options' losses per byte; the difference to the "
             "best member with hindsight (`%s`) with its paired 95 %% interval, pooled. `:whole`: a mixture of the members' probabilities of whole "
             "options. All %d methods at once took %.1f s a question, %.2f times the members' own forwards." % (
                 n, ", ".join("%s %d" % (s, len(r)) for s, r in sets.items()), best, len(got["methods"]), statistics.fmean(r["seconds"] for r in whole),
                 sum(r["seconds"] for r in whole) / sum(sum(r["forward"].values()) for r in whole)))
    rows, points = [], {}
    for m in methods:
        acc, se = share(marks(whole, m))
        d = [100 * x for x in difference([marks(r, m) for r in sets.values()], [marks(r, best) for r in sets.values()])]
        nll = gold_nll(whole, m)
        points[m] = (acc, se)
        rows.append(["`%s`" % m, "%.1f ± %.1f" % (acc, se), "%.1f ± %.1f" % share(marks(whole, m, True)), "%.3f" % statistics.fmean(gold(whole, m)),
                     "%.4f ± %.4f" % (statistics.fmean(nll), error(nll)),
                     "–" if m == best else "%s %s" % (signed(d[0], 1), interval(d[1], d[2], 1)),
                     *("%.0f ± %.0f" % share(marks(r, m)) for r in sets.values())])
    page.table("choice", ["method", "accuracy", "per byte", "gold nats", "gold nll", "points against the best member", *sets], rows)
    plots.accuracy(page.out / "choice.svg", points, n)
    page.plot("choice", "Accuracy by method")
    pairs = {(a, b): pair(sets, a, b) for k, a in enumerate(methods) for b in methods[k + 1:]}
    page.say("`exact` minus another, paired:")
    header = ["against", "points", "95 % interval", "gold nats", "95 % interval ", "gold nll", "95 % interval  "]
    page.table("choice-pairs", header, [["`%s`" % b, *p] for (a, b), p in pairs.items() if a == "exact" and not b.startswith("canonical:")])
    page.csv("choice-all-pairs", ["method", *header], [[a, b, *p] for (a, b), p in pairs.items()])
    page.say("Every pair of methods: [choice-all-pairs.csv](choice-all-pairs.csv). [+0.0, +0.0] of points: the two gave no question another mark.")
    against = {b: pairs["exact", b] for b in ("uniform", "top1", best)}
    page.found.append("**Multiple choice** (%d questions, %d sets): `exact` %.1f ± %.1f %%, `uniform` %.1f, `top1` %.1f, best member with hindsight "
                      "%.1f ± %.1f (`%s`); `exact` minus `uniform` %s points %s, minus `top1` %s %s, minus the best member %s %s. The right option's loss: "
                      "`exact` minus the best member %s nats %s." % (
                          n, len(sets), *points["exact"], points["uniform"][0], points["top1"][0], *points[best], best,
                          *against["uniform"][:2], *against["top1"][:2], *against[best][:4]))
    calibrated(page, study, sets, best)


def pair(sets, a, b):
    """Points, gold nats and gold nll of a minus b on the same questions, each with its interval."""
    out = []
    for of, scale, digits in ((marks, 100, 1), (gold, 1, 3), (gold_nll, 1, 4)):
        d = [scale * x for x in difference([of(r, a) for r in sets.values()], [of(r, b) for r in sets.values()])]
        out += [signed(d[0], digits), interval(d[1], d[2], digits)]
    return out


def calibrated(page, study, sets, best):
    page.say("### A calibrated prior", "")
    members = list(study.members)
    records = [r for rs in sets.values() for r in rs]
    if len(members) != 2 or len(records) < 4:
        page.say(NOT_RUN)
        return
    questions = study_prior.Questions(records, members)
    weight, nats = questions.error()
    ids = [k for k, rs in enumerate(sets.values()) for _ in rs]
    page.say("Prior and shrinkage of `exact` fitted on the gold nll as `packllm calibrate` does (the prior in steps of 0.05, shrinkage 0 or 1/4 to 4096), on one half "
             "of the questions, and looked at on the other; halves drawn %d times, means over the drawings. Once for all sets together, and once for each set "
             "by itself. Solved from the recorded losses at fixed weights, by cubics between them: weights that eval recorded are met within %.3f, losses "
             "within %.3f nats. Differences are to `exact` as it is and to the best member with hindsight, on the same questions." % (
                 study_prior.DRAWINGS, weight, nats))
    base = {m: ([float(x) for x in marks(records, m)], gold_nll(records, m)) for m in ("exact", best)}
    rows, said = [], []
    for name, groups in (("all sets together", [0] * len(ids)), ("each set by itself", ids)):
        right, nll, settings = questions.held_out(groups, study_prior.DRAWINGS)
        split = lambda values: [[v for v, k in zip(values, ids) if k == s] for s in range(len(sets))]  # noqa: E731
        row = [name, "%.1f ± %.1f" % (100 * right.mean(), 100 * error(right)), "%.4f" % nll.mean()]
        for m in ("exact", best):
            d = [100 * x for x in difference(split(right), split(base[m][0]))]
            g = difference(split(nll), split(base[m][1]))
            row += ["%s %s" % (signed(d[0], 1), interval(d[1], d[2], 1)), "%s %s" % (signed(g[0], 4), interval(g[1], g[2], 4))]
        low, middle, high = (statistics.quantiles([s[1] for s in settings], n=20)[k] for k in (0, 9, 18)) if len(settings) > 1 else [settings[0][1]] * 3
        rows.append([*row, "%.2f (%.2f to %.2f)" % (middle, low, high)])
        said.append("%s: %s points, with a prior of `%s` of %.2f in the median" % (name, row[5], members[0], middle))
    page.table("calibrated", ["fitted on", "accuracy", "gold nll", "points against `exact`", "gold nll against `exact`", "points against the best member",
                              "gold nll against the best member", "prior of `%s`: median (5 to 95 %%)" % members[0]], rows)
    page.found.append("**A calibrated prior**, held out, against the best member with hindsight: %s." % "; ".join(said))


def part_c(page, a, b):
    page.say("## c. What the prompt tells", "")
    texts = by_text(a["records"])
    windows = [r for w in texts.values() for r in w]
    members = [m for m in (a["methods"]) if m.startswith("member:")]
    if windows and len(members) == 2 and any(m.startswith("fixed:") for m in a["methods"]):
        one, two = members
        name = one.split(":")[1]
        prompt = [(r["loss"][one] - r["loss"][two]) * BITS for r in windows]
        after = [bits(r, one) - bits(r, two) for r in windows]
        grid = [m for m in a["methods"] if m.startswith("fixed:")]
        oracle = [float(min(grid, key=lambda m: bits(r, m)).split(":")[1].split("/")[0]) for r in windows]  # noqa: B023
        exact = [r["weights"]["exact"][name] for r in windows]
        same = sum((x < 0) == (y < 0) for x, y in zip(prompt, after))
        low, high = wilson(same, len(windows))
        lost = change(series(texts, "exact"), series(texts, "oracle"))
        page.say("**Texts** (%d windows): the member with fewer bits/byte on the prompt has fewer on what follows in %d (%.0f %%, 95 %% interval "
                 "%.0f to %.0f). The differences between the members on the prompt and behind it correlate with r = %s; the exact λ and the "
                 "oracle's (grid of 0.1) with r = %s, mean distance %.2f. What λ from the prompt loses to the oracle's: %s %% %s."
                 % (len(windows), same, 100 * same / len(windows), low, high, number(correlation(prompt, after)),
                    number(correlation(exact, oracle)), statistics.fmean(abs(x - y) for x, y in zip(exact, oracle)), signed(lost[0]),
                    interval(*lost[1:])))
        plots.prompt(page.out / "prompt.svg", [r["id"].split(":")[0] for r in windows], prompt, after, exact, oracle, name)
        page.plot("prompt", "What the prompt says about what follows")
        page.found.append("**The prompt's perplexity** picks the member that is better on what follows in %d of %d windows; λ from the prompt "
                          "is %s %% behind the λ chosen with hindsight." % (same, len(windows), signed(lost[0])))
    else:
        page.say("Texts: " + NOT_RUN)
    rows = []
    choice = [m for m in b["methods"] if m.startswith("member:")]
    right = agree = 0
    for name, records in by_set(b["records"]).items():
        for m in choice:
            rows.append([name, "`%s`" % m, len(records), "%.0f" % share(marks(records, m))[0],
                         number(auc([-r["loss"][m] for r in records], marks(records, m)))])
        if len(choice) == 2:
            for r, x, y in zip(records, marks(records, choice[0]), marks(records, choice[1])):
                if x != y:
                    right += 1
                    agree += (r["loss"][choice[0]] < r["loss"][choice[1]]) == x
    if rows:
        page.say("**Questions.** Does a member answer right where the question is easy for it to read? AUC: how often a question that it answers "
                 "right has fewer bits/byte than one that it answers wrong; 0.5 is no signal.")
        page.table("prompt-choice", ["set", "member", "questions", "accuracy", "AUC"], rows)
        if right:
            low, high = wilson(agree, right)
            page.say("Of the %d questions that exactly one member answers right, it is the one with fewer bits/byte on the question in %d (%.0f %%, "
                     "95 %% interval %.0f to %.0f)." % (right, agree, 100 * agree / right, low, high))
            page.found.append("**On questions** where exactly one member is right (%d), the one that reads the question with fewer bits/byte is the right "
                              "one in %.0f %% (95 %% interval %.0f to %.0f): %s." % (right, 100 * agree / right, low, high,
                                                                                  "a signal" if low > 50 else "no signal that this many questions can show"))
    else:
        page.say("Questions: " + NOT_RUN)


def number(value):
    return "–" if math.isnan(value) else "%.2f" % value


CROWD = 100  # packs of more than so many are read on fewer windows


def growth_rows(got, sizes):
    """On the windows that all these packs have: {text: number}, rows of a table, lines of a plot."""
    common = set.intersection(*({r["id"] for r in got[k]["records"]} for k in sizes))
    texts = {k: by_text([r for r in got[k]["records"] if r["id"] in common]) for k in sizes}
    if not common:
        return {}, [], {}
    base = series(texts[sizes[-1]], "member:" + got[sizes[-1]]["members"][0])
    rows, lines = [], {}
    for k in sizes:
        best = series(texts[k], "best member")
        for m in ("exact", "exact@0", "em", "sim", "uniform", "top1"):
            values = series(texts[k], m)
            d, e = change(values, base), change(values, best)
            lines.setdefault(m, []).append((k, *d))
            rows.append([k, "`%s`" % m, "%.4f" % total(values), signed(d[0]), interval(*d[1:]), signed(e[0]), interval(*e[1:])])
    return {t: len(w) for t, w in texts[sizes[-1]].items()}, rows, lines


def part_d(page, study, got):
    page.say("## d. Packs that grow", "")
    sizes = sorted(k for k in got if got[k]["records"] and k <= CROWD)
    crowds = sorted(k for k in got if got[k]["records"] and k > CROWD)
    missing = [k for k in got if not got[k]["records"]]
    windows, rows, lines = growth_rows(got, sizes) if sizes else ({}, [], {})
    if not rows:
        page.say(NOT_RUN)
        return
    largest = sizes[-1]
    first = "member:" + got[largest]["members"][0]
    a = study.args
    header = ["members", "method", "bits/byte", "% against the first member", "95 % interval", "% against the pack's best member", "95 % interval "]
    page.say("Members join in this order: %s. Windows from the last 15 %% of each expert's text, which no adapter was trained on: %s; %d bytes of "
             "prompt, %d scored, in bytes. Change in bits/byte against the first member alone; and against the best single member of the same pack, chosen "
             "with hindsight for each text." % (", ".join("`%s`" % m for m in got[largest]["members"]), ", ".join(
                 "%s %d" % t for t in windows.items()), a.growth_context, a.growth_scored))
    page.table("growth", header, rows)
    each, alone = [], by_text(got[largest]["records"])  # of the largest pack also what smaller ones did not get to
    for t in alone:
        one = {t: alone[t]}
        best = series(one, "best member")
        each.append([t, "%.4f" % total(series(one, first)), "%.4f" % total(best), *(signed(change(series(one, m), best)[0]) for m in (
            "exact", "exact@0", "sim", "uniform", "top1"))])
    page.say("The pack of %d, by text (windows: %s): bits/byte of the first member and of the best with hindsight, and the change of each method against the latter (%%):"
             % (largest, ", ".join("%s %d" % (t, len(w)) for t, w in alone.items())))
    page.table("growth-texts", ["text", "first member", "best member", "`exact`", "`exact@0`", "`sim`", "`uniform`", "`top1`"], each)
    plots.growth(page.out / "growth.svg", lines)
    page.plot("growth", "Bits per byte as members join")
    pack = {m: change(series(alone, m), series(alone, first)) for m in ("exact", "uniform")}
    apart = {m: change(series(alone, m), series(alone, "best member")) for m in ("exact", "sim", "uniform")}
    page.found.append("**Newcomers** (%d window(s), pack of %d): `exact` %s %% against the first member alone, `uniform` %s %%. Against the best single member "
                      "chosen with hindsight: `exact` %s %% %s, `sim` %s %%, `uniform` %s %%." % (
                          sum(map(len, alone.values())), largest, signed(pack["exact"][0]), signed(pack["uniform"][0]), signed(apart["exact"][0]),
                          interval(*apart["exact"][1:]), signed(apart["sim"][0]), signed(apart["uniform"][0])))
    windows, rows, lines = growth_rows(got, [largest, *crowds]) if crowds else ({}, [], {})
    if rows:
        page.say("### More than a hundred", "", "The same experts at further scales join, on fewer windows (%s). The pack of %d stands beside it on the same "
                 "ones." % (", ".join("%s %d" % t for t in windows.items()), largest))
        page.table("crowd", header, rows)
        page.found.append("**A pack of %d** (%d window(s)): `exact` %s %% against the first member alone, `uniform` %s %%; the pack of %d there: %s and %s %%." % (
            crowds[-1], sum(windows.values()), signed(lines["exact"][-1][1]), signed(lines["uniform"][-1][1]), largest,
            signed(lines["exact"][0][1]), signed(lines["uniform"][0][1])))
    if missing:
        page.say("Packs of %s: %s." % (", ".join(map(str, missing)), NOT_RUN))


def part_e(page, study, got, a):
    page.say("## e. Ablations", "")
    texts = by_text(a["records"])
    page.say("### τ of `sim`, shrinkage of `exact`", "")
    if texts:
        best = series(texts, "best canonical")
        rows, lines = [], {"sim": [], "exact": []}
        for m in [m for m in a["methods"] if "@" in m] + ["sim", "exact"]:
            name, _, value = m.partition("@")
            d = change(series(texts, m), best)
            lines[name].append((float(value or 1), *d))
            rows.append(["`%s`" % name, float(value or 1), signed(d[0], 3), interval(*d[1:], digits=3)])
        rows.sort(key=lambda r: (r[0], r[1]))
        page.say("From the windows of part a; against the best member. The default of both is 1.")
        page.table("settings", ["method", "τ or shrink", "% against the best member", "95 % interval"], rows)
        plots.settings(page.out / "settings.svg", lines)
        page.plot("settings", "Temperature of sim and shrinkage of exact")
        low = min((r for r in rows if r[0] == "`exact`"), key=lambda r: float(r[2]))
        d = change(series(texts, "exact"), series(texts, "exact@%g" % low[1] if low[1] != 1 else "exact"))
        page.found.append("**Defaults**: the best shrinkage on these windows is %g; the default, 1, is %s %% %s behind it." % (low[1], signed(d[0], 3), interval(*d[1:], digits=3)))
    else:
        page.say(NOT_RUN)
    page.say("### Length of the prompt", "")
    lengths = {}
    for r in got["length"]:
        lengths.setdefault(int(r["id"].split("/")[1]), []).append(r)
    asked = [k for k in study.args.lengths if lengths.get(k)]
    common = set.intersection(*({r["id"].split("/")[0] for r in lengths[k]} for k in asked)) if asked else set()
    if common:
        rows, lines = [], {}
        for k in asked:
            some = by_text([r for r in lengths[k] if r["id"].split("/")[0] in common])
            best = series(some, "best canonical")
            for m in ("exact", "exact@0", "sim", "greedy", "uniform", "top1"):
                d = change(series(some, m), best)
                lines.setdefault(m, []).append((k, *d))
                rows.append([k, "`%s`" % m, "%.4f" % total(series(some, m)), signed(d[0]), interval(*d[1:])])
        page.say("The same %d bytes (%d places: %s) behind prompts of different length, against the best member at that length." % (
            study.args.scored // 2, len(common), ", ".join(sorted(common))))
        missing = [str(k) for k in study.args.lengths if k not in asked]
        if missing:
            page.say("Prompts of %s bytes: %s." % (", ".join(missing), NOT_RUN))
        page.table("length", ["bytes of prompt", "method", "bits/byte", "% against the best member", "95 % interval"], rows)
        plots.length(page.out / "length.svg", lines)
        page.plot("length", "Change in bits per byte by length of the prompt")
    else:
        page.say(NOT_RUN)
    page.say("### An irrelevant context before the question, and demonstrations", "")
    rows = []
    pairs = [by_set(got.get(what, [])) for what in ("plain", "irrelevant")]
    for what in ["plain", "irrelevant", *("shots%d" % n for n in study.args.shots)]:
        for name, records in by_set(got.get(what, [])).items():
            if what in ("plain", "irrelevant"):  # the same questions in both
                both = set.intersection(*({r["id"] for r in p.get(name, [])} for p in pairs))
                records = [r for r in records if r["id"] in both]
            if records:
                first = next(iter(records[0]["weights"]["exact"]))
                rows.append([{"plain": "plain", "irrelevant": "behind French text"}.get(what, what.replace("shots", "demonstrations: ")), name, len(records),
                             "%.2f" % statistics.fmean(r["weights"]["exact"][first] for r in records),
                             *("%.0f ± %.0f (%.2f)" % (*share(marks(records, m)), statistics.fmean(gold(records, m))) for m in (
                                 "exact", "sim", "uniform", "top1"))])
    moved = {row[0]: row for row in rows if row[1] == study.args.sets[0]}
    if "plain" in moved and "behind French text" in moved:
        a, b = moved["plain"], moved["behind French text"]
        page.found.append("**Irrelevant text** before a question (%d of %s): the mean exact weight of `%s` goes from %s to %s; `exact` answers %d right instead of %d." % (
            a[2], a[1], next(iter(study.members)), a[3], b[3], *(round(float(x[4].split(" ")[0]) * x[2] / 100) for x in (b, a))))
    if rows:
        page.say("Accuracy ± one standard error, in brackets the mean loss of the right option in nats. λ: the mean exact weight of the first member.")
        page.table("context", ["context", "set", "questions", "λ", "`exact`", "`sim`", "`uniform`", "`top1`"], rows)
    else:
        page.say(NOT_RUN)
    page.say("Pools (`exact` and `exact:linear`, `uniform` and `uniform:linear`) and spaces stand in part a.", "")


def part_f(page, study, a, got):
    page.say("## f. Costs", "")
    records = a["records"]
    if records:
        tokens = {m: statistics.fmean(r["tokens"][m] for r in records) for m in records[0]["tokens"]}
        reading = {m: statistics.fmean(r["reading"][m] for r in records) for m in tokens}
        page.say("A window of part a, all methods from one reading: the members' forwards (tokens evaluated, with the ends of tokens that the byte "
                 "model asks for) are %s, in %s s of reading. A method by itself costs on top:" % (
                     ", ".join("%s %.0f" % x for x in tokens.items()), ", ".join("%s %.1f" % x for x in reading.items())))
        rows = [["`%s`" % m, "%.1f" % (1000 * statistics.fmean(r["own"][m] for r in records)),
                 "%.2f" % (100 * statistics.fmean(r["own"][m] for r in records) / sum(reading.values()))]
                for m in a["methods"] if "@" not in m and not m.startswith("fixed:")]
        page.table("cost", ["method", "ms a window, weighing and fusing", "% of the reading"], rows)
    else:
        page.say("Weighing and fusing: " + NOT_RUN)
    memory = [p["mib"] for p in study.pieces.values() if p["key"].split("/")[0] in study.SPACES]
    if memory:
        page.say("Memory of `packllm score --space tokens` with this pack: at most %.0f MiB." % max(memory), "")
    bench = got["bench"]
    if bench:
        page.say("`packllm bench` (%.0f MiB at most in memory). Overhead: the pack's time per byte over the sum of the members', less one; glue: its share outside libllama." % bench["mib"])
        rows = [[r.get("what"), r.get("name"), r.get("test"), *("–" if r.get(k) is None else "%.2f" % r[k] for k in ("tokens_per_s", "bytes_per_s", "overhead", "glue"))]
                for r in flat(bench["result"])]
        page.table("bench", ["what", "name", "test", "tokens/s", "bytes/s", "overhead", "glue"], rows)
    else:
        page.say("Generating: " + NOT_RUN)


def independent(page, got):
    page.say("## Independent check", "")
    if not got["check"]:
        page.say(NOT_RUN)
        return
    sheet = got["check"]["result"][0]
    tiny = sheet["tiny"]
    page.say("[tools/independent_check.py](../../tools/independent_check.py) is the paper's method written down a second time from the formulas, in NumPy, with "
             "tokenizer and transformer of the tiny models. %d items with two endings, two members of one vocabulary; the exact λ is inside (0.01, 0.99) in %d. "
             "Tolerances: NLL 0.5 %% + 0.02 nats, λ 0.01. Restated: %.1f s, ending by ending; `packllm eval` with four methods, its start included: %.1f s. "
             "NumPy is no rival in speed." % (
                 tiny["items"], tiny["inside"], tiny["seconds_restated"], tiny["seconds_eval"]))
    page.table("check", ["what", "compared", "largest difference", "beyond the tolerance"],
               [[what, row["compared"], "%.2g" % row["largest"], row["disagree"]] for what, row in sheet["compared"].items()])
    for one in sheet["gguf"]:
        page.say("`%s` alone on %s bytes, by llama-cpp-python's bindings: %.4f bits/byte; by packllm %.4f." % (
            one["model"], one["bytes"], one["restated"], one["bits_per_byte"]))
    compared = list(sheet["compared"].values())
    if got["transformers"]:
        compared += on_transformers(page, got["transformers"]["result"][0])
    else:
        page.say("", "On transformers: " + NOT_RUN)
    page.found.append("**Independent check**: %d figures compared, %d beyond the tolerance." % (
        sum(row["compared"] for row in compared), sum(row["disagree"] for row in compared)))


def on_transformers(page, sheet):
    page.say("### On transformers", "")
    page.say("The same with the forward passes of transformers (PyPI), in float32 from the same GGUF files, whose weights it dequantises: the tiny models in %d "
             "items, tolerances as above." % sheet["tiny"]["items"])
    asked = sheet["questions"]
    if asked:
        theirs = sum(asked["seconds_restated"])
        page.say("And %s on %d questions of OpenBookQA. Tolerances: NLL of an option 2 %% + 0.2 nats, since libllama also rounds to 8 bits what it multiplies the "
                 "weights with; sim's λ 0.1, since packllm's reads a loss of bytes and the restated one that of canonical tokens. Seconds of processor for "
                 "these questions, one thread: transformers, whole text by whole text as the paper's code does it, %.1f (the models' loading apart); "
                 "`packllm eval` with all of canonical, exact, sim, greedy, uniform %.1f (its start and loading included): %.1f times." % (
                     " and ".join("`%s`" % m for m in asked["models"]), asked["items"], theirs, asked["seconds_eval"], theirs / asked["seconds_eval"]))
    rows = list(sheet["compared"].items())
    page.table("check-transformers", ["what", "compared", "largest difference", "beyond the tolerance"],
               [[what, row["compared"], "%.2g" % row["largest"], row["disagree"]] for what, row in rows])
    return [row for _, row in rows]


def flat(lines):
    for line in lines:
        if isinstance(line, list):
            yield from line
        elif "rows" in line:
            yield from line["rows"]
        else:
            yield line


def machine():
    facts = {}
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            facts = dict(map(str.strip, line.split(":", 1)) for line in lines if line.startswith("model name"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return "%s, %d cores, %.0f GiB of memory, load %.1f when the page was written" % (
        facts.get("model name", os.uname().machine), os.cpu_count(), memory, os.getloadavg()[0])


def write(study, results):
    page = Page(study.args.out)
    a = study.args
    part_a(page, study, results["a"])
    part_b(page, study, results["b"])
    part_c(page, results["a"], results["b"])
    part_d(page, study, results["d"])
    part_e(page, study, results["e"], results["a"])
    part_f(page, study, results["a"], results["f"])
    independent(page, results["f"])
    body, page.lines = page.lines, []
    page.say("# The study", "",
             "Made by `make study` ([tools/study.py](../../tools/study.py)); do not edit by hand. It asks what the paper (arXiv 2404.11531) claims, of packllm: does "
             "the prompt's perplexity pick the right members, does fusion beat the best member and the baselines, and where does it not?", "",
             "Pack: %s." % " and ".join("`%s`" % m for m in study.members), "", "## What was found", "")
    page.say(*("- " + line for line in page.found or [NOT_RUN]), "")
    page.say("Every interval is of windows or questions drawn anew from the same texts and sets; it says nothing about other texts or models. Where a text has one "
             "window, texts were drawn instead. Few windows make rough intervals: figures of a small budget are for a first look.", "",
             "## How it was measured", "",
             "Members are read once, every method reads the same rows (`packllm eval --methods …`); token spaces by `packllm score`. A text is cut at %d evenly spaced places, "
             "visited in an order that keeps any beginning evenly spread, until the part's seconds were over. %d thread(s). Machine: %s, with other work on it at times: "
             "seconds compare within a table only." % (a.windows, a.threads, machine()), "")
    spent = {}
    for key, seconds in study.spent.items():
        spent[key.split("/")[0]] = spent.get(key.split("/")[0], 0) + seconds
    limits = {"a": "texts", "b": "questions", "d": "packs that grow", "e": "ablations", "f": "costs"}
    page.table("budget", ["part", "budget, s", "spent, s"], [[k + " " + v, "none" if a.full else "%.0f" % a.budgets[k], "%.0f" % spent.get(k, 0)]
                                                            for k, v in limits.items()])
    for part, piece, why in study.failures:
        page.say("- failed: part %s, %s: %s" % (part, piece, why))
    page.lines += body
    text = "\n".join("\n%s\n" % line if line.startswith("#") else line for line in page.lines)
    while "\n\n\n" in text:
        text = text.replace("\n\n\n", "\n\n")
    (page.out / "README.md").write_text(text.rstrip() + "\n", encoding="utf-8")
    print("wrote %s" % (page.out / "README.md"), flush=True)
