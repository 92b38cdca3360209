"""study_plots.py - the study's plots: SVG by Matplotlib, Okabe and Ito's colours, readable on light and dark."""
import math

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

INK = "#7d7d7d"
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8c8c8c"]
MARKS = "osD^vPX"
plt.rcParams.update({"svg.hashsalt": "packllm", "svg.fonttype": "path", "font.size": 10, "text.color": INK, "axes.labelcolor": INK,
                     "axes.edgecolor": INK, "xtick.color": INK, "ytick.color": INK, "axes.spines.top": False, "axes.spines.right": False,
                     "legend.frameon": False, "axes.grid": True, "grid.color": INK, "grid.alpha": 0.2})


def save(figure, path):
    figure.tight_layout()
    figure.savefig(path, transparent=True, metadata={"Date": None})
    plt.close(figure)


def bar(axes, x, y, low, high, vertical, **style):
    """A point with its interval, which may be unknown."""
    error = None if math.isnan(low) else [[max(0, (y if vertical else x) - low)], [max(0, high - (y if vertical else x))]]
    axes.errorbar(x, y, **{"yerr" if vertical else "xerr": error}, capsize=3, **style)


def methods(path, points):
    """points: method -> (mean, low, high, [a text each])"""
    order = sorted((m for m in points if not m.startswith(("member:", "canonical:"))), key=lambda m: -points[m][0])
    figure, axes = plt.subplots(figsize=(7.5, 0.3 * len(order) + 1.2))
    for y, m in enumerate(order):
        mean, low, high, each = points[m]
        axes.plot(each, [y] * len(each), "o", color=INK, alpha=0.45, markersize=3.5, zorder=2, label="a text" if y == 0 else None)
        bar(axes, mean, y, low, high, False, fmt="D", color=COLOURS[1 if m == "exact" else 0], markersize=5.5, zorder=3,
            label="mean, 95 % interval" if y == 0 else None)
    axes.axvline(0, color=INK, linewidth=1)
    axes.set_yticks(range(len(order)), order)
    axes.set_xlabel("change in bits/byte against the best member, % (left of 0: better)")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    save(figure, path)


def accuracy(path, points, n):
    order = sorted(points, key=lambda m: points[m][0])
    figure, axes = plt.subplots(figsize=(7.5, 0.3 * len(order) + 1.2))
    for y, m in enumerate(order):
        colour = COLOURS[1 if m == "exact" else 2 if m.startswith("member:") else 0]
        axes.errorbar(points[m][0], y, xerr=points[m][1], fmt="D", color=colour, capsize=3, markersize=5.5)
    axes.set_yticks(range(len(order)), order)
    axes.set_xlabel("accuracy, %% of %d questions (bars: one standard error)" % n)
    save(figure, path)


def prompt(path, texts, before, after, exact, oracle, name):
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.2))
    for k, text in enumerate(dict.fromkeys(texts)):
        at = [i for i, t in enumerate(texts) if t == text]
        style = {"color": COLOURS[k % 7], "marker": MARKS[k % 7], "linestyle": "", "alpha": 0.85, "label": text}
        left.plot([before[i] for i in at], [after[i] for i in at], **style)
        right.plot([exact[i] for i in at], [oracle[i] for i in at], **style)
    span = [min(before + after), max(before + after)]
    left.plot(span, span, color=INK, linewidth=0.8)
    left.axhline(0, color=INK, linewidth=0.8)
    left.axvline(0, color=INK, linewidth=0.8)
    left.set_xlabel("on the prompt, bits/byte")
    left.set_ylabel("on what follows, bits/byte")
    left.set_title("%s minus the other member" % name, color=INK, fontsize=10)
    right.plot([0, 1], [0, 1], color=INK, linewidth=0.8)
    right.set_xlabel("exact λ from the prompt")
    right.set_ylabel("best λ with hindsight (grid of 0.1)")
    right.set_title("weight of %s" % name, color=INK, fontsize=10)
    figure.legend(*left.get_legend_handles_labels(), loc="lower center", ncols=7, fontsize=8.5)
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    figure.savefig(path, transparent=True, metadata={"Date": None})
    plt.close(figure)


def lines_of(axes, lines, spread=0.0, ratio=False):
    """lines: name -> [(x, mean, low, high)]; drawn a little apart, so that intervals can be told."""
    for k, (name, points) in enumerate(lines.items()):
        points = sorted(points)
        shift = (k - (len(lines) - 1) / 2) * spread
        x = [p[0] * (1 + shift) if ratio else p[0] + shift for p in points]
        axes.plot(x, [p[1] for p in points], color=COLOURS[k], marker=MARKS[k], markersize=5, label=name)
        for at, p in zip(x, points):
            bar(axes, at, p[1], p[2], p[3], True, fmt="none", ecolor=COLOURS[k], elinewidth=1, alpha=0.7)
    axes.axhline(0, color=INK, linewidth=1)


def growth(path, lines):
    figure, axes = plt.subplots(figsize=(7.5, 4))
    lines_of(axes, lines, 0.06)
    axes.set_xticks(sorted({p[0] for points in lines.values() for p in points}))
    axes.set_xlabel("members in the pack")
    axes.set_ylabel("change in bits/byte against\nthe first member alone, %")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    save(figure, path)


def length(path, lines):
    figure, axes = plt.subplots(figsize=(7.5, 4))
    axes.set_xscale("log")
    lines_of(axes, lines, 0.025, True)
    ticks = sorted({p[0] for points in lines.values() for p in points})
    axes.set_xticks(ticks, [str(t) for t in ticks])
    axes.minorticks_off()
    axes.set_xlabel("bytes of prompt")
    axes.set_ylabel("change in bits/byte against\nthe best member, %")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    save(figure, path)


def settings(path, lines):
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True)
    for axes, name, label in ((left, "sim", "τ of sim"), (right, "exact", "shrinkage κ of exact")):
        axes.set_xscale("symlog", linthresh=0.1 if name == "exact" else 0.01)
        lines_of(axes, {name: lines[name]})
        ticks = sorted(p[0] for p in lines[name])
        axes.set_xticks(ticks, ["%g" % t for t in ticks])
        axes.minorticks_off()
        axes.set_xlabel(label + " (default 1)")
    left.set_ylabel("change in bits/byte against\nthe best member, %")
    save(figure, path)
