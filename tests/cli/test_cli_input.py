"""Goal: bad input of every kind gives one clear error, exit code 1 or 2, and nothing half-written."""
import os
import pathlib
import resource
import unittest

from cli_support import DREAMS, ONCE, PAIR, STORIES, Program, without_models


class Prompts(Program):
    """These are refused before any model is loaded, so the model need not exist as such."""

    def test_empty(self):
        self.bad(1, "run", "-p", "", "-m", STORIES, says="empty")
        self.bad(1, "weigh", "-m", STORIES, says="empty")  # an empty pipe
        empty = self.folder / "empty.txt"
        empty.write_bytes(b"")
        self.bad(1, "score", "-f", empty, "-m", STORIES, says="empty")

    def test_invalid_utf8_names_the_offset(self):
        for text, offset in ((b"ab\xffcd", 2), (b"\x80", 0), (b"caf\xc3", 3), (b"\xed\xa0\x80", 0), (b"a\xc0\x80", 1),
                             (b"x\xf4\x90\x80\x80", 1)):
            self.bad(1, "run", "-m", STORIES, stdin=text, says=["UTF-8", "offset %d of %d" % (offset, len(text))])

    def test_files(self):
        self.bad(1, "run", "-f", self.folder / "no", "-m", STORIES, says=["cannot open", "No such file"])
        self.bad(1, "run", "-f", self.folder, "-m", STORIES, says="directory")
        if os.getuid() != 0:
            closed = self.folder / "closed"
            closed.write_text("x")
            closed.chmod(0)
            self.bad(1, "run", "-f", closed, "-m", STORIES, says="Permission")

    def test_longer_than_64_mib(self):
        large = self.folder / "large"
        with open(large, "wb") as file:
            file.truncate((64 << 20) + 1)
        self.bad(1, "weigh", "-f", large, "-m", STORIES, says=["64 MiB", "large"])

    def test_no_prompt_on_a_terminal(self):
        master, slave = os.openpty()
        try:
            self.bad(2, "run", "-m", STORIES, stdin_file=slave, says="no prompt")
        finally:
            os.close(master)
            os.close(slave)


class Members(Program):
    def test_files_that_are_none(self):
        self.bad(1, "run", "-p", "x", "-m", self.folder / "no.gguf", says=["no.gguf", "no such file"])
        self.bad(1, "run", "-p", "x", "-m", self.folder, says="directory")
        self.bad(1, "run", "-p", "x", "-m", "smolm2-135m", says="did you mean 'smollm2-135m'?")
        self.bad(1, "run", "-p", "x", "-m", "nothing-like-it", says="no such file or model")

    def test_settings(self):
        for setting, words in {"nmae=x": "did you mean 'name'?", "zzz=1": "unknown setting 'zzz'", "prior": "key=value",
                               "prior=-1": "above 0", "prior=nan": "above 0", "prior=0": "above 0", "cap=0": "at most 1",
                               "cap=1.5": "at most 1", "c=-3": "whole number", "ngl=many": "whole number",
                               "name=": "a name", "threads=-2": "whole number"}.items():
            self.bad(2, "run", "-p", "x", "-m", "%s,%s" % (STORIES, setting), says=["-m", words])
        self.bad(2, "run", "-p", "x", "-m", ",name=a", says="names no model")

    def test_weights_that_do_not_fit(self):
        for text, words in {"fixed:": "not a weight", "fixed:1": "1 weights for 2 members", "fixed:1,2,3": "3 weights",
                            "fixed:a,b": "not a weight", "fixed:-1,2": "not a weight", "fixed:nan,1": "not a weight",
                            "fixed:0,0": "above 0", "fixed:1,": "not a weight", "exakt": "did you mean 'exact'?"}.items():
            self.bad(2, "weigh", "-p", "x", *PAIR, "--weights", text, says=words)

    @without_models
    def test_tokenizer_that_is_no_member(self):
        self.bad(2, "run", "-p", "x", *PAIR, "--tokenizer", "storis260K", says="'stories260K'")
        self.bad(2, "run", "-p", "x", *PAIR, "--tokenizer", "2", says="0 to 1")


@without_models
class Models(Program):
    def refuse(self, content, **more):
        path = self.folder / "damaged.gguf"
        path.write_bytes(content)
        return self.bad(1, "weigh", "-p", "x", "-m", path, **more)

    def test_gguf_files_that_are_none(self):
        self.refuse(b"", says="damaged")
        self.refuse(b"GGUF", says="damaged")
        self.refuse(b"not a model, but a text " * 50, says="damaged")

    def test_truncated(self):
        whole = STORIES.read_bytes()
        for size in (5, 24, 100, 5000, len(whole) // 2, len(whole) - 1):
            self.refuse(whole[:size], says="damaged")

    def test_bit_flips_never_crash(self):
        whole = bytearray(STORIES.read_bytes())
        for at in range(0, 400, 13):
            flipped = bytearray(whole)
            flipped[at] ^= 1 << (at % 8)
            path = self.folder / "flipped.gguf"
            path.write_bytes(flipped)
            done = self.run_program("weigh", "-p", "Once", "-m", path)
            self.assertIn(done.returncode, (0, 1), "byte %d: %r" % (at, done.stderr))
            if done.returncode == 1:
                self.assertEqual(done.stdout, b"")
                self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)

    def test_the_second_member_is_the_one_named(self):
        path = self.folder / "second.gguf"
        path.write_bytes(b"GGUF")
        self.bad(1, "weigh", "-p", "x", "-m", STORIES, "-m", path, says="second")

    def test_one_byte(self):
        for text in ("a", "\n", " "):
            self.assertEqual(self.good_json("weigh", "-p", text, *PAIR)["bytes"], 1)
        self.assertEqual(self.good_json("run", "-p", "a", "-n", "3", *PAIR)["finish"], "length")

    def test_nul_bytes(self):
        done = self.run_program("weigh", "--json", *PAIR, stdin=b"Once\0upon")
        self.assertIn(done.returncode, (0, 1))  # the library's choice, but said clearly
        if done.returncode == 1:
            self.assertRegex(done.stderr.decode(), r"^packllm: error: .+\n$")

    def test_longer_than_the_context(self):
        # 3 * 53 tokens for the member whose context holds 128; the other one's holds 512.
        error = self.bad(1, "run", "-p", ONCE * 3, "-n", "5", *PAIR, says=["aidreams260K", "128"])
        self.assertRegex(error, r"\b1[56]\d tokens")
        self.assertIn("trained on no more", error)  # a larger -c would not help
        self.bad(1, "run", "-p", ONCE * 3, "-n", "5", "-c", "40", "-m", STORIES, says=["stories260K", "40", "(-c)"])
        self.bad(1, "run", "-p", ONCE * 40, "-sys", "x", "-n", "5", "-m", STORIES, says=["512", "trained on no more"])

    def test_scores_of_a_long_text(self):
        self.assertIn("aidreams260K reads in", self.good("score", "-p", ONCE * 3, *PAIR))
        self.assertNotIn("stories260K reads in", self.good("score", "-p", ONCE * 3, *PAIR))
        self.assertNotIn("reads in", self.good("score", "-p", ONCE * 3, "--window", "80", *PAIR))
        self.bad(1, "score", "-p", ONCE * 20, "--through-generation", *PAIR, says=["aidreams260K", "holds 128"])

    def test_nothing_left_to_score(self):
        self.bad(1, "score", "-p", ONCE, "--context-bytes", "5000", *PAIR, says=["5000 are context", "--context-bytes"])
        self.bad(1, "score", "-p", ONCE, "--window", "900", *PAIR, says=["300 are context", "--window"])

    def test_one_byte_that_is_no_text(self):
        done = self.run_program("weigh", "--lossy", *PAIR, stdin=b"On\xffce")
        self.assertIn(b"U+FFFD stands in 1 place\n", done.stderr)

    def test_an_address_space_that_is_too_small(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_AS, (400 << 20, 400 << 20))
        free = [self.good_json("weigh", "--memory", *PAIR, **how)["available"] for how in ({}, {"preexec_fn": limit})]
        self.assertLess(free[1], 400 << 20)
        self.assertGreater(free[1], 200 << 20)
        self.assertGreaterEqual(free[0], free[1])

    def test_weighing_reads_a_long_text_in_windows(self):
        got = self.good_json("weigh", "-p", ONCE * 20, *PAIR)
        self.assertGreater({m["name"]: m["windows"] for m in got["members"]}["aidreams260K"], 1)
        self.assertIn("aidreams260K reads in", self.good("weigh", "-p", ONCE * 20, *PAIR))

    def test_every_byte_of_a_file_counts(self):
        file = self.folder / "text"
        file.write_bytes(b"\nOnce upon a time\r\n\n")
        self.assertEqual(self.good_json("weigh", "-f", file, *PAIR)["bytes"], 20)
        self.assertEqual(self.good_json("weigh", "-f", "-", *PAIR, stdin=file.read_bytes())["bytes"], 20)
        self.assertEqual(self.good_json("weigh", "-", *PAIR, stdin=file.read_bytes())["bytes"], 20)

    def test_a_path_with_commas_and_spaces(self):
        path = self.folder / "a, b,c=5.gguf"
        path.symlink_to(pathlib.Path(STORIES).resolve())
        self.assertEqual(self.good_json("weigh", "-p", "x", "-m", path)["members"][0]["name"], "a, b,c=5")
        self.assertEqual(self.good_json("weigh", "-p", "x", "-m", "%s,name=dreamer" % DREAMS)["members"][0]["name"],
                         "dreamer")


if __name__ == "__main__":
    unittest.main()
