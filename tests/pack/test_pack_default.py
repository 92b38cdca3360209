"""The default pack through the program: the weights are an optimum, the same command says the same
bytes, both ways of scoring agree and are causal, the distribution of the next byte sums to 1."""
import json
import math
import os
import subprocess
import tempfile
import unittest

PACKLLM = os.environ.get("PACKLLM", "build/packllm")
SHARED = os.environ.get("PACKLLM_SHARED", "../shared")


def run(*args):
    done = subprocess.run([PACKLLM, *args, "--no-progress"], capture_output=True, check=False)
    if done.returncode != 0:
        raise AssertionError(done.stderr.decode("utf-8", "replace"))
    return done.stdout


def text(name, start, size):
    with open(os.path.join(SHARED, "data", name), "rb") as f:
        data = f.read()[start:start + size]
    return data.decode("utf-8", "ignore").encode()


class DefaultPack(unittest.TestCase):
    def test_weights_are_an_optimum(self):
        prompt = text("wiki_en.txt", 5000, 600).decode()
        best = json.loads(run("weigh", "--json", "--shrink", "0", "-p", prompt))
        self.assertLessEqual(best["gap"], 1e-9)
        self.assertAlmostEqual(sum(m["weight"] for m in best["members"]), 1.0, places=9)
        for member in best["members"]:
            self.assertLessEqual(best["bits_per_byte"], member["bits_per_byte_model"] + 1e-9)
        w = best["members"][0]["weight"]
        for other in (w - 0.1, w + 0.02):
            if 0.0 <= other <= 1.0:
                given = json.loads(run("weigh", "--json", "-p", prompt,
                                       "--weights", f"fixed:{other:.9f},{1 - other:.9f}"))
                self.assertGreaterEqual(given["objective"], best["objective"] - 1e-7)
        self.assertLess(best["seconds"]["solve"], 0.05 * best["seconds"]["evaluate"])

    def test_the_same_command_says_the_same(self):
        args = ("run", "-p", "The capital of France is", "-n", "12", "-s", "7", "--json")
        one, two = json.loads(run(*args)), json.loads(run(*args))
        self.assertEqual(one["text"], two["text"])
        self.assertGreater(len(one["text"]), 0)
        for member in one["members"]:
            self.assertGreater(member["forwards"], 0)

    def score(self, data, *more):
        with tempfile.TemporaryDirectory() as folder:
            path, rows = os.path.join(folder, "t"), os.path.join(folder, "rows")
            with open(path, "wb") as f:
                f.write(data)
            result = json.loads(run("score", "--json", "-f", path, "--context-bytes", "300",
                                    "--per-byte", rows, "--next", *more))
            with open(rows, encoding="ascii") as f:
                lines = [[float(x) for x in line.split("\t")] for line in f]
        return result, lines

    def test_scoring_is_causal_and_proper(self):
        data = text("speeches_en.txt", 9000, 700)
        cut = 500
        other = data[:cut] + b" zebra, and none of this was here before; 42 = x."
        whole = {}
        for mode, limit in (((), 3e-3), (("--through-generation",), None)):
            one, rows = self.score(data, *mode)
            _, changed = self.score(other, *mode)
            self.assertEqual(len(rows), len(data) - 300)
            self.assertAlmostEqual(sum(one["next"]), 1.0, places=6)
            self.assertEqual(one["jensen_violations"], 0)
            before = [(a[1], b[1]) for a, b in zip(rows, changed) if a[0] < cut]
            total = sum(a for a, _ in before)
            if limit is None:
                for a, b in before:
                    self.assertLessEqual(abs(a - b) * math.log(2), 1e-3)
            else:
                self.assertLessEqual(abs(total - sum(b for _, b in before)), limit * abs(total))
            self.assertAlmostEqual(-sum(r[1] for r in rows) / len(rows), one["bits_per_byte"],
                                   places=6)
            whole[mode] = one["bits_per_byte"]
        ways = list(whole.values())
        self.assertLessEqual(abs(ways[0] / ways[1] - 1.0), 5e-3)


if __name__ == "__main__":
    unittest.main()
