"""`packllm align`: the counts and the map against comparing all with all in Python, the methods, the cache of maps,
vocabularies without weights, errors. Which tokens are text is asked with --dump-bytes in both directions."""
import os
import pathlib
import unittest

from cli_support import DREAMS, STORIES, XS, Program, without_models

VOCABULARIES = pathlib.Path(os.environ.get("PACKLLM_LLAMA_PREFIX") or "/nowhere") / "share/llama/vocab"
GPT2, SPM = VOCABULARIES / "ggml-vocab-gpt-2.gguf", VOCABULARIES / "ggml-vocab-llama-spm.gguf"


def distance(a, b):
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        corner, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            corner, row[j] = row[j], min(corner + (x != y), row[j] + 1, row[j - 1] + 1)
    return row[-1]


@without_models
class Align(Program):
    def align(self, a, b, *args):
        """The result, {reference id: (member id, distance)}, {id: bytes} of the reference."""
        dump, text = self.folder / "map.tsv", self.folder / "bytes.tsv"
        result = self.good_json("align", a, b, "-t", "1", "--dump", dump, "--dump-bytes", text, *args)
        rows = [tuple(map(int, line.split("\t"))) for line in dump.read_text().splitlines()]
        self.assertEqual([row[0] for row in rows], list(range(len(rows))))
        tokens = dict(line.split("\t") for line in text.read_text().splitlines())
        return (result, {i: (j, d) for i, j, d in rows}, {int(i): bytes.fromhex(x) for i, x in tokens.items()})

    def test_mined_is_the_nearest(self):
        member = self.align(DREAMS, STORIES)[2]
        result, found, reference = self.align(STORIES, DREAMS)
        self.assertEqual((result["reference"], result["member"], result["align"]),
                         ("stories260K", "aidreams260K", "mined"))
        for i in list(reference)[::7]:
            nearest = min((distance(reference[i], x), j) for j, x in member.items())
            self.assertEqual(found[i], nearest[::-1], reference[i])
        counts = [0, 0, 0]
        for j, d in found.values():
            self.assertEqual(j < 0, d < 0)
            counts[2 if j < 0 else int(d > 0)] += 1
        self.assertEqual([result["exact"], result["near"], result["unmatched"]], counts)
        self.assertGreater(min(counts), 0)
        for byte in range(256):  # ids 3 to 258 are the bytes in both
            self.assertEqual(found[3 + byte], (3 + byte, 0))
        self.assertEqual((found[0], found[2]), ((-1, -1), (2, 0)))  # <unk>, </s>

    def test_worst_pairs(self):
        result, found, _ = self.align(STORIES, DREAMS, "--worst", "4")
        worst = [(pair["reference_id"], pair["member_id"], pair["distance"]) for pair in result["worst"]]
        order = sorted(((-d, i) for i, (_, d) in found.items() if d > 0))[:4]
        self.assertEqual(worst, [(i, found[i][0], -d) for d, i in order])
        self.assertIsInstance(result["worst"][0]["reference"], str)
        self.assertEqual(self.good_json("align", STORIES, DREAMS, "--worst", "0")["worst"], [])

    def test_a_vocabulary_and_itself(self):
        for method in ("exact", "first", "mined"):
            result, found, reference = self.align(STORIES, XS, "--align", method)
            self.assertEqual(result["near"], 0)
            texts = {}
            for i, x in reference.items():
                self.assertEqual(found[i], (texts.setdefault(x, i), 0))

    def test_exact_and_first(self):
        exact = self.align(STORIES, DREAMS, "--align", "exact")[1]
        member = self.align(DREAMS, STORIES)[2]
        result, first, reference = self.align(STORIES, DREAMS, "--align", "first")
        self.assertEqual(result["align"], "first")
        for i, (j, d) in exact.items():
            self.assertIn(d, (-1, 0))
            if j >= 0:
                self.assertEqual(first[i], (j, 0))
        near = {i: j for i, (j, d) in first.items() if d > 0}
        self.assertGreater(len(near), 50)
        for i, j in near.items():
            self.assertEqual(first[i][1], len(reference[i]) - len(member.get(j, b"?")))
            self.assertTrue(j not in member or reference[i].startswith(member[j]), (reference[i], member.get(j)))

    def test_the_same_with_any_number_of_threads(self):
        one = self.align(STORIES, DREAMS, "--cache", self.folder / "a")
        more = self.align(STORIES, DREAMS, "--cache", self.folder / "b", "-t", "3")
        self.assertEqual(one[1:], more[1:])
        self.assertEqual((one[0]["cached"], more[0]["cached"]), (False, False))

    def test_cache(self):
        maps = self.folder / "cache" / "maps"
        args = ("--cache", self.folder / "cache")
        made = self.align(STORIES, DREAMS, *args)
        read = self.align(STORIES, DREAMS, *args)
        self.assertEqual((made[0]["cached"], read[0]["cached"]), (False, True))
        self.assertEqual(made[1:], read[1:])
        (file,) = maps.iterdir()
        whole = file.read_bytes()
        for damaged in (whole[:-9], whole[:50] + b"x" + whole[51:], b""):
            file.write_bytes(damaged)
            done = self.run_program("align", STORIES, DREAMS, "--json", *args)
            self.assertEqual(done.returncode, 0)
            self.assertIn(b"packllm: warning: ", done.stderr)
            self.assertIn(b"made anew", done.stderr)
            self.assertEqual(file.read_bytes(), whole)
        self.assertEqual(self.align(STORIES, DREAMS, *args)[1:], made[1:])
        self.assertEqual(list(maps.iterdir()), [file])
        self.align(DREAMS, STORIES, *args)
        self.assertEqual(len(list(maps.iterdir())), 2)

    def test_a_cache_that_cannot_be_written_is_no_error(self):
        (self.folder / "file").write_text("")
        done = self.run_program("align", STORIES, DREAMS, "--json", "--cache", self.folder / "file")
        self.assertEqual(done.returncode, 0)
        self.assertIn(b"could not be written", done.stderr)

    def test_table(self):
        done = self.run_program("align", STORIES, DREAMS, "--worst", "3")
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        lines = done.stdout.decode().splitlines()
        for i, word in enumerate(("reference", "member", "exact", "near", "unmatched", "mapped")):
            self.assertTrue(lines[i].startswith(word), lines)
        self.assertEqual(len(lines), 6 + 2 + 3)

    @unittest.skipUnless(GPT2.is_file() and SPM.is_file(), "libllama's vocabularies are not here")
    def test_vocabularies_without_weights(self):
        result, found, reference = self.align(GPT2, SPM)
        self.assertEqual((len(found), len(reference)), (50257, 50256))
        self.assertEqual((result["exact"], result["near"], result["unmatched"]), (18048, 32209, 0))
        self.assertEqual(found[50256], (2, 0))  # <|endoftext|> and </s>
        back = self.align(SPM, GPT2)[1]
        self.assertEqual(back[3 + 0xe2], (next(i for i, x in reference.items() if x == b"\xe2"), 0))

    def test_wrong_use(self):
        self.bad(2, "align", says="two vocabularies")
        self.bad(2, "align", STORIES, says="two vocabularies")
        self.bad(2, "align", STORIES, DREAMS, XS, says="unexpected argument")
        self.bad(2, "align", STORIES, DREAMS, "--align", "mind", says="did you mean 'mined'?")
        self.bad(2, "align", STORIES, DREAMS, "--worst", "-1", says="0 to 10000")
        self.bad(2, "align", STORIES, DREAMS, "--temp", "1", says="not an option of packllm align")

    def test_files(self):
        missing = self.folder / "none.gguf"
        error = self.bad(1, "align", STORIES, missing, says=["none.gguf", "no such file"])
        self.assertNotIn("-m ", error)
        self.bad(1, "align", self.folder, STORIES, says="directory")
        text = self.folder / "text.gguf"
        text.write_text("no model at all")
        self.bad(1, "align", text, STORIES, says="text.gguf")
        self.bad(1, "align", STORIES, DREAMS, "--dump", self.folder, says="directory")
        self.bad(1, "align", STORIES, DREAMS, "--dump", self.folder / "no" / "map", says="cannot write")


if __name__ == "__main__":
    unittest.main()
