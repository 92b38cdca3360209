"""--space: members that share a vocabulary are fused in its tokens; one alone is itself in both spaces."""
import unittest

from cli_support import DREAMS, ONCE, PAIR, STORIES, XS, Program, without_models

SHARED = ("-m", STORIES, "-m", XS)
TALE = (ONCE + " One day, she saw a big, shiny ball in the park. She wanted to play with it, but it was too high. "
        "Her mom said, \"Let's ask the man to help us.\" The man was very kind and gave her the ball.")

SHORT = TALE[:180]  # aidreams260K has a context of 128 tokens


@without_models
class Space(Program):
    def weigh(self, *args):
        return self.good_json("weigh", "-p", TALE, "--shrink", "0", *args)

    def test_auto_takes_tokens_where_it_can(self):
        self.assertEqual(self.weigh(*SHARED)["space"], "tokens")
        self.assertEqual(self.weigh(*SHARED, "--space", "bytes")["space"], "bytes")
        self.assertEqual(self.weigh(*PAIR)["space"], "bytes")
        self.assertEqual(self.weigh("-m", STORIES)["space"], "bytes")
        self.assertEqual(self.weigh("-m", STORIES, "--space", "tokens")["space"], "tokens")
        self.bad(2, "run", "-p", ONCE, *SHARED, "--space", "tokens", "--choose", "bytes", says="give up one")
        self.bad(2, "score", "-p", TALE, *SHARED, "--space", "tokens", "--next", "--json", says="--space bytes")
        self.assertEqual(len(self.good_json("score", "-p", TALE, *SHARED, "--next")["next"]), 257)

    def test_the_optimum_is_one(self):
        best = self.weigh(*SHARED)
        self.assertLessEqual(best["gap"], 1e-9)
        self.assertLess(best["error"], 1e-2)
        weights = [m["weight"] for m in best["members"]]
        for other in ("uniform", "sim", "top1"):
            self.assertLessEqual(best["objective"], self.weigh(*SHARED, "--weights", other)["objective"] + 1e-9)
        for step in (0.02, 0.1, -0.02, -0.1):
            moved = weights[0] + step
            if 0 <= moved <= 1:
                told = self.weigh(*SHARED, "--weights", "fixed:%.17g,%.17g" % (moved, 1 - moved))
                self.assertGreaterEqual(told["bits_per_byte"], best["bits_per_byte"] - 1e-7)
        for member in best["members"]:
            self.assertLessEqual(best["bits_per_byte"], member["bits_per_byte_model"] + 1e-7)
        turned = self.weigh("-m", XS, "-m", STORIES)
        self.assertEqual([m["weight"] for m in turned["members"]], weights[::-1])

    def test_a_member_alone_is_the_same_in_both_spaces(self):
        for weights in ("fixed:1,0", "fixed:0,1"):
            args = ("score", "-p", TALE, *SHARED, "--weights", weights)
            one = self.good_json(*args, "--context-bytes", "100", "--space", "tokens")
            two = self.good_json(*args, "--context-bytes", one["context_bytes"], "--space", "bytes")
            self.assertEqual(one["bytes"], two["bytes"])
            self.assertAlmostEqual(one["bits_per_byte"], two["bits_per_byte"], delta=3e-3 * two["bits_per_byte"])
            self.assertEqual(one["members"][0]["forwards"], one["members"][0]["tokens"])
        alone = self.good("run", "-p", ONCE, "-n", "40", "--temp", "0", "-m", XS)
        self.assertEqual(alone, self.good("run", "-p", ONCE, "-n", "40", "--temp", "0", *SHARED, "--weights", "fixed:0,1"))

    def test_replies_repeat_themselves_and_cost_one_forward_a_token(self):
        args = ("run", "-p", ONCE, "-n", "30", "-s", "5", *SHARED, "--weights", "fixed:0.6,0.4")
        self.assertEqual(self.good(*args), self.good(*args))
        for pool in ("log", "linear"):
            told = self.good_json(*args, "--pool", pool)
            self.assertEqual(told["usage"]["completion_tokens"] if "completion_tokens" in told["usage"] else 30, 30)
            for member in told["members"]:
                self.assertLessEqual(member["forwards"], 31)

    def test_a_text_that_needs_windows_is_read_in_bytes(self):
        told = self.good_json("weigh", "-p", TALE * 6, *SHARED, "-c", "128")
        self.assertEqual(told["space"], "bytes")
        self.bad(1, "weigh", "-p", TALE * 6, *SHARED, "-c", "128", "--space", "tokens", says="context holds 128")

    def weigh_short(self, *args):
        return self.good_json("weigh", "-p", SHORT, "--shrink", "0", *args)

    def test_a_references_tokens(self):
        told = self.weigh_short(*PAIR, "--space", "tokens")
        self.assertEqual([told[k] for k in ("space", "reference", "align", "feed", "mass")],
                         ["tokens", "stories260K", "mined", "text", "split"])
        self.assertNotIn("reference", self.weigh_short(*SHARED, "--space", "tokens"))
        self.assertNotIn("reference", self.weigh_short(*PAIR))
        turned = self.weigh_short("-m", DREAMS, "-m", STORIES, "--space", "tokens")
        self.assertEqual(turned["reference"], "stories260K")
        self.assertEqual([m["weight"] for m in turned["members"]], [m["weight"] for m in told["members"]][::-1])
        for name in ("aidreams260K", "1"):
            self.assertEqual(self.weigh_short(*PAIR, "--space", "tokens", "--reference", name)["reference"], "aidreams260K")
        best = self.weigh_short(*PAIR, "--space", "tokens", "--reference", "1", "--align", "exact")
        for how in ("uniform", "greedy", "sim", "fixed:0.3,0.7"):
            other = self.weigh_short(*PAIR, "--space", "tokens", "--reference", "1", "--align", "exact", "--weights", how)
            self.assertLessEqual(best["objective"], other["objective"] + 1e-9)

    def test_every_way_scores_and_writes(self):
        seen = set()
        for align in ("exact", "first", "mined"):
            for feed in ("text", "translated"):
                for mass in ("split", "paper"):
                    args = (*PAIR, "--space", "tokens", "--align", align, "--feed", feed, "--mass", mass,
                            "--reference", "aidreams260K", "--weights", "fixed:0.8,0.2")
                    told = self.good_json("score", "-p", SHORT, "--context-bytes", "60", *args)
                    self.assertGreater(told["bits_per_byte"], 0)
                    self.assertEqual((told["reference"], told["feed"], told["mass"]), ("aidreams260K", feed, mass))
                    seen.add(told["bits_per_byte"])
        self.assertGreater(len(seen), 8)
        for feed in ("text", "translated"):
            args = (*PAIR, "--space", "tokens", "--feed", feed, "--reference", "1", "--weights", "fixed:0.2,0.8")
            told = self.good_json("run", "-p", ONCE, "-n", "8", "--temp", "0", *args)
            self.assertEqual(told["text"], self.good("run", "-p", ONCE, "-n", "8", "--temp", "0", *args))
            self.assertLessEqual(told["members"][1]["forwards"], 9)

    def test_the_reference_alone_is_itself(self):
        alone = self.good("run", "-p", ONCE, "-n", "30", "--temp", "0", "-m", DREAMS)
        told = self.good("run", "-p", ONCE, "-n", "30", "--temp", "0", *PAIR, "--space", "tokens", "--reference", "1",
                         "--weights", "fixed:0,1")
        self.assertEqual(alone, told)
        why = self.good("run", "-p", ONCE, "-n", "3", "--temp", "0", *PAIR, "--space", "tokens", "--why", "--json",
                        "--weights", "uniform")
        self.assertEqual(why.count('"first"'), 6)

    def test_members_that_share_the_references_vocabulary_need_no_map(self):
        args = ("-m", STORIES, "-m", XS, "-m", DREAMS, "--space", "tokens", "--reference", "0")
        told = self.weigh_short(*args, "--weights", "fixed:0.5,0.5,0")
        plain = self.weigh_short(*SHARED, "--weights", "fixed:0.5,0.5")
        self.assertAlmostEqual(told["objective"], plain["objective"], places=12)

    def test_what_cannot_be(self):
        tokens = ("-p", SHORT, *PAIR, "--space", "tokens")
        self.bad(2, "weigh", *tokens, "--reference", "nobody", says=["--reference", "nobody", "stories260K"])
        self.bad(2, "weigh", *tokens, "--align", "mind", says="did you mean 'mined'?")
        self.bad(2, "weigh", *tokens, "--feed", "tokens", says="--feed")
        self.bad(2, "run", *tokens, "--reference", "0", "--tokenizer", "1", says=["reference 'stories260K'"])
        self.bad(2, "score", *tokens, "--per-byte", self.folder / "x", says="--space bytes")
        for feed in ("text", "translated"):
            self.bad(1, "weigh", "-p", TALE * 6, *PAIR, "--space", "tokens", "-c", "128", "--feed", feed,
                     says="context")
        done = self.run_program("weigh", "-p", ONCE, *PAIR, "--align", "exact")
        self.assertIn(b"--align does nothing without --space tokens", done.stderr)


if __name__ == "__main__":
    unittest.main()
