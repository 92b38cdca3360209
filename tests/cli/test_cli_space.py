"""--space: members that share a vocabulary are fused in its tokens; one alone is itself in both spaces."""
import unittest

from cli_support import DREAMS, ONCE, PAIR, STORIES, XS, Program, without_models

SHARED = ("-m", STORIES, "-m", XS)
TALE = (ONCE + " One day, she saw a big, shiny ball in the park. She wanted to play with it, but it was too high. "
        "Her mom said, \"Let's ask the man to help us.\" The man was very kind and gave her the ball.")


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
        self.bad(2, "weigh", "-p", ONCE, *PAIR, "--space", "tokens", says=["do not share a vocabulary", "stories260K"])
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


if __name__ == "__main__":
    unittest.main()
