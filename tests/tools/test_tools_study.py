"""tools/study.py and tools/independent_check.py: the statistics, and small runs with the tiny models.

They need NumPy, the study Matplotlib too; without them the tests leave with 77, which counts as skipped.
PACKLLM_STUDY_PYTHON names a Python that has them."""
import csv
import importlib.util
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest
import xml.dom.minidom

SOURCE = pathlib.Path(os.environ.get("PACKLLM_SOURCE", pathlib.Path(__file__).resolve().parents[2]))
SHARED = pathlib.Path(os.environ.get("PACKLLM_SHARED", SOURCE.parent / "shared"))
sys.path.insert(0, str(SOURCE / "tools"))
WANTED = ("numpy", "matplotlib")

if not all(importlib.util.find_spec(name) for name in WANTED):
    other = os.environ.get("PACKLLM_STUDY_PYTHON")
    if other and sys.executable != other:
        os.execv(other, [other, "-B", *sys.argv])
    print("skipped: no NumPy or no Matplotlib here (Debian: python3-numpy, python3-matplotlib)")
    sys.exit(77)

import numpy as np  # noqa: E402

import independent_check as check  # noqa: E402
import study_prior as prior  # noqa: E402
import study_stats as stats  # noqa: E402

without_models = unittest.skipIf(
    os.environ.get("PACKLLM_LLAMA") == "off" or not (SHARED / "models" / "stories260K.gguf").is_file(),
    "this build has no libllama, or the tiny models are not there")


class Statistics(unittest.TestCase):
    def test_change(self):
        base = [[1.0, 2.0, 3.0], [4.0, 1.0]]
        self.assertEqual(stats.change(base, base), (0.0, 0.0, 0.0))
        single = stats.change([[1.1], [1.0], [1.3]], [[1.0], [1.0], [1.0]])  # texts are drawn
        self.assertTrue(single[1] < single[0] < single[2])
        for got in stats.change([[0.9 * x for x in b] for b in base], base):  # the same everywhere: no spread
            self.assertAlmostEqual(got, -10)
        point, low, high = stats.change([[1.0, 2.2, 3.0], [4.1, 1.0]], base)
        self.assertAlmostEqual(point, 100 * (6.2 / 6 + 5.1 / 5 - 2) / 2)  # texts weigh the same, windows by bits
        self.assertTrue(low <= point <= high and low < high)
        self.assertEqual((point, low, high), stats.change([[1.0, 2.2, 3.0], [4.1, 1.0]], base))
        self.assertTrue(all(map(math.isnan, stats.change([[1.0]], [[2.0]])[1:])))  # one window has no spread

    def test_blocks(self):
        at = stats.draw(np.random.default_rng(1), 30, 50, stats.block_length(30))
        self.assertEqual((at.shape, stats.block_length(30)), ((50, 30), 3))
        steps = np.diff(at.reshape(50, 10, 3), axis=2) % 30
        self.assertTrue((steps == 1).all())  # neighbours stay together
        self.assertEqual(len(np.unique(at)), 30)

    def test_the_interval_covers(self):
        """Of 200 samples whose true change is 0, about 95 % have 0 in their interval."""
        rng, inside = np.random.default_rng(3), 0
        for k in range(200):
            base = rng.uniform(1, 2, 40)
            _, low, high = stats.change([base + rng.normal(0, 0.1, 40)], [base], rounds=300, seed=k)
            inside += low <= 0 <= high
        self.assertTrue(172 <= inside <= 199, inside)

    def test_few_windows(self):
        """Six texts of two windows: the interval still covers the truth at least four times of five."""
        rng, inside = np.random.default_rng(5), 0
        for k in range(200):
            base = rng.uniform(1, 2, (6, 2))
            _, low, high = stats.change(list(base * np.exp(rng.normal(0, 0.05, (6, 2)))), list(base), rounds=300, seed=k)
            inside += low <= 0.125 <= high  # exp(0.05^2 / 2)
        self.assertGreaterEqual(inside, 160)

    def test_shares(self):
        self.assertEqual(stats.share([1, 1, 1, 0]), (75.0, 25.0))
        point, low, high = stats.difference([[1, 1, 0, 1], [1, 0]], [[1, 0, 0, 1], [0, 0]])
        self.assertAlmostEqual(point, 2 / 6)
        self.assertTrue(0 <= low <= point <= high)
        low, high = stats.wilson(4, 6)  # as tables of Wilson's interval have it
        self.assertAlmostEqual(low, 30.0, delta=0.05)
        self.assertAlmostEqual(high, 90.3, delta=0.05)

    def test_ranks(self):
        self.assertEqual(stats.auc([3, 2, 1, 0], [1, 1, 0, 0]), 1.0)
        self.assertEqual(stats.auc([1, 1, 1, 1], [1, 0, 1, 0]), 0.5)
        self.assertTrue(math.isnan(stats.auc([1, 2], [1, 1])))
        self.assertAlmostEqual(stats.correlation([1, 2, 3], [2, 4, 6.0]), 1)
        self.assertTrue(math.isnan(stats.correlation([1, 1, 1], [1, 2, 3])))

    def test_errors(self):
        self.assertAlmostEqual(stats.error([1, 2, 3]), 1 / math.sqrt(3))
        self.assertTrue(math.isnan(stats.error([1])))

    def test_order(self):
        for n in (1, 2, 3, 7, 20, 300):
            self.assertEqual(sorted(stats.spread_order(n)), list(range(n)))
        self.assertEqual(stats.spread_order(21)[:5], [0, 20, 10, 5, 15])


class Priors(unittest.TestCase):
    """Questions whose prompt likes weight 0.8 of the first member, and whose right option likes 0.2."""

    @staticmethod
    def question(k):
        weights = [j / 10 for j in range(11)]
        names = ["fixed:%g/%g" % (a, 1 - a) for a in weights]
        right = [3 + 40 * (a - 0.2) ** 2 for a in weights]
        nats = {m: [x, 10.0][::1 - 2 * (k % 2)] for m, x in zip(names, right)}
        nats["exact"] = [3 + 40 * 0.36, 10.0][::1 - 2 * (k % 2)]
        return {"set": "s", "id": str(k), "gold": k % 2, "bytes": [10, 10], "context": 100, "nats": nats, "loss":
                {m: 1 + (a - 0.8) ** 2 for m, a in zip(names, weights)}, "weights": {"exact": {"a": 0.8 - 0.3 / 101}}}

    def test_between(self):
        at = np.arange(11) / 10
        self.assertLess(np.abs(prior.between(at, at ** 3 - at) - (prior.FINE ** 3 - prior.FINE)).max(), 1e-12)  # exact to cubics

    def test_held_out(self):
        q = prior.Questions([self.question(k) for k in range(8)], ["a", "b"])
        weight, nats = q.error()  # F = (a - 0.8)^2 + (a - 0.5)^2 / 100 is least at 0.8 - 0.3 / 101
        self.assertLess(weight, 0.002)
        self.assertLess(nats, 0.2)
        self.assertAlmostEqual(prior.FINE[q.solve(0.2, 4096)[0]], 0.2, delta=0.03)
        right, nll, settings = q.held_out([0] * 8, 3)
        self.assertTrue((right == 1).all())
        self.assertFalse(q.right[q.settings.index((0.5, 1))].any())  # of the default
        self.assertAlmostEqual(nll.mean(), math.log(1 + math.exp(-0.7)), places=3)
        self.assertEqual({(s[1], s[2]) for s in settings}, {settings[0][1:]})
        self.assertEqual(len(settings), 6)
        self.assertAlmostEqual(settings[0][1], 0.2, delta=0.051)
        again = q.held_out([0] * 8, 3)
        self.assertEqual((right.tolist(), nll.tolist(), settings), (again[0].tolist(), again[1].tolist(), again[2]))


@without_models
class Runs(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="packllm-study-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def study(self, total, *more):
        models = SHARED / "models"
        arguments = ["--model", "stories=%s" % (models / "stories260K.gguf"), "--model", "xs=%s" % (models / "llama2xs260K.gguf"),
                     *"--texts stories_en,wiki_en --sets copa --windows 2 --context 100 --scored 150 --items 4 --lengths 50,100 --shots 0,1 "
                     "--growth 2,3 --growth-windows 2 --growth-context 60 --growth-scored 60 --filler 60 --threads 1 "
                     "--check-items 1 --bench=--n-gen,4,--n-prompt,32,--n-depth,20,--repeat,1".split(),
                     "--total", total, "--work", self.folder / "work", "--out", self.folder / "out", *more]
        done = subprocess.run([sys.executable, "-B", SOURCE / "tools" / "study.py", *map(str, arguments)], capture_output=True, timeout=500,
                              env=dict(os.environ, PACKLLM_SHARED=str(SHARED)))
        self.assertEqual(done.returncode, 0, done.stdout.decode() + done.stderr.decode())
        out = self.folder / "out"
        return (out / "README.md").read_text(), {p.name: p.read_text() for p in out.glob("*.csv")}, sorted(out.glob("*.svg"))

    def test_a_study(self):
        page, _, plots = self.study(0)
        self.assertGreaterEqual(page.count("not run in this budget"), 8)  # and no figure at all
        self.assertEqual(plots, [])
        page, tables, plots = self.study(2000)
        self.assertNotIn("nan", page)
        for name in ("lm", "lm-texts", "lm-pairs", "spaces", "choice", "choice-pairs", "choice-all-pairs", "calibrated", "prompt-choice", "growth", "settings", "length", "context", "cost", "bench", "check"):
            rows = list(csv.reader(tables[name + ".csv"].splitlines()))
            self.assertEqual(len({len(r) for r in rows}), 1, name)
            self.assertGreater(len(rows), 1, name)
        self.assertEqual([p.stem for p in plots], ["choice", "growth", "length", "lm", "prompt", "settings"])
        for path in plots:
            self.assertIn("viewBox", xml.dom.minidom.parse(str(path)).documentElement.attributes.keys())
            self.assertIn("(%s)" % path.name, page)
        before = [p.read_bytes() for p in plots]
        again, same, plots = self.study(2000)  # from what was kept: the same tables and plots
        self.assertEqual(tables, same)
        self.assertEqual(before, [p.read_bytes() for p in plots])

    def test_the_independent_check(self):
        done = subprocess.run([sys.executable, "-B", SOURCE / "tools" / "independent_check.py", "--items", "2", "--json"],
                              capture_output=True, timeout=300, env=dict(os.environ, PACKLLM_SHARED=str(SHARED)))
        self.assertEqual(done.returncode, 0, done.stderr.decode() + done.stdout.decode())
        got = json.loads(done.stdout)
        self.assertEqual(got["disagree"], [])
        self.assertEqual(got["compared"]["NLL, exact"]["compared"], 4)


class Sheet(unittest.TestCase):
    def test_it_can_fail(self):
        sheet = check.Sheet()
        sheet.add("x", 1.0, 1.01, 0.02, "here")
        sheet.choice("c", [1.0, 2.0], [2.0, 1.0], "here")   # the other ending
        sheet.choice("c", [1.0, 2.0], [1.0, 1.01], "here")  # a tie
        sheet.add("x", 1.0, float("nan"), 0.02, "there")
        self.assertEqual((sheet.rows["x"]["disagree"], sheet.rows["c"]["disagree"], len(sheet.wrong)), (1, 1, 2))

    def test_the_weights(self):
        """The restated solvers on rows whose best weights are known: two members, equal and opposite."""
        p = np.full((2, 5), 1e-9)
        p[0, 3:], p[1, 3:] = (0.8, 0.2), (0.2, 0.8)
        rows = [np.log(p), np.log(p[::-1])]
        ids = np.array([3, 3])
        for solve in check.METHODS.values():
            self.assertAlmostEqual(solve(rows, ids)[0], 0.5, places=2)


if __name__ == "__main__":
    unittest.main()
