"""packllm eval: figures, the same twice and after a kill, demonstrations, results files, bad input."""
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import time
import unittest

from cli_support import DREAMS, PROGRAM, STORIES, Program, without_models

PAIR = ("-t", "1", "-m", STORIES, "-m", DREAMS)

ITEMS = [
    ("Lily went to the park with her", ["mom and dad.", "seven loud engines."], 0),
    ("Tom had a big red", ["whether.", "ball.", "of."], 1),
    ("The cat sat on the", ["mat.", "because."], 0),
    ("One day, a little boy found a", ["toy car.", "did not."], 0),
    ("She was very happy and", ["of the table.", "smiled."], 1),
    ("They played all day in the", ["garden.", "said."], 0),
]
FIGURES = ("task", "method", "items", "correct", "accuracy", "stderr", "accuracy_norm", "gold_nll", "weights",
           "against", "context_bits_per_byte", "tokens")


def lines(items, name="q"):
    return "".join(json.dumps({"id": "%s-%d" % (name, i), "query": q, "choices": c, "gold": g}) + "\n"
                   for i, (q, c, g) in enumerate(items))


class Eval(Program):
    def task(self, text=None, name="copa_small.jsonl"):
        path = self.folder / name
        path.write_text(lines(ITEMS) if text is None else text)
        return path

    def rows(self, *args, **more):
        out = self.good("eval", *args, "--json", **more)
        rows = [json.loads(line) for line in out.splitlines()]
        return [{k: row[k] for k in FIGURES} for row in rows], rows


@without_models
class Figures(Eval):
    def test_methods_side_by_side(self):
        task, other = self.task(), self.task(lines(ITEMS[:4], "z"), "winogrande_small.jsonl")
        rows, whole = self.rows(task, other, *PAIR, "--methods", "all,canonical,fixed:1/0")
        by = {(r["task"], r["method"]): r for r in rows}
        self.assertEqual({r["task"] for r in rows}, {"copa_small", "winogrande_small", "all"})
        self.assertEqual(by["all", "exact"]["items"], 10)
        for r in rows:
            self.assertAlmostEqual(r["accuracy"], r["correct"] / r["items"])
            self.assertAlmostEqual(sum(r["weights"].values()), 1.0, places=6) if r["method"] != "free" else None
        for name in ("copa_small", "winogrande_small", "all"):
            one, fixed = by[name, "member:stories260K"], by[name, "fixed:1/0"]
            self.assertEqual(one["gold_nll"], fixed["gold_nll"])
            against = [r["against"] for r in rows if r["task"] == name]
            self.assertEqual(sum(a is None for a in against), 1)  # the best member
            for a in against:
                self.assertTrue(a is None or (a["low"] <= a["difference"] <= a["high"] and 0 < a["mcnemar"] <= 1))
        for r in whole:
            self.assertLessEqual(r["seconds_forward"], r["seconds_all"])

    def test_the_same_as_score(self):
        """The loss of an option is what packllm score gives for the same text and context."""
        question, choices, gold = ITEMS[1]
        task = self.task(lines([ITEMS[1]]))
        results = self.folder / "r.db"
        self.rows(task, *PAIR, "--methods", "exact,sim,uniform", "--results", results)
        with sqlite3.connect(results) as db:
            figures = json.loads(db.execute("SELECT figures FROM items").fetchone()[0])
        for m, method in enumerate(("exact", "sim", "uniform")):
            for o, choice in enumerate(choices):
                score = self.good_json("score", "-p", question + " " + choice, "--context-bytes", len(question),
                                       "--weights", method, "--space", "bytes", "--epsilon", "0.003", *PAIR)
                want = score["bits_per_byte"] * score["bytes"] * 0.6931471805599453
                self.assertAlmostEqual(figures["nll"][m * len(choices) + o], want, delta=2e-3 * want)

    def test_the_same_numbers_twice(self):
        args = (self.task(), *PAIR, "--methods", "all")
        self.assertEqual(self.rows(*args)[0], self.rows(*args)[0])

    def test_refit_limit_seed_template(self):
        task = self.task()
        plain, _ = self.rows(task, *PAIR, "--methods", "exact,members")
        refit, _ = self.rows(task, *PAIR, "--methods", "exact,members", "--refit")
        self.assertNotEqual(plain[0]["gold_nll"], refit[0]["gold_nll"])
        self.assertEqual(plain[1]["gold_nll"], refit[1]["gold_nll"])
        few, _ = self.rows(task, *PAIR, "--limit", "2")
        self.assertEqual(few[0]["items"], 2)
        drawn, _ = self.rows(task, *PAIR, "--seed", "5")
        self.assertAlmostEqual(drawn[0]["gold_nll"], self.rows(task, *PAIR)[0][0]["gold_nll"], places=9)
        ask, _ = self.rows(task, *PAIR, "--template", "ask")
        same, _ = self.rows(task, *PAIR, "--template", r"Question: {query}\nAnswer:")
        self.assertEqual(ask, same)
        self.assertNotEqual(ask[0]["gold_nll"], plain[0]["gold_nll"])

    def test_weights_that_run(self):
        task = self.task(lines([(" ".join(["Lily and Tom went to the park."] * 3), ["They played.", "Because."], 0)]))
        for method, same in (("exact", False), ("uniform", True)):
            still, _ = self.rows(task, *PAIR, "--methods", method)
            running, _ = self.rows(task, *PAIR, "--methods", method, "--weights-mode", "running")
            self.assertEqual(still[0]["gold_nll"] == running[0]["gold_nll"], same)
        self.bad(2, "eval", task, *PAIR, "--refit", "--weights-mode", "running", says="give up one")

    def test_settings_of_one_method(self):
        """exact@0 is exact under --shrink 0, sim@2 sim under --tau 2, beside the others."""
        task = self.task()
        rows, _ = self.rows(task, *PAIR, "--methods", "exact@0,exact,free@3,sim@2,sim@2:linear")
        by = {r["method"]: r for r in rows}
        pure, _ = self.rows(task, *PAIR, "--methods", "exact", "--shrink", "0")
        flat, _ = self.rows(task, *PAIR, "--methods", "sim,sim:linear", "--tau", "2")
        free, _ = self.rows(task, *PAIR, "--methods", "free", "--shrink", "3")
        for name, other in (("exact@0", pure[0]), ("sim@2", flat[0]), ("sim@2:linear", flat[1]), ("free@3", free[0])):
            self.assertEqual(by[name]["gold_nll"], other["gold_nll"], name)
            self.assertEqual(by[name]["weights"], other["weights"], name)
        self.assertNotEqual(by["exact@0"]["weights"], by["exact"]["weights"])
        for wrong in ("sim@0", "sim@", "exact@-1", "greedy@1", "exact@x:log"):
            self.bad(2, "eval", task, *PAIR, "--methods", wrong, says=["--methods", wrong])

    def test_demonstrations(self):
        task = self.task()
        shots, whole = self.rows(task, *PAIR, "--shots", "2")
        self.assertEqual(shots[0]["items"], 4)
        other = self.task(lines(ITEMS[4:]), "shots.jsonl")
        few, _ = self.rows(task, *PAIR, "--shots", "2", "--shots-file", other)
        self.assertEqual(few[0]["items"], 4)  # those two are not asked
        # The demonstrations are read once: less than a half more than the same questions without them.
        none, _ = self.rows(self.task(lines(ITEMS[2:]), "copa_rest.jsonl"), *PAIR)
        self.assertLess(shots[0]["tokens"], 1.6 * none[0]["tokens"])

    def test_a_table_for_people(self):
        out = self.good("eval", self.task(), *PAIR)
        self.assertIn("against the best member", out)
        self.assertIn("member:stories260K", out)


ASKED = [("One day, a little girl named Lily went to the", "park"), ("Tom and Sam were very", "happy"),
         ("Once upon a time, there was a little", "boy"), ("How many is two and two? It is", "4")]


def answers(items, head=""):
    return head + "".join(json.dumps({"id": "g-%d" % i, "query": q, "answer": a}) + "\n" for i, (q, a) in enumerate(items))


@without_models
class Written(Eval):
    def texts(self, results):
        with sqlite3.connect(results) as db:
            return [json.loads(f)["texts"] for (f,) in db.execute("SELECT figures FROM items ORDER BY id")]

    def test_as_run_writes(self):
        """Each method's and member's answer is what packllm run writes greedily, up to the first stop string."""
        head = '{"template": "{query}", "stop": [".", "!"], "max_tokens": 6}\n'
        task, results = self.task(answers(ASKED, head), "stories.jsonl"), self.folder / "r.db"
        rows, whole = [], []
        out = self.good("eval", task, *PAIR, "--methods", "exact,uniform,hedge,members", "--results", results, "--json")
        whole = [json.loads(line) for line in out.splitlines()]
        self.assertEqual([r["method"] for r in whole], ["exact", "uniform", "member:stories260K", "member:aidreams260K"])
        texts = self.texts(results)
        asked = (("exact", PAIR), ("uniform", PAIR), None, ("exact", PAIR[:4]), ("exact", ("-t", "1", "-m", DREAMS)))
        for (query, _), got in zip(ASKED, texts):
            self.assertIsNone(got[2])
            for text, how in zip(got, asked):
                if how is not None:
                    want = self.good_json("run", "-p", query, "--temp", "0", "-n", "6", "--space", "bytes",
                                          "--weights", how[0], *how[1])["text"]
                    want = min((want.lstrip().split(s)[0] for s in ".!"), key=len)
                    self.assertEqual(text.lstrip(), want)
        for r in whole:
            self.assertEqual((r["items"], r["stderr"] >= 0, r["correct"] >= r["exact"]), (4, True, True))
            self.assertNotIn("gold_nll", r)

    def test_marks(self):
        """The first word of a text that goes on; of a question the last number."""
        task, results = self.task(answers(ASKED), "lambada_small.jsonl"), self.folder / "r.db"
        self.good("eval", task, *PAIR, "--methods", "members", "--results", results)
        texts = self.texts(results)
        for got in texts:
            for text in got:
                self.assertNotRegex(text.strip(), r"[ .,!?]")
        said = [(q, got[0].strip().upper()) for (q, _), got in zip(ASKED, texts)]
        rows, _ = self.texts_rows(self.task(answers(said), "lambada_said.jsonl"), "member:stories260K")
        self.assertEqual((rows[0]["correct"], rows[0]["exact"]), (4, 4))
        number = self.task(answers([(q, "7") for q, _ in ASKED], '{"max_tokens": 3}\n'), "numbers.jsonl")
        rows, _ = self.texts_rows(number, "exact")
        self.assertEqual(rows[0]["correct"], rows[0]["number"])

    def texts_rows(self, task, methods):
        out = self.good("eval", task, *PAIR, "--methods", methods, "--json")
        rows = [json.loads(line) for line in out.splitlines()]
        return rows, out

    def test_goes_on_and_repeats(self):
        task, results = self.task(answers(ASKED), "lambada_small.jsonl"), self.folder / "r.db"
        args = ("eval", task, *PAIR, "--methods", "exact,member:stories260K,uniform", "--json")
        want = self.good(*args, "--results", self.folder / "all.db")
        self.good(*args, "--limit", "2", "--results", results)
        got = self.good(*args, "--results", results)
        self.assertEqual(self.texts(results), self.texts(self.folder / "all.db"))
        marks = [[json.loads(line)["correct"] for line in out.splitlines()] for out in (want, got)]
        self.assertEqual(*marks)
        again = self.good(*args, "--results", results)
        self.assertEqual(got, again)
        shots = self.good(*args, "--shots", "1")
        self.assertEqual(json.loads(shots.splitlines()[0])["items"], 3)

    def test_beside_choices(self):
        rows, _ = self.texts_rows(self.task(answers(ASKED[:2]), "lambada_small.jsonl"), "exact")
        out = self.good("eval", self.task(), self.folder / "lambada_small.jsonl", *PAIR, "--methods", "exact,hedge")
        self.assertIn("exact", out)
        self.assertNotIn("\nall, ", out)
        self.assertEqual(rows[0]["items"], 2)

    def test_wrong(self):
        task = self.task(answers(ASKED), "gen.jsonl")
        self.bad(2, "eval", task, *PAIR, "--methods", "hedge", says=["none of --methods can", "gen.jsonl"])
        self.bad(1, "eval", self.task(answers(ASKED, '{"stop": []}\n'), "a.jsonl"), *PAIR, says=["a.jsonl:1:", "stop"])
        self.bad(1, "eval", self.task(answers(ASKED, '{"max_tokens": 0}\n'), "b.jsonl"), *PAIR, says=["b.jsonl:1:", "max_tokens"])
        self.bad(1, "eval", self.task(answers([("word " * 500, "x")]), "c.jsonl"), *PAIR, says=["c.jsonl:1:", "context"])


@without_models
class Results(Eval):
    def test_a_killed_run_goes_on(self):
        for shots in ((), ("--shots", "2")):
            items = [(q + " " + w, c, g) for w in ("and", "but", "so", "then", "or", "yet", "now", "too") for q, c, g in ITEMS]
            task = self.task(lines(items), "copa_%d.jsonl" % len(shots))
            results = self.folder / ("r%d.db" % len(shots))
            args = ("eval", task, *PAIR, "--methods", "all", "--json", *shots)
            want = self.rows(*args[1:-1 - len(shots)], *shots)[0]
            process = subprocess.Popen([PROGRAM, *map(str, args), "--results", str(results)], env=self.env,
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            deadline = time.monotonic() + 60
            count = 0
            while count < 5 and time.monotonic() < deadline and process.poll() is None:
                time.sleep(0.005)
                try:
                    with sqlite3.connect("file:%s?mode=ro" % results, uri=True) as db:
                        count = db.execute("SELECT count(*) FROM items").fetchone()[0]
                except sqlite3.Error:
                    pass
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            self.assertGreaterEqual(count, 5)
            self.assertLess(count, len(items))
            again = self.rows(*args[1:-1 - len(shots)], *shots, "--results", results)[0]
            self.assertEqual(want, again)
            # All is known now: nothing is asked again, and the seconds are those of then.
            once, twice = (self.rows(*args[1:-1 - len(shots)], *shots, "--results", results)[1] for _ in range(2))
            self.assertEqual(once, twice)

    def test_a_larger_limit_goes_on(self):
        task, results = self.task(), self.folder / "r.db"
        self.rows(task, *PAIR, "--limit", "2", "--results", results)
        self.assertEqual(self.rows(task, *PAIR, "--results", results)[0], self.rows(task, *PAIR)[0])

    def test_files_of_other_runs(self):
        task, results = self.task(), self.folder / "r.db"
        self.rows(task, *PAIR, "--results", results)
        new = "to start anew give another --results, or delete the file"
        self.bad(2, "eval", task, "-t", "1", "-m", STORIES, "--results", results, says=["pack", new])
        self.bad(2, "eval", task, *PAIR, "--methods", "exact", "--results", results, says=["methods", new])
        self.bad(2, "eval", task, *PAIR, "--shrink", "3", "--results", results, says=["settings", "shrink 3", new])
        self.task(lines([ITEMS[0]] + ITEMS[2:]))
        self.bad(2, "eval", task, *PAIR, "--results", results, says=["q-1", "reads differently", new])
        self.task()
        with sqlite3.connect(results) as db:
            db.execute("UPDATE settings SET value = '0.0.1' WHERE key = 'version'")
        self.bad(2, "eval", task, *PAIR, "--results", results, says=["version", "0.0.1", new])
        with sqlite3.connect(results) as db:
            db.execute("PRAGMA user_version = 99")
        self.bad(2, "eval", task, *PAIR, "--results", results, says=["version of the file", new])
        results.write_text("not a database, but long enough to be looked at" * 30)
        self.bad(1, "eval", task, *PAIR, "--results", results, says=["no results file", "--results"])
        self.bad(1, "eval", task, *PAIR, "--results", self.folder / "no" / "r.db", says=["results file", "folder"])
        self.rows(task, *PAIR, "--results", self.folder / "cut.db")
        with open(self.folder / "cut.db", "r+b") as file:
            file.truncate(3000)
        self.bad(1, "eval", task, *PAIR, "--results", self.folder / "cut.db", says=["malformed", "start anew"])

    def test_a_folder_that_vanishes(self):
        folder = self.folder / "gone"
        folder.mkdir()
        task = self.task(lines([("Once upon a time %d there was" % i, ["a cat", "a dog"], 0) for i in range(400)]))
        child = subprocess.Popen([PROGRAM, "eval", str(task), *map(str, PAIR), "--results", str(folder / "r.db")],
                                 env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while child.poll() is None and not (folder / "r.db").exists():
            time.sleep(0.01)
        time.sleep(0.2)
        shutil.rmtree(folder)
        out, error = child.communicate(timeout=100)
        self.assertEqual((child.returncode, out), (1, b""))
        self.assertRegex(error.decode(), r"^packllm: error: results file '.*r\.db': .*(deleted meanwhile|folder).*\n$")

    def test_what_differs_is_shown_of_many_members(self):
        many = [w for i in range(8) for w in ("-m", "%s,name=a-member-of-a-long-name-%d" % (STORIES, i))]
        task, results = self.task(lines(ITEMS[:1])), self.folder / "r.db"
        common = ("eval", task, "-t", "1", "--methods", "exact", "--results", results)
        self.good(*common, *many)
        error = self.bad(2, *common, *many[:-1], "%s,name=another" % STORIES, says="of another run, pack:")
        there, here = re.search(r"'(.*)' there, '(.*)' here", error).groups()
        self.assertIn("name-7", there)
        self.assertIn("another", here)


class BadInput(Eval):
    @without_models
    def test_a_byte_order_mark(self):
        task = self.task(lines(ITEMS[:1]))
        task.write_bytes(b"\xef\xbb\xbf" + task.read_bytes())
        self.assertEqual(json.loads(self.good("eval", task, *PAIR, "--methods", "exact", "--json"))["items"], 1)

    def test_lines(self):
        good = {"id": "a", "query": "Why?", "choices": ["x", "y"], "gold": 0}
        cases = {
            '{"id": "b",': "not JSON", json.dumps({**good, "gold": 2}): "0 to 1",
            json.dumps({**good, "choices": ["x"]}): "1 choice;", json.dumps({**good, "choices": []}): "0 choices",
            json.dumps({**good, "choices": ["x", "x"]}): "equal", json.dumps({**good, "query": ""}): "empty",
            json.dumps(good): "stands in line 1",
        }
        for line, words in cases.items():
            task = self.task(json.dumps(good) + "\n" + line + "\n")
            if words != "stands in line 1":
                line = line.replace('"id": "a"', '"id": "b"')
                task.write_text(json.dumps(good) + "\n" + line + "\n")
            self.bad(1, "eval", task, "-m", self.folder / "none.gguf", says=["%s:2:" % task, words])

    def test_command_line(self):
        task = self.task()
        self.bad(2, "eval", says="TASK.jsonl")
        self.bad(1, "eval", self.folder / "none.jsonl", says="none.jsonl")
        self.bad(2, "eval", task, "--template", "no place", says="{query}")
        self.bad(2, "eval", task, "--shots-file", task, says="--shots N")
        self.bad(2, "eval", task, task, says="two tasks are called 'copa_small'")

    @without_models
    def test_names_and_lengths(self):
        task = self.task()
        self.bad(2, "eval", task, *PAIR, "--methods", "exakt", says=["'exakt' is no method", "'exact'"])
        self.bad(2, "eval", task, *PAIR, "--methods", "member:bob", says="no member is called 'bob'")
        self.bad(2, "eval", task, *PAIR, "--methods", "em:log", says="linear")
        self.bad(2, "eval", task, *PAIR, "--methods", "cbtm", says="domain")
        self.bad(2, "eval", task, *PAIR, "--shots", "7", says="6 questions")
        for size in (3000, 1 << 20):
            long = ("word " * (size // 5), ["x", "y"], 0)
            path = self.task(lines(ITEMS[:2] + [long]), "copa_long.jsonl")
            self.bad(1, "eval", path, *PAIR, says=["%s:3:" % path, "q-2", "context holds 128"])
        done = self.run_program("eval", path, *PAIR, "--skip-bad", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads(done.stdout.splitlines()[0])["items"], 2)
        self.assertIn(b"skipped", done.stderr)


if __name__ == "__main__":
    unittest.main()
