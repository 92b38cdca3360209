"""A pack of many members: adapters at several scales over a tiny model, and tiny models. Those without hope stop
reading early and the output says when; --drop off reads everything; memory is counted by open contexts."""
import unittest

from cli_support import DREAMS, ONCE, SHARED, STORIES, XS, Program, without_models
from test_cli_lora import adapter, pair

TEXT = SHARED / "data" / "stories_en.txt"


@without_models
@unittest.skipIf(not TEXT.is_file(), "the texts are not there")
class Crowd(Program):
    def setUp(self):
        super().setUp()
        lines = ["[stories]", "model = %s" % STORIES, "[xs]", "model = %s" % XS, "[dreams]", "model = %s" % DREAMS]
        for name, layer in ("a", 0), ("b", 2), ("c", 4):
            path = adapter(self.folder / (name + ".gguf"), pair("blk.%d.attn_q.weight" % layer))
            for scale in range(1, 8):
                lines += ["[%s%d]" % (name, scale), "model = %s" % STORIES, "lora = %s:%d" % (path, 3 * scale)]
        self.pack = self.folder / "pack.ini"
        self.pack.write_text("\n".join(lines) + "\n")
        self.n = 24
        data = TEXT.read_bytes()
        self.prompt = self.folder / "prompt.txt"
        self.prompt.write_bytes(data[4000:4900].decode("utf-8", "ignore").encode())

    def weigh(self, *args):
        return self.good_json("weigh", "--pack", self.pack, "-f", self.prompt, "-t", "1", *args)

    def test_dropped_members_are_told_and_cost_little(self):
        drop, full = self.weigh(), self.weigh("--drop", "off")
        self.assertEqual(drop["space"], "bytes")
        self.assertEqual(full["dropped"], 0)
        self.assertFalse(any(m["dropped"] for m in full["members"]))
        self.assertGreaterEqual(drop["dropped"], self.n // 3)
        self.assertEqual(drop["dropped"], sum(m["dropped"] for m in drop["members"]))
        self.assertLess(abs(drop["bits_per_byte"] - full["bits_per_byte"]), 0.002)
        for d, f in zip(drop["members"], full["members"]):
            self.assertEqual(f["bytes"], full["bytes"])
            self.assertEqual(d["dropped"], d["bytes"] < drop["bytes"])
            self.assertTrue(not d["dropped"] or (d["weight"] == 0 and f["weight"] <= 0.02), (d, f))
            if d["dropped"]:
                self.assertLessEqual(d["gain_likely"], d["gain_most"])
                self.assertLessEqual(d["gain_most"], drop["gain_most"])
        again = self.weigh()
        self.assertEqual([m["weight"] for m in again["members"]], [m["weight"] for m in drop["members"]])

    def test_one_table_says_when(self):
        out = self.good("weigh", "--pack", self.pack, "-f", self.prompt, "-t", "1")
        self.assertIn("dropped at", out.splitlines()[0])
        self.assertRegex(out, r"\n[abc]\d .* +(128|256|512)\n")
        self.assertRegex(out, r"\d+ of 24 members stopped reading early")
        out = self.good("weigh", "--pack", self.pack, "-f", self.prompt, "-t", "1", "--drop", "off")
        self.assertNotIn("dropped", out)

    def test_a_reply_and_token_space(self):
        text = self.pack.read_text()
        self.pack.write_text(text[:text.index("[xs]")] + text[text.index("[a1]"):])  # one vocabulary, contexts that hold it
        drop, full = self.weigh(), self.weigh("--drop", "off")
        self.assertEqual(drop["space"], "tokens")
        self.assertGreater(drop["dropped"], 0)
        self.assertLess(abs(drop["bits_per_byte"] - full["bits_per_byte"]), 0.002)
        for more in (), ("--space", "bytes"):
            out = self.good("run", "--pack", self.pack, "-f", self.prompt, "-t", "1", "-n", "5", "--temp", "0", *more)
            self.assertTrue(out)

    def test_memory_is_of_open_contexts(self):
        one = self.good_json("weigh", "--memory", "-m", STORIES)
        all_of_them = self.good_json("weigh", "--memory", "--pack", self.pack)
        self.assertEqual(all_of_them["contexts"], 13)
        self.assertLess(all_of_them["total"], 15 * one["total"])
        few = self.good_json("weigh", "--memory", "--pack", self.pack, "--memory-limit", "120M")
        self.assertLess(few["contexts"], 13)
        self.assertLessEqual(few["total"], 120 << 20)
        self.assertIn("contexts are open at once", self.good("weigh", "--memory", "--pack", self.pack))
        limited = self.weigh("--memory-limit", "120M")
        # Contexts that were given back read again, in other batches: the same up to their rounding.
        for few, many in zip(limited["members"], self.weigh()["members"]):
            self.assertAlmostEqual(few["weight"], many["weight"], places=3)
        self.bad(1, "weigh", "-p", ONCE, "--pack", self.pack, "--memory-limit", "5M", says=["MiB", "--memory-limit"])
        for size in "0", "-1", "much", "1X", "":
            self.bad(2, "weigh", "-p", ONCE, "--pack", self.pack, "--memory-limit", size, says="--memory-limit")

    def test_dropping_is_for_prompts(self):
        self.bad(2, "score", "-p", ONCE, "-m", STORIES, "--drop", "off", says="drop")
        self.bad(2, "weigh", "-p", ONCE, "-m", STORIES, "--drop", "never", says="--drop")


if __name__ == "__main__":
    unittest.main()
