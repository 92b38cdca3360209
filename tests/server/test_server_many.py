"""Goal: requests at the same time get what they get one by one, also while others leave or are refused; nobody waits
for another's reply; a prompt that begins like an earlier one, and choices of one prompt, give what new ones give."""
import json
import threading
import time
import unittest

from server_support import ONCE, Served, without_models

PROMPTS = ["Once upon a time", ONCE, "The cat sat on the mat and", "I dream of a forest. In the", "Tom and Sue went to the park",
           ONCE + " One day, she", "It was raining", "My mother said that we"]


@without_models
class Many(Served):
    args = ("--parallel", "4", "--space", "bytes")

    def complete(self, prompt, **body):
        return self.server.json("/v1/completions", dict({"prompt": prompt, "max_tokens": 16, "temperature": 0, "logprobs": 2}, **body))

    def together(self, asks):
        got = [None] * len(asks)

        def run(k):
            got[k] = self.complete(**asks[k])
        threads = [threading.Thread(target=run, args=(k,)) for k in range(len(asks))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return got

    def same(self, a, b):
        """Rows depend on their batch by rounding: texts may part only at a near tie."""
        one, two = a["choices"][0]["logprobs"], b["choices"][0]["logprobs"]
        for k, (x, y) in enumerate(zip(one["tokens"], two["tokens"])):
            if x != y:
                best = sorted(one["top_logprobs"][k].values())
                self.assertLess(best[-1] - best[-2], 0.02, (a, b))
                return
            if one["token_logprobs"][k] is not None:
                self.assertAlmostEqual(one["token_logprobs"][k], two["token_logprobs"][k], delta=0.02)
        self.assertEqual(a["choices"][0]["finish_reason"], b["choices"][0]["finish_reason"])
        for x, y in zip(a["packllm"]["members"], b["packllm"]["members"]):
            self.assertAlmostEqual(x["weight"], y["weight"], delta=1e-3)
            self.assertAlmostEqual(x["bits_per_byte"], y["bits_per_byte"], delta=1e-3)

    def leave(self):
        data = json.dumps({"prompt": ONCE * 2, "max_tokens": 90, "n": 4, "temperature": 1, "ignore_eos": True}).encode()
        with self.server.socket() as s:
            s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
            time.sleep(0.15)

    def test_together_as_one_by_one(self):
        asks = [{"prompt": p, "model": m} for p, m in zip(PROMPTS, ["pack", "pack", "stories260K", "pack"] * 2)]
        alone = [self.complete(**ask) for ask in asks]
        leaver = threading.Thread(target=self.leave)
        leaver.start()
        bad = threading.Thread(target=lambda: self.server.ask("/v1/completions", {"prompt": "word " * 600}))
        bad.start()
        for a, b in zip(alone, self.together(asks)):
            self.same(a, b)
        leaver.join()
        bad.join()
        for a, b in zip(alone, self.together(asks)):
            self.same(a, b)
        until = time.time() + 3
        while self.server.metric("sessions_active") > 0 and time.time() < until:
            time.sleep(0.02)
        self.assertEqual(self.server.metric("sessions_active"), 0)

    def test_members_and_weights_together(self):
        asks = [{"prompt": ONCE, "packllm": {"members": ["stories260K"]}}, {"prompt": ONCE, "packllm": {"weights": [0.5, 0.5]}},
                {"prompt": ONCE, "model": "aidreams260K"}, {"prompt": ONCE, "echo": True}, {"prompt": ONCE, "echo": True, "max_tokens": 1}]
        alone = [self.complete(**ask) for ask in asks]
        for _ in range(2):
            for a, b in zip(alone, self.together(asks)):
                self.same(a, b)

    def test_a_chat_goes_on(self):
        messages = [{"role": "system", "content": "You tell stories."}, {"role": "user", "content": "Hello"}]

        def chat(server_messages):
            return self.server.json("/v1/chat/completions", {"messages": server_messages, "max_tokens": 8, "temperature": 0})
        first = chat(messages)["choices"][0]["message"]
        longer = [*messages, first, {"role": "user", "content": "And then?"}]
        one = chat(longer)
        for prompt in PROMPTS:  # other texts take the slots
            self.complete(prompt, max_tokens=1)
        two = chat(longer)
        for x, y in zip(one["packllm"]["members"], two["packllm"]["members"]):
            self.assertAlmostEqual(x["weight"], y["weight"], delta=1e-3)
            self.assertAlmostEqual(x["bits_per_byte"], y["bits_per_byte"], delta=1e-3)

    def test_choices_of_one_prompt(self):
        body = {"prompt": ONCE, "temperature": 1, "seed": 7, "n": 4}
        many = [c["text"] for c in self.complete(**body)["choices"]]
        one = [self.complete(ONCE, temperature=1, seed=7 + k)["choices"][0]["text"] for k in range(4)]
        self.assertGreaterEqual(sum(a == b for a, b in zip(many, one)), 3, (many, one))

    def test_a_short_one_does_not_wait(self):
        long = threading.Thread(target=lambda: self.complete("It was", model="stories260K", max_tokens=120, ignore_eos=True, logprobs=20))
        long.start()
        while self.server.metric("sessions_active") == 0 and long.is_alive():
            time.sleep(0.002)
        before = self.server.metric("completion_tokens_total")
        self.complete("Once", max_tokens=1)
        if not long.is_alive():
            self.skipTest("the long request was written too fast")
        self.assertLess(self.server.metric("completion_tokens_total") - before, 121)
        long.join()


if __name__ == "__main__":
    unittest.main()
