"""packllm calibrate: what it finds, what the pack file then does, when nothing is written, bad input."""
import json
import random
import unittest

from cli_support import DREAMS, STORIES, Program, without_models

PAIR = ("-t", "1", "-m", STORIES, "-m", DREAMS)
QUERIES = ["%s went to the park with", "%s had a big red", "The cat and %s sat on the", "One day, %s found a", "%s was very happy and"]
GOOD = ["his mom and dad.", "ball.", "mat.", "toy car.", "smiled."]
BAD = ["seven loud engines.", "of.", "because.", "did not.", "of the table."]


def questions(n=24, shuffled=False):
    draw, out = random.Random(3), []
    for i in range(n):
        k, name = draw.randrange(5), draw.choice(["Lily", "Tom", "Sam", "Ben", "Mia"])
        gold = draw.randrange(2)
        choices = [GOOD[k], BAD[k]] if gold == 0 else [BAD[k], GOOD[k]]
        gold = draw.randrange(2) if shuffled else gold
        out.append(json.dumps({"id": str(i), "query": QUERIES[k] % name, "choices": choices, "gold": gold}) + "\n")
    return "".join(out)


class Calibrate(Program):
    def task(self, text, name="copa_own.jsonl"):
        path = self.folder / name
        path.write_text(text)
        return path


@without_models
class Fits(Calibrate):
    def test_a_pack_file_that_does_what_was_told(self):
        task, pack = self.task(questions()), self.folder / "mine.ini"
        told = self.good_json("calibrate", task, *PAIR, "-o", pack, "--folds", "3", "--temperatures", "on")
        self.assertGreater(told["members"][0]["prior"], 0.7)  # it knows stories, the other one does not
        self.assertLess(told["change"] + told["stderr"], 0)
        self.assertGreaterEqual(told["accuracy_held_out"], told["accuracy_before"])
        self.assertAlmostEqual(told["held_out"] - told["before"], told["change"])
        self.assertEqual(told["written"], str(pack))
        text = pack.read_text()
        self.assertIn("[stories260K]", text)
        self.assertIn("shrink =", text)
        # The pack file gives eval the very loss that was fitted, and the pack without it the one before.
        for members, key in ((("-t", "1", "--pack", pack), "fitted"), (PAIR, "before")):
            out = self.good("eval", task, *members, "--methods", "exact", "--json")
            self.assertAlmostEqual(json.loads(out)["gold_nll"], told[key], delta=2e-5)
        # Beaten by a flag; the same numbers with a prior that is scaled.
        beaten = self.good("eval", task, "-t", "1", "--pack", pack, "--methods", "exact", "--shrink", "64", "--json")
        self.assertNotEqual(json.loads(beaten)["gold_nll"], told["fitted"])
        # Once calibrated, there is nothing left to gain.
        again = self.run_program("calibrate", task, "-t", "1", "--pack", pack, "--folds", "3", "--temperatures", "on",
                                 "-o", self.folder / "again.ini", "--json")
        self.assertEqual(again.returncode, 1)
        self.assertIn(b"nothing is written", again.stderr)
        self.assertIsNone(json.loads(again.stdout)["written"])
        self.assertFalse((self.folder / "again.ini").exists())

    def test_it_repeats_itself_and_is_never_on(self):
        task = self.task(questions(10))
        args = ("calibrate", task, *PAIR, "--folds", "2")
        one, two = self.good_json(*args), self.good_json(*args)
        for told in one, two:
            told.pop("seconds")
        self.assertEqual(one, two)
        self.assertIsNone(one["written"])
        self.assertEqual([m["temperature"] for m in one["members"]], [1, 1])
        self.assertIn("held out", self.good(*args))

    def test_labels_that_mean_nothing(self):
        task, pack = self.task(questions(shuffled=True)), self.folder / "mine.ini"
        told = self.good_json("calibrate", task, *PAIR, "--folds", "3")
        right = told["accuracy_held_out"] - told["accuracy_before"]
        self.assertLess(right, 3 * told["stderr_accuracy"] + 1e-9)

    def test_a_text(self):
        text = self.folder / "text.txt"
        text.write_text("One day, Lily and Tom went to the park. They saw a big dog. The dog was happy. " * 40)
        told = self.good_json("calibrate", "-f", text, *PAIR, "--window-bytes", "120", "--limit", "10", "--folds", "2")
        self.assertEqual((told["loss"], told["items"]), ("bits_per_byte", 10))
        self.assertNotIn("accuracy_before", told)
        self.assertLessEqual(told["fitted"], told["before"])


@without_models
class Temperatures(Calibrate):
    def test_in_every_path(self):
        warm = ("-t", "1", "-m", "%s,temperature=1.5" % STORIES, "-m", "%s,temperature=0.8" % DREAMS)
        once = "Once upon a time, there was a little girl named Lily. She liked to play."
        plain = ("-t", "1", "-m", "%s,temperature=1" % STORIES, "-m", DREAMS)
        def figures(*members):
            told = self.good_json("weigh", "-p", once, "--space", "bytes", *members)
            return [told["objective"]] + [m["bits_per_byte_model"] for m in told["members"]] + [m["bits_per_byte"] for m in told["members"]]
        self.assertEqual(figures(*plain), figures(*PAIR))  # 1 is nothing at all
        changed, same = figures(*warm), figures(*PAIR)
        for k in range(3):
            self.assertNotAlmostEqual(changed[k], same[k], places=3)
        self.assertEqual(changed[3:], same[3:])  # canonical figures are the member's own
        straight = self.good_json("score", "-p", once, "--context-bytes", "40", "--space", "bytes", *warm)
        walked = self.good_json("score", "-p", once, "--context-bytes", "40", "--space", "bytes", "--through-generation", *warm)
        self.assertAlmostEqual(straight["bits_per_byte"], walked["bits_per_byte"], delta=0.005 * straight["bits_per_byte"])
        self.assertEqual(self.good_json("weigh", "-p", once, *warm)["space"], "bytes")
        self.bad(2, "weigh", "-p", once, "--space", "tokens", *warm, says=["temperature", "--space bytes"])
        self.good("run", "-p", once, "-n", "8", *warm)
        for value in "0", "-1", "nan", "200", "":
            self.bad(2, "weigh", "-p", once, "-m", "%s,temperature=%s" % (STORIES, value), says=["temperature", "0.01"])


class BadInput(Calibrate):
    def test_command_line(self):
        task = self.task(questions(4))
        self.bad(2, "calibrate", says=["TASK.jsonl", "-f FILE"])
        self.bad(2, "calibrate", task, "-f", task, says="not both")
        self.bad(1, "calibrate", self.folder / "none.jsonl", says="none.jsonl")
        self.bad(2, "calibrate", task, "-o", task, says=["is there", "--force"])
        self.bad(2, "calibrate", task, "--folds", "1", says="folds")
        written = self.task('{"id": "a", "query": "q", "answer": "7"}\n', "gen.jsonl")
        self.bad(2, "calibrate", written, says="choices")

    def test_a_file_that_cannot_be_written_is_told_before_the_work(self):
        task, none = self.task(questions(4)), self.folder / "none.gguf"
        self.bad(1, "calibrate", task, "-m", none, "-o", self.folder / "no" / "p.ini", says="p.ini")
        self.bad(1, "calibrate", task, "-m", none, "-o", self.folder / "p.ini", says="none.gguf")
        self.assertEqual([f.name for f in self.folder.iterdir() if f.name.startswith("p.ini")], [])

    def test_a_text_that_is_none(self):
        text = self.folder / "bad.txt"
        text.write_bytes(b"One day. " * 99 + b"\xff")
        self.bad(1, "calibrate", "-f", text, "-m", "none.gguf", says=["bad.txt", "byte 0xff at offset 891 of 892"])

    @without_models
    def test_too_little(self):
        task = self.task(questions(4))
        self.bad(1, "calibrate", task, *PAIR, says=["4 questions for 5 folds", "--folds"])
        self.bad(1, "calibrate", "-f", self.task("One day. " * 20, "t.txt"), *PAIR, says=["windows", "--window-bytes"])

    @without_models
    def test_pack_files(self):
        for text, words in {"shrink = -1\n": "0 to 1e9", "shrink = x\n": "0 to 1e9", "prior = 2\n": "stand in a section"}.items():
            path = self.folder / "pack.ini"
            path.write_text(text + "[a]\nmodel = %s\n" % STORIES.resolve())
            self.bad(2, "weigh", "-p", "x", "--pack", path, says=["pack.ini:1:", words])


if __name__ == "__main__":
    unittest.main()
