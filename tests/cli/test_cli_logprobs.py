"""--logprobs and --logit-bias of run: what is told of a choice, and how a choice is leaned on."""
import math
import unittest

from cli_support import ONCE, PAIR, STORIES, Program, without_models

GREEDY = ("-p", ONCE, "-n", "6", "-t", "1", "--temp", "0")


@without_models
class Logprobs(Program):
    def test_tokens_join_to_the_text_and_the_best_was_taken(self):
        for members in (PAIR, ("-m", STORIES)):
            said = self.good_json("run", *members, *GREEDY, "--logprobs", "5")
            tokens = said["logprobs"]
            self.assertEqual(len(tokens), said["usage"]["completion_tokens"])
            self.assertEqual("".join(token["text"] for token in tokens), said["text"])
            for token in tokens:
                self.assertEqual(len(token["top"]), 5)
                best = [other["logprob"] for other in token["top"]]
                self.assertEqual(best, sorted(best, reverse=True))
                self.assertEqual(token["token"], token["top"][0]["token"])
                self.assertEqual(token["logprob"], best[0])
                self.assertLessEqual(sum(map(math.exp, best)), 1 + 1e-6)

    def test_a_banned_token_is_not_taken_and_a_loved_one_is(self):
        first = self.good_json("run", *PAIR, *GREEDY, "--logprobs", "2")["logprobs"][0]
        second = first["top"][1]
        banned = self.good_json("run", *PAIR, *GREEDY, "--logprobs", "1", "--logit-bias", "%d-inf" % first["token"])
        self.assertEqual(banned["logprobs"][0]["token"], second["token"])
        loved = self.good_json("run", *PAIR, *GREEDY, "--logprobs", "1", "--logit-bias", "%d+50" % second["token"])
        self.assertEqual({token["token"] for token in loved["logprobs"]}, {second["token"]})

    def test_wrong_use(self):
        self.bad(2, "run", *PAIR, *GREEDY, "--logprobs", "2", says="add --json")
        self.bad(2, "run", *PAIR, *GREEDY, "--logprobs", "65", "--json", says="--logprobs")
        for bias in ("x", "3", "3x", "3+", "3+nan", "+1", "99999999999+1"):
            self.bad(2, "run", *PAIR, *GREEDY, "--logit-bias", bias, says="--logit-bias")
        self.bad(2, "run", *PAIR, *GREEDY, "--logit-bias", "600+1", says="token 600")


if __name__ == "__main__":
    unittest.main()
