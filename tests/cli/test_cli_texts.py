"""Goal: texts of every kind are read as they stand or refused with the place named; nothing hangs, and a text ten times
as long takes about ten times as long."""
import json
import random
import time
import unittest

from cli_support import ONCE, PAIR, STORIES, Program, without_models

ONE = ("-m", STORIES, "-t", "1")


@without_models
class Lossy(Program):
    def test_what_is_no_character_becomes_the_replacement_character(self):
        rng = random.Random(7)
        texts = [b"a\xffb", b"\xe2\x82", b"\xed\xa0\x80x", b"\xf0\x9f\x98 \x80\x80", b"caf\xc3"]
        texts += [bytes(rng.choice((0x61, rng.randrange(256))) for _ in range(rng.randrange(1, 30))) for _ in range(12)]
        for text in texts:
            expected = text.decode("utf-8", "replace")
            done = self.run_program("run", "--lossy", "--echo", "--json", "-n", "0", *ONE, stdin=text)
            self.assertEqual(done.returncode, 0, done.stderr)
            got = json.loads(done.stdout)
            self.assertEqual(got["prompt"], expected, text)
            self.assertGreaterEqual(expected.count("\ufffd"), got["replaced"])
            bad = expected.encode() != text
            self.assertEqual(b"U+FFFD stands in %d place" % got["replaced"] in done.stderr, bad, text)
            self.assertEqual(got["replaced"] > 0, bad)

    def test_every_command_that_reads_a_text(self):
        for command in (["weigh"], ["score", "--context-bytes", "4"]):
            got = self.good_json(*command, "--lossy", *ONE, stdin=b"Once \xff upon \xe2\x82 a time")
            self.assertEqual(got["replaced"], 2)
            self.assertNotIn("replaced", self.good_json(*command, *ONE, stdin=b"Once upon a time"))
        self.bad(1, "weigh", *ONE, stdin=b"Once \xff", says=["offset 5 of 6", "--lossy"])


@without_models
class Kinds(Program):
    TEXTS = {
        "emoji": "👨‍👩‍👧‍👦🏳️‍🌈👍🏽 " * 4,
        "marks": "e\u0301\u0323o\u0308\u0304" * 10 + "\u0301" * 40,
        "right to left": "שלום עולם مرحبا بالعالم " * 3,
        "controls": "a\0b\0\x01\x1b[31m\x7f\r\n\t",
        "lines": "\n" * 100,
        "spaces": " " * 100,
        "widest": "\U0010ffff\U00010000\uffff\ufeff",
    }

    def test_read_scored_and_gone_on_from(self):
        for name, text in self.TEXTS.items():
            with self.subTest(name):
                size = len(text.encode())
                weighed = self.good_json("weigh", *PAIR, "-t", "1", stdin=text.encode())
                self.assertEqual(weighed["bytes"], size)
                both = [self.good_json("score", "--context-bytes", "8", *ONE, *more, stdin=text.encode())
                        for more in ([], ["--through-generation"])]
                self.assertEqual(both[0]["bytes"] + both[0]["context_bytes"], size)  # cut between characters
                self.assertEqual(both[1]["bytes"], both[0]["bytes"])
                self.assertEqual([s["resyncs"] for s in both], [0, 0])
                self.assertAlmostEqual(both[1]["bits_per_byte"] / both[0]["bits_per_byte"], 1, delta=5e-3)
                self.assertEqual([s["jensen_violations"] for s in both], [0, 0])
                wrote = self.good_json("run", "--echo", "-n", "4", *ONE, stdin=text.encode())
                self.assertEqual(wrote["prompt"], text)
                self.assertEqual(wrote["resyncs"], 0)

    def test_a_byte_order_mark_is_text_and_is_told(self):
        done = self.run_program("weigh", "--json", *ONE, stdin=b"\xef\xbb\xbfOnce upon a time")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(b"byte-order mark", done.stderr)
        self.assertIn(b'"bytes":19', done.stdout)

    def test_prompts_that_end_anywhere(self):
        for cut in range(1, 40, 3):
            got = self.good_json("run", "-p", ONCE[:cut], "--temp", "0", "-n", "6", *PAIR, "-t", "1")
            self.assertGreater(got["bytes"], 0, ONCE[:cut])
            self.assertEqual(got["resyncs"], 0, ONCE[:cut])
        for prompt in ("She said, \"", "Once upon a time ", "Lily and Tom went to the p", "(\n", "caf\u00e9"):
            got = self.good_json("run", "-p", prompt, "-n", "6", *PAIR, "-t", "1")
            self.assertEqual((got["resyncs"], got["finish"]), (0, "length"))

    def test_bytes_heal_a_token_that_the_prompt_cuts(self):
        for prompt, begins in (("Once upon a tim", "e,"), ("Once upon a ti", "me"), ("there was a lit", "tle")):
            got = self.good("run", "-p", prompt, "--temp", "0", "-n", "8", "--choose", "bytes", *ONE)
            self.assertTrue(got.startswith(begins), got)


@without_models
class Long(Program):
    def seconds(self, text):
        file = self.folder / "text"
        file.write_bytes(text)
        start = time.monotonic()
        got = self.good_json("weigh", "-f", file, *ONE, timeout=300)
        self.assertEqual(got["bytes"], len(text))
        return time.monotonic() - start

    def test_time_grows_as_the_text_does(self):
        for name, piece in (("no space", b"a"), ("lines", b"\n"), ("no space, two bytes", "é".encode())):
            with self.subTest(name):
                short = min(self.seconds(piece * (6000 // len(piece))) for _ in range(2))
                whole = self.seconds(piece * (48000 // len(piece)))
                self.assertLess(whole, 3 * 8 * short + 2)

    def test_a_million_bytes_are_refused_by_run_with_numbers(self):
        for piece in (b"a", b"\n"):
            file = self.folder / "text"
            file.write_bytes(piece * 1000000)
            start = time.monotonic()
            error = self.bad(1, "run", "-f", file, "-n", "1", *ONE, says=["1000000 bytes", "stories260K"])
            self.assertRegex(error, r"\d+ tokens")
            self.assertLess(time.monotonic() - start, 60)


if __name__ == "__main__":
    unittest.main()
