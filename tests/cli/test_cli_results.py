"""Goal: the results have the shape that interface.md promises, and the figures agree with each other."""
import json
import math
import unittest

from cli_support import DREAMS, ONCE, PAIR, SHARED, STORIES, XS, Program, without_models

NUMBER = (int, float)
TEXT = SHARED / "data" / "stories_en.txt"


@without_models
class Weigh(Program):
    def test_json(self):
        got = self.good_json("weigh", "-p", ONCE, *PAIR)
        self.assertLessEqual({"space", "pool", "weights", "shrink", "bytes", "bits_per_byte", "objective", "gap", "passes",
                              "members", "seconds"}, set(got))
        self.assertEqual((got["space"], got["pool"], got["weights"]), ("bytes", "log", "exact"))
        self.assertEqual(got["bytes"], len(ONCE))
        self.assertEqual(set(got["seconds"]), {"evaluate", "solve"})
        self.assertLessEqual(got["gap"], 1e-6)
        for member, name in zip(got["members"], ("stories260K", "aidreams260K")):
            self.assertLessEqual({"name", "weight", "bits_per_byte", "bits_per_byte_model", "perplexity", "tokens",
                                  "vocabulary", "seconds"}, set(member))
            self.assertEqual((member["name"], member["vocabulary"]), (name, 512))
            # Two ways to say one figure: nats per token and bits per byte. Bytes are conditioned on the
            # vocabulary's own first space and take the last token as a beginning, so they say less;
            # a model that the text surprises (the second) says much at both ends.
            tokens = math.log2(member["perplexity"]) * member["tokens"] / len(ONCE)
            self.assertLessEqual(member["bits_per_byte"], tokens + 1e-9)
            if name == "stories260K":
                self.assertAlmostEqual(tokens, member["bits_per_byte"], delta=0.02 * tokens)
        self.assertAlmostEqual(sum(m["weight"] for m in got["members"]), 1, places=9)
        self.assertGreater(got["members"][0]["weight"], 0.5)  # a story

    def test_the_stated_perplexity(self):
        # models/README.md: the mean over the tokens is 0.1001.
        got = self.good_json("weigh", "-p", "Once upon a time, there was a little girl named Lily.", "-m", STORIES)
        self.assertAlmostEqual(math.log(got["members"][0]["perplexity"]), 0.1001, delta=0.001)
        self.assertEqual(got["members"][0]["weight"], 1)

    def test_weighers(self):
        uniform = self.good_json("weigh", "-p", ONCE, *PAIR, "--weights", "uniform")
        self.assertEqual([m["weight"] for m in uniform["members"]], [0.5, 0.5])
        self.assertIsNone(uniform["gap"])
        fixed = self.good_json("weigh", "-p", ONCE, *PAIR, "--weights", "fixed:0.7,0.3")
        self.assertEqual([round(m["weight"], 12) for m in fixed["members"]], [0.7, 0.3])
        top = self.good_json("weigh", "-p", ONCE, *PAIR, "--weights", "top1")
        self.assertEqual([m["weight"] for m in top["members"]], [1, 0])
        sim = self.good_json("weigh", "-p", ONCE, *PAIR, "--weights", "sim")
        exact = self.good_json("weigh", "-p", ONCE, *PAIR, "--shrink", "0")
        self.assertEqual(exact["shrink"], 0)
        for other in (uniform, fixed, top, sim):
            self.assertLessEqual(exact["objective"], other["objective"] + 1e-9)

    def test_weighers_that_search(self):
        three = (*PAIR, "-m", XS)
        exact = self.good_json("weigh", "-p", ONCE, *three, "--shrink", "0")
        greedy = self.good_json("weigh", "-p", ONCE, *three, "--weights", "greedy")
        self.assertEqual(greedy["passes"], 42)
        self.assertLessEqual(exact["objective"] - exact["gap"], greedy["objective"])
        self.assertLessEqual(greedy["objective"] - greedy["gap"], exact["objective"] + 1e-12)
        free = self.good_json("weigh", "-p", ONCE, *three, "--weights", "free", "--shrink", "0")
        self.assertLessEqual(free["objective"], exact["objective"] + 1e-9)
        self.assertLessEqual(free["gap"], 1e-9)
        linear = self.good_json("weigh", "-p", ONCE, *three, "--pool", "linear", "--shrink", "0")
        em = self.good_json("weigh", "-p", ONCE, *three, "--weights", "em")
        self.assertEqual((em["pool"], em["weights"]), ("linear", "em"))
        self.assertAlmostEqual(em["objective"], linear["objective"], delta=1e-9)
        bayes = self.good_json("weigh", "-p", ONCE, *three, "--weights", "bayes")
        self.assertEqual(bayes["pool"], "linear")
        self.assertAlmostEqual(bayes["regret_bound"], math.log(3), places=9)
        self.assertLessEqual(bayes["regret"], bayes["regret_bound"])
        best = min(m["bits_per_byte_model"] for m in bayes["members"])
        self.assertAlmostEqual(bayes["regret"], (bayes["prequential"] - best) * len(ONCE) * math.log(2), places=4)
        for got in (exact, greedy, em, bayes):
            self.assertAlmostEqual(sum(m["weight"] for m in got["members"]), 1, places=9)
            self.assertIsInstance(got["certifies"], str)
        self.assertIsNone(self.good_json("weigh", "-p", ONCE, *PAIR, "--weights", "sim")["certifies"])
        text = self.good("run", "-p", ONCE, "-n", "8", *three, "--weights", "free")
        self.assertEqual(text, self.good("run", "-p", ONCE, "-n", "8", *three, "--weights", "free"))

    def test_dexperts(self):
        three = (*PAIR, "-m", XS)  # base llama2xs260K, expert stories260K, anti-expert aidreams260K
        how = "dexperts:llama2xs260K,stories260K,1"
        got = self.good_json("weigh", "-p", ONCE, *three, "--weights", how)
        expert, anti, base = (m["weight"] for m in got["members"])
        self.assertEqual((base, expert), (1, -anti))
        self.assertTrue(0 <= expert <= 16)
        self.assertLessEqual(got["gap"], 1e-9)
        for alpha in (0, 0.5 * expert, 2 * expert + 0.01, 1):
            if alpha <= 16:
                rival = self.good_json("weigh", "-p", ONCE, *three, "--weights", "%s,%r" % (how, alpha))
                self.assertLessEqual(got["objective"] - got["gap"], rival["objective"] + 1e-12)
                self.assertEqual(rival["members"][2]["weight"], 1)
        args = ("run", "-p", ONCE, "-n", "8", "--temp", "0", *three, "--weights")
        self.assertEqual(self.good(*args, how + ",0.3"), self.good(*args, how + ",0.3"))
        for bad, says in (("dexperts:0,1", "ANTI"), ("dexperts:0,1,2,x", "'x'"), ("dexperts:0,1,2,1,1", "ANTI"),
                          ("dexperts:0,1,nobody", "nobody"), ("dexperts:0,1,1", "different"),
                          ("dexperts:0,1,2,17", "alpha")):
            self.bad(2, "weigh", "-p", ONCE, *three, "--weights", bad, says=says)

    def test_caps(self):
        capped = ("-m", "%s,cap=0.6" % STORIES, "-m", "%s,cap=0.3" % XS, "-m", DREAMS)
        got = self.good_json("weigh", "-p", ONCE, *capped, "--shrink", "0")
        # The best two want all of it: they are at their caps, and nothing allowed is better.
        self.assertEqual([round(m["weight"], 9) for m in got["members"]], [0.6, 0.3, 0.1])
        self.assertLessEqual(got["gap"], 1e-9)
        rival = self.good_json("weigh", "-p", ONCE, *capped, "--weights", "fixed:0.55,0.3,0.15")
        self.assertLess(got["objective"], rival["objective"])
        got = self.good_json("weigh", "-p", ONCE, *capped, "--weights", "free", "--shrink", "0")
        self.assertLessEqual(got["members"][0]["weight"], 0.6)
        self.assertLessEqual(got["gap"], 1e-9)
        self.bad(2, "weigh", "-p", ONCE, "-m", "%s,cap=0.6" % STORIES, "-m", "%s,cap=0.3" % DREAMS, says="0.9")
        done = self.run_program("weigh", "-p", ONCE, *capped, "--weights", "greedy")
        self.assertIn(b"cap=", done.stderr)

    def test_priors_names_and_environment(self):
        got = self.good_json("weigh", "-p", ONCE, env={
            "PACKLLM_MODEL": "%s,name=a,prior=3\n%s,name=b" % (STORIES, DREAMS), "PACKLLM_POOL": "linear",
            "PACKLLM_WEIGHTS": "uniform"})
        self.assertEqual([m["name"] for m in got["members"]], ["a", "b"])
        self.assertEqual((got["pool"], got["weights"]), ("linear", "uniform"))
        got = self.good_json("weigh", "-p", ONCE, "-m", DREAMS, env={"PACKLLM_MODEL": str(STORIES)})
        self.assertEqual([m["name"] for m in got["members"]], ["aidreams260K"])  # flags replace the list

    def test_table_is_plain_in_a_pipe(self):
        table = self.good("weigh", "-p", ONCE, *PAIR)
        self.assertNotIn("\x1b", table)
        self.assertRegex(table, r"(?m)^member +weight +bits/byte +perplexity +tokens$")
        self.assertRegex(table, r"(?m)^stories260K +[01]\.\d{3} +\d\.\d{4} +\d+\.\d\d +\d+$")
        self.assertLessEqual(max(map(len, table.splitlines())), 80)


@without_models
class Score(Program):
    def text(self, size):
        path = self.folder / "text"
        path.write_bytes(TEXT.read_bytes()[:size])
        return path

    def test_json(self):
        got = self.good_json("score", "-f", self.text(400), "--context-bytes", "150", *PAIR)
        self.assertLessEqual({"bytes", "context_bytes", "bits_per_byte", "members", "resyncs"}, set(got))
        self.assertEqual((got["bytes"], got["context_bytes"]), (250, 150))
        for member in got["members"]:
            self.assertLessEqual({"name", "weight", "bits_per_byte", "bits_per_byte_model", "forwards", "tokens"},
                                 set(member))
        self.assertEqual(got["jensen_violations"], 0)
        self.assertEqual(got["best_member"]["name"], "stories260K")

    def test_per_byte(self):
        lines = self.folder / "bytes.tsv"
        got = self.good_json("score", "-f", self.text(400), "--context-bytes", "150", "--per-byte", lines, *PAIR)
        rows = [list(map(float, line.split("\t"))) for line in lines.read_text().splitlines()]
        self.assertEqual([int(row[0]) for row in rows], list(range(150, 400)))
        self.assertEqual({len(row) for row in rows}, {5})  # offset, pack, two members, parked
        self.assertAlmostEqual(-sum(row[1] for row in rows) / 250, got["bits_per_byte"], places=6)
        self.assertTrue(all(0 <= row[4] <= 1 and row[1] <= 0 for row in rows))
        self.assertEqual([p.name for p in self.folder.glob("*.tmp")], [])

    def test_running_mixtures(self):
        lines = self.folder / "bytes.tsv"
        args = ("score", "-f", self.text(400), "--context-bytes", "150", *PAIR)
        exact = self.good_json(*args)
        got = self.good_json(*args, "--weights", "hedge", "--next", "--per-byte", lines)
        self.assertEqual((got["pool"], got["weights"]), ("log", "hedge"))
        rows = [list(map(float, line.split("\t"))) for line in lines.read_text().splitlines()]
        self.assertAlmostEqual(-sum(row[1] for row in rows) / 250, got["bits_per_byte"], places=6)
        best = min(exact["bits_per_byte"], *(m["bits_per_byte_model"] for m in got["members"]))
        nats = (got["bits_per_byte"] - best) * 250 * math.log(2)
        self.assertLessEqual(nats, math.log(3) + 1e-6)
        self.assertAlmostEqual(nats, got["regret"], places=4)
        self.assertAlmostEqual(got["posterior"] + sum(m["posterior"] for m in got["members"]), 1, places=9)
        self.assertAlmostEqual(sum(got["next"]), 1, places=9)
        got = self.good_json(*args, "--weights", "bayes")
        self.assertEqual((got["pool"], got["weights"]), ("linear", "bayes"))
        self.assertLessEqual(got["regret"], math.log(2) + 1e-9)
        self.assertNotIn("regret", exact)

    def test_per_byte_is_whole_or_not_there(self):
        kept = self.folder / "kept.tsv"
        kept.write_text("old")
        self.bad(1, "score", "-f", self.text(100), "--context-bytes", "100", "--per-byte", kept, *PAIR)
        self.assertEqual(kept.read_text(), "old")
        self.bad(1, "score", "-p", ONCE, "--per-byte", self.folder / "no" / "file", *PAIR, says="cannot write")
        self.bad(1, "score", "-p", ONCE, "--per-byte", self.folder, *PAIR, says="directory")
        self.bad(2, "score", "-p", ONCE, "--per-byte", "-", *PAIR, says="a file is wanted")
        self.bad(1, "score", "-p", ONCE, "--per-byte", "/dev/full", *PAIR, says="No space left")
        self.assertEqual([p.name for p in self.folder.glob("*.tmp")], [])

    def test_next_sums_to_one(self):
        for size in (90, 137, 256):
            got = self.good_json("score", "-f", self.text(size), "--next", *PAIR)
            self.assertEqual(len(got["next"]), 257)
            self.assertAlmostEqual(sum(got["next"]), 1, delta=1e-6)
            self.assertGreaterEqual(min(got["next"]), 0)

    def test_dexperts(self):
        three = ("--weights", "dexperts:2,0,1", *PAIR, "-m", XS)
        path = self.text(170)
        once = self.good_json("score", "-f", path, "--context-bytes", "60", *three, "--next")
        walk = self.good_json("score", "-f", path, "--context-bytes", "60", *three, "--through-generation")
        self.assertAlmostEqual(walk["bits_per_byte"], once["bits_per_byte"], delta=0.01 * once["bits_per_byte"])
        self.assertAlmostEqual(sum(once["next"]), 1, places=9)
        self.assertEqual(once["jensen_violations"], 0)

    def test_windows(self):
        path = self.text(1000)
        got = self.good_json("score", "-f", path, "--window", "300", "--context-bytes", "120", *PAIR)
        # The last one, 100 bytes, holds no more than its context: it is not used.
        self.assertEqual([w["offset"] for w in got["windows"]], [0, 300, 600])
        self.assertEqual((got["window"], got["bytes"], got["context_bytes"]), (300, 540, 120))
        self.assertAlmostEqual(sum(w["bits_per_byte"] for w in got["windows"]) / 3, got["bits_per_byte"], places=9)
        # A window is scored as a text of its own.
        part = self.folder / "part"
        part.write_bytes(path.read_bytes()[300:600])
        alone = self.good_json("score", "-f", part, "--context-bytes", "120", *PAIR)
        self.assertAlmostEqual(alone["bits_per_byte"], got["windows"][1]["bits_per_byte"], delta=1e-3)
        few = self.good_json("score", "-f", path, "--window", "300", "--context-bytes", "120", "--windows", "2", *PAIR)
        self.assertEqual([w["offset"] for w in few["windows"]], [0, 700])

    def test_windows_are_cut_between_characters(self):
        path = self.folder / "umlauts"
        path.write_text("ä" * 100, encoding="utf-8")
        got = self.good_json("score", "-f", path, "--window", "61", "--context-bytes", "21", *PAIR)
        for window in got["windows"]:
            self.assertEqual((window["offset"] % 2, window["bytes"] % 2, window["context_bytes"] % 2), (0, 0, 0))

    def test_through_generation_agrees(self):
        path = self.text(170)  # aidreams260K's context holds 128 tokens
        once = self.good_json("score", "-f", path, "--context-bytes", "60", *PAIR)
        walk = self.good_json("score", "-f", path, "--context-bytes", "60", "--through-generation", *PAIR)
        self.assertAlmostEqual(walk["bits_per_byte"], once["bits_per_byte"], delta=0.01 * once["bits_per_byte"])

    def test_wrong_use(self):
        self.bad(1, "score", "-p", "abc", "--context-bytes", "3", *PAIR, says=["3 bytes", "--context-bytes"])
        self.bad(2, "score", "-p", ONCE, "--window", "20", "--context-bytes", "20", *PAIR, says="--context-bytes")
        self.bad(2, "score", "-p", ONCE, "--windows", "2", *PAIR, says="--window W")
        self.bad(2, "score", "-p", ONCE, "--next", "--json", "--window", "40", *PAIR, says="--window")


@without_models
class Run(Program):
    def test_json(self):
        got = self.good_json("run", "-p", ONCE, "-n", "12", *PAIR)
        self.assertLessEqual({"text", "finish", "bytes", "members", "usage", "seconds"}, set(got))
        self.assertEqual((got["finish"], got["bytes"]), ("length", len(got["text"].encode())))
        self.assertEqual(got["usage"]["completion_tokens"], 12)
        for member in got["members"]:
            self.assertLessEqual({"name", "weight", "forwards", "tokens"}, set(member))

    def test_one_member_is_that_member(self):
        # models/README.md gives the greedy continuation.
        text = self.good("run", "-p", "Once upon a time", "--temp", "0", "-n", "40", "-m", STORIES)
        self.assertTrue(", there was a little girl named Lily. She loved to play outside in the park. One day, she saw"
                        .startswith(text[:60]), text)

    def test_streamed_text_is_the_json_text(self):
        args = ("run", "-p", ONCE, "-n", "20", *PAIR)
        text = self.good(*args)
        self.assertEqual(text, self.good_json(*args)["text"])
        self.assertEqual(text, self.good(*args))  # the seed is fixed by default
        self.assertEqual(ONCE + text, self.good(*args, "--echo"))
        texts = {self.good(*args, "-s", seed, "--temp", "3") for seed in (1, 2, 3)}
        self.assertGreater(len(texts), 1)

    def test_stderr_has_the_members_unless_told_not_to(self):
        done = self.run_program("run", "-p", ONCE, "-n", "2", *PAIR)
        self.assertIn(b"aidreams260K", done.stderr)
        self.assertNotIn(b"\x1b", done.stderr)
        self.assertEqual(self.run_program("run", "-p", ONCE, "-n", "2", *PAIR, "--no-progress").stderr, b"")
        for line in self.run_program("run", "-p", ONCE, "-n", "2", *PAIR, "--log-json").stderr.splitlines():
            self.assertLessEqual({"level", "message"}, set(json.loads(line)))

    def test_nothing_to_write(self):
        self.assertEqual(self.good("run", "-p", ONCE, "-n", "0", *PAIR), "")
        got = self.good_json("run", "-p", ONCE, "-n", "0", *PAIR)
        self.assertEqual((got["text"], got["finish"], got["usage"]["completion_tokens"]), ("", "length", 0))
        self.assertAlmostEqual(sum(m["weight"] for m in got["members"]), 1, places=9)

    def test_stop(self):
        got = self.good_json("run", "-p", "Once upon a time", "--temp", "0", "-n", "40", "-m", STORIES, "--stop", "Lily",
                             "--stop", "nothing")
        self.assertEqual((got["text"], got["finish"]), (", there was a little girl named ", "stop"))

    def test_why(self):
        got = self.good_json("run", "-p", ONCE, "-n", "8", "--why", *PAIR)
        self.assertEqual("".join(step["text"] for step in got["why"]), got["text"])
        for step in got["why"]:
            self.assertEqual([m["name"] for m in step["members"]], ["stories260K", "aidreams260K"])
            self.assertIsInstance(step["logprob"], NUMBER)
            for member in step["members"]:
                self.assertLessEqual({"weight", "logprob", "first", "first_logprob"}, set(member))
        self.assertNotIn("jensen", self.good_json("run", "-p", ONCE, "-n", "2", *PAIR))
        for more in ([], ["--pool", "linear"], ["--choose", "bytes"]):
            got = self.good_json("run", "-p", ONCE, "-n", "20", "--why", "--weights", "fixed:0.6,0.4", "--ignore-eos", *PAIR, *more)
            self.assertEqual(got["jensen"], {"checked": got["bytes"], "violations": 0})
        got = self.good_json("run", "-p", ONCE, "-n", "8", "--why", *PAIR)
        done = self.run_program("run", "-p", ONCE, "-n", "8", "--why", *PAIR, "--no-progress")
        self.assertEqual(len(done.stderr.splitlines()), 1 + len(got["why"]))

    def test_display_member_and_bytes(self):
        by_name = self.good_json("run", "-p", ONCE, "-n", "5", "--tokenizer", "aidreams260K", *PAIR)
        self.assertEqual(by_name["text"], self.good("run", "-p", ONCE, "-n", "5", "--tokenizer", "1", *PAIR))
        got = self.good_json("run", "-p", ONCE, "-n", "7", "--choose", "bytes", *PAIR)
        self.assertLessEqual(got["bytes"], 7)

    def test_memory(self):
        for command in ("run", "weigh", "score", "bench"):
            got = self.good_json(command, "--memory", *PAIR)
            self.assertEqual(got["total"], got["weights"] + got["kv"] + got["buffers"])
            self.assertEqual([m["name"] for m in got["members"]], ["stories260K", "aidreams260K"])
        self.assertIn("KV cache", self.good("run", "--memory", *PAIR))

    def test_too_little_memory(self):
        got = self.run_program("run", "-p", "x", "-c", "16777216", *PAIR)
        self.assertIn(got.returncode, (0, 1))  # a context beyond what a model was trained with, or too much memory

    def test_verbose(self):
        self.assertIn(b"libllama: ", self.run_program("weigh", "-v", "-p", "x", "-m", STORIES).stderr)


@without_models
class Bench(Program):
    def test_rows(self):
        text = self.good("bench", "--json", "--repeat", "1", "--n-gen", "8", "--n-prompt", "64", "--n-depth", "60,90",
                         *PAIR)
        rows = [json.loads(line) for line in text.splitlines()]
        self.assertEqual([r["test"] for r in rows], ["pp64"] * 3 + ["tg8"] * 6)
        self.assertEqual([r["what"] for r in rows], ["member", "member", "pack"] * 3)
        for row in rows:
            self.assertLessEqual({"what", "name", "test", "tokens_per_s", "bytes_per_s", "overhead", "glue"}, set(row))
            self.assertGreater(row["bytes_per_s"], 0)
        self.assertIsInstance(rows[-1]["overhead"], NUMBER)
        self.assertTrue(0 <= rows[-1]["glue"] <= 1)

    def test_texts_at_a_time(self):
        text = self.good("bench", "--json", "--repeat", "1", "--n-gen", "8", "--n-prompt", "64", "--n-depth", "90",
                         "--parallel", "3,13,3", "--space", "bytes", "-t", "1", *PAIR)
        rows = [json.loads(line) for line in text.splitlines()]
        one, many = rows[3:6], {k: rows[6 + 4 * i:10 + 4 * i] for i, k in enumerate((1, 3, 13))}
        self.assertEqual(len(rows), 18)
        for n, got in many.items():
            self.assertEqual([r["what"] for r in got], ["member", "member", "members", "pack"])
            self.assertEqual({(r["test"], r["parallel"]) for r in got}, {("tg8x%d" % n, n)})
            self.assertEqual(len({r["bytes"] for r in got}), 1)  # the same texts
            for row, alone in zip(got, many[1]):
                self.assertAlmostEqual(row["ratio"], row["bytes_per_s"] / alone["bytes_per_s"], places=6)
                self.assertGreater(row["ratio"], 0)
            self.assertAlmostEqual(got[2]["seconds"], got[0]["seconds"] + got[1]["seconds"], places=6)
            self.assertAlmostEqual(got[3]["overhead"], got[3]["seconds"] / got[2]["seconds"] - 1, places=6)
            self.assertAlmostEqual(got[3]["tokens_per_s"] * got[3]["seconds"], 8 * n, places=3)
        self.assertEqual(one[2]["bytes"], many[1][3]["bytes"])  # the same text behind the same prompt
        self.assertGreater(many[3][3]["bytes"], 2 * many[1][3]["bytes"] / 3)
        self.assertNotIn("ratio", one[2])
        people = self.good("bench", "--repeat", "1", "--n-gen", "2", "--n-prompt", "16", "--n-depth", "50", "--parallel", "2", "-t", "1", *PAIR)
        self.assertRegex(people, r"(?m)^pack +tg2x2 +50 .* %  +-?[0-9.]+ %  +[0-9.]+$")


if __name__ == "__main__":
    unittest.main()
