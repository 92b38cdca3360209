"""Goal: the routes answer in OpenAI's shapes, streams say what whole replies say, and the numbers are the members'."""
import json
import math
import threading
import time
import unittest

from server_support import ONCE, Served, events, without_models

GREEDY = {"temperature": 0, "max_tokens": 12}


@without_models
class Completions(Served):
    def complete(self, **body):
        return self.server.json("/v1/completions", dict(GREEDY, **body))

    def test_the_models(self):
        self.assertEqual(self.server.json("/health"), {"status": "ok"})
        got = self.server.json("/v1/models")
        self.assertEqual([m["id"] for m in got["data"]], ["pack", "stories260K", "aidreams260K"])
        self.assertEqual(self.server.json("/v1/models/aidreams260K"), got["data"][2])
        self.assertEqual([m["display"] for m in self.server.json("/props")["members"]], [True, False])

    def test_a_reply(self):
        got = self.complete(prompt="Once upon a time")
        self.assertEqual((got["object"], got["model"]), ("text_completion", "pack"))
        # models/README.md: the greedy text of the first member, which here has all the weight.
        self.assertTrue(got["choices"][0]["text"].startswith(", there was a little girl named Lily."))
        self.assertEqual(got["choices"][0]["finish_reason"], "length")
        self.assertEqual(got["usage"]["completion_tokens"], 12)
        self.assertEqual(got["usage"]["total_tokens"], got["usage"]["prompt_tokens"] + 12)
        self.assertAlmostEqual(sum(m["weight"] for m in got["packllm"]["members"]), 1, places=9)

    def test_a_stream_says_the_same(self):
        body = dict(GREEDY, prompt=ONCE, stream=True, logprobs=2, stream_options={"include_usage": True})
        whole = self.complete(prompt=ONCE, logprobs=2)
        status, headers, data = self.server.ask("/v1/completions", body)
        self.assertEqual((status, headers["Content-Type"]), (200, "text/event-stream"))
        got = events(data)
        self.assertEqual(got[-1], "[DONE]")
        self.assertEqual(got[-2]["usage"], whole["usage"])
        self.assertEqual(got[-2]["choices"], [])
        chunks = [e["choices"][0] for e in got[:-2]]
        self.assertEqual("".join(c["text"] for c in chunks), whole["choices"][0]["text"])
        self.assertEqual([c["finish_reason"] for c in chunks if c["finish_reason"]], ["length"])
        for key in ("tokens", "token_logprobs", "top_logprobs", "text_offset"):
            self.assertEqual([v for c in chunks for v in c["logprobs"][key]], whole["choices"][0]["logprobs"][key])
        self.assertTrue(all("weight" in m for m in got[0]["packllm"]["members"]))

    def test_several_prompts_and_choices(self):
        got = self.complete(prompt=["Once upon a time", "One day, Lily"], n=2, temperature=1, seed=5)
        self.assertEqual([c["index"] for c in got["choices"]], [0, 1, 2, 3])
        again = self.complete(prompt=["Once upon a time", "One day, Lily"], n=2, temperature=1, seed=5)
        self.assertEqual([c["text"] for c in got["choices"]], [c["text"] for c in again["choices"]])
        self.assertEqual(len(got["packllm"]["prompts"]), 2)

    def test_ids_are_text(self):
        ids = self.server.json("/tokenize", {"prompt": "Once upon a time"})["tokens"]
        self.assertEqual(ids, [403, 407, 261, 378])
        self.assertEqual(self.server.json("/tokenize", {"content": "Once upon a time"})["tokens"], ids)
        text = self.server.json("/detokenize", {"tokens": ids})
        self.assertEqual(text, {"prompt": "Once upon a time", "content": "Once upon a time"})
        for prompt in (ids, [ids], [1, *ids]):
            self.assertEqual(self.complete(prompt=prompt)["choices"][0]["text"],
                             self.complete(prompt="Once upon a time")["choices"][0]["text"])
        info = self.server.json("/tokenizer_info")
        self.assertEqual(self.server.json("/tokenize", {"prompt": info["eos_token"]})["tokens"], [2])

    def test_stop_and_bias(self):
        got = self.complete(prompt="Once upon a time", stop=[" girl", "x" * 900])["choices"][0]
        self.assertEqual((got["text"], got["finish_reason"]), (", there was a little", "stop"))
        self.assertEqual(self.complete(prompt="Once upon a time", stop=[])["choices"][0]["finish_reason"], "length")
        comma = self.server.json("/tokenize", {"prompt": "a, b"})["tokens"][1]
        got = self.complete(prompt="Once upon a time", logit_bias={str(comma): -100})["choices"][0]["text"]
        self.assertNotIn(",", got)
        got = self.complete(prompt="Once upon a time", max_tokens=3, logit_bias={str(comma): 100})
        self.assertEqual(got["choices"][0]["text"], ",,,")

    def test_weights(self):
        names = ("stories260K", "aidreams260K")
        pinned = self.server.json("/v1/weights", {"prompt": "I drift through a neural forest"})
        self.assertEqual([m["name"] for m in pinned["members"]], list(names))
        got = self.complete(prompt=ONCE, model="pack@" + pinned["id"])
        self.assertEqual([m["weight"] for m in got["packllm"]["members"]], [m["weight"] for m in pinned["members"]])
        for given in ([3, 1], {"aidreams260K": 1, "stories260K": 3}):  # without a prompt
            pinned = self.server.json("/v1/weights", {"packllm": {"weights": given}})
            self.assertEqual([(m["name"], m["weight"]) for m in pinned["members"]], list(zip(names, (0.75, 0.25))))
            got = self.complete(prompt=ONCE, model="pack@" + pinned["id"])
            self.assertEqual([m["weight"] for m in got["packllm"]["members"]], [0.75, 0.25])
        ids = self.server.json("/tokenize", {"prompt": ONCE})["tokens"]
        text, tokens = (self.server.json("/v1/weights", {"prompt": prompt})["members"] for prompt in (ONCE, ids))
        for a, b in zip(text, tokens):
            self.assertAlmostEqual(a["bits_per_byte"], b["bits_per_byte"], delta=1e-3)
        got = self.complete(prompt=ONCE, packllm={"weights": {"aidreams260K": 1, "stories260K": 3}})
        self.assertEqual([m["weight"] for m in got["packllm"]["members"]], [0.75, 0.25])
        got = self.complete(prompt=ONCE, packllm={"members": ["stories260K"]})
        self.assertEqual([m["name"] for m in got["packllm"]["members"]], ["stories260K"])
        alone = self.complete(prompt=ONCE, model="stories260K", logprobs=1)
        pack = self.complete(prompt=ONCE, packllm={"weights": [1, 0]}, logprobs=1)
        self.assertEqual(alone["choices"][0]["text"], pack["choices"][0]["text"])
        for a, b in zip(alone["choices"][0]["logprobs"]["token_logprobs"],
                        pack["choices"][0]["logprobs"]["token_logprobs"]):
            self.assertAlmostEqual(a, b, delta=2e-3)

    def test_chat(self):
        body = {"messages": [{"role": "system", "content": "Be brief."},
                             {"role": "user", "content": [{"type": "text", "text": "Tell a story."}]}],
                "max_completion_tokens": 8, "temperature": 0, "logprobs": True, "top_logprobs": 2}
        whole = self.server.json("/v1/chat/completions", body)
        message = whole["choices"][0]["message"]
        self.assertEqual(message["role"], "assistant")
        entries = whole["choices"][0]["logprobs"]["content"]
        self.assertEqual(b"".join(bytes(e["bytes"]) for e in entries).decode().strip(), message["content"].strip())
        self.assertEqual({len(e["top_logprobs"]) for e in entries}, {2})
        got = events(self.server.ask("/v1/chat/completions", dict(body, stream=True))[2])
        self.assertEqual(got[0]["choices"][0]["delta"]["role"], "assistant")
        self.assertEqual(got[-1], "[DONE]")
        self.assertEqual("".join(e["choices"][0]["delta"].get("content", "") for e in got[:-1]), message["content"])

    def test_a_schema(self):
        schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"],
                  "additionalProperties": False}
        got = self.complete(prompt=ONCE, max_tokens=60,
                            response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})
        self.assertIn(json.loads(got["choices"][0]["text"])["ok"], (True, False))
        self.server.json("/v1/completions", {"prompt": "a", "grammar": "root ::= ("}, status=400)

    def test_many_at_once(self):
        want = self.complete(prompt=ONCE)["choices"][0]["text"]
        got = []

        def one():
            got.append(self.complete(prompt=ONCE)["choices"][0]["text"])
        threads = [threading.Thread(target=one) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(got, [want] * 12)


@without_models
class Known(Served):
    """Completions with echo and logprobs, as lm-eval asks."""

    def echo(self, model, ids, **more):
        body = dict({"model": model, "prompt": [ids], "echo": True, "logprobs": 1, "max_tokens": 1, "temperature": 0,
                     "seed": 1234}, **more)
        return self.server.json("/v1/completions", body)["choices"][0]["logprobs"]

    def check_shape(self, got, n):
        self.assertEqual({len(got[key]) for key in got}, {n + 1})
        self.assertIsNone(got["token_logprobs"][0])
        self.assertIsNone(got["top_logprobs"][0])
        for token, logprob, top in zip(got["tokens"][1:], got["token_logprobs"][1:], got["top_logprobs"][1:]):
            self.assertTrue(math.isfinite(logprob) and logprob <= 1e-9, logprob)
            self.assertEqual(top[token], logprob)

    def test_a_member_alone(self):
        ids = self.server.json("/tokenize", {"prompt": "Once upon a time, there was a little girl named Lily."})["tokens"]
        got = self.echo("stories260K", [1, *ids])
        self.check_shape(got, len(ids) + 1)
        # models/README.md: the mean over the tokens is 0.1001.
        self.assertAlmostEqual(-sum(got["token_logprobs"][1:-1]) / len(ids), 0.1001, delta=0.0005)

    def test_reading_is_libllamas(self):
        """A member alone is read in one go: the mean is that of its perplexity, which libllama's rows give too."""
        text = ONCE + " One day, she saw a big dog. The dog was very happy, and they played all day."
        ids = self.server.json("/tokenize", {"prompt": text})["tokens"]
        for name in ("stories260K", "aidreams260K"):
            own = self.server.json("/v1/completions", {"model": name, "prompt": text, "max_tokens": 1})
            want = math.log(own["packllm"]["members"][0]["perplexity"])
            if name == "stories260K":  # the tokens of /tokenize
                got = self.echo(name, [1, *ids])["token_logprobs"][1:-1]
                self.assertAlmostEqual(-sum(got) / len(got), want, delta=1e-4)
            body = {"model": name, "prompt": text, "echo": True, "logprobs": 1, "max_tokens": 0}
            read = self.server.json("/v1/completions", body)["choices"][0]["logprobs"]["token_logprobs"]
            walked = self.server.json("/v1/completions", dict(body, packllm={"why": True}))
            walked = walked["choices"][0]["logprobs"]["token_logprobs"]
            for a, b in zip(read[1:], walked[1:]):  # libllama's sums differ by how many tokens it is given at once
                self.assertAlmostEqual(a, b, delta=1e-2)

    def test_a_pack(self):
        text = ONCE + " One day, she saw a big dog."
        ids = self.server.json("/tokenize", {"prompt": text})["tokens"]
        running = self.echo("pack", [2, *ids])
        self.check_shape(running, len(ids) + 1)
        pinned = self.echo("pack", ids, packllm={"weights": [1, 0]})
        self.check_shape(pinned, len(ids))
        alone = self.echo("stories260K", ids)
        for a, b in zip(pinned["token_logprobs"][1:], alone["token_logprobs"][1:]):  # in batches of other shapes
            self.assertAlmostEqual(a, b, delta=5e-3)
        self.check_shape(self.echo("pack", ids, packllm={"context_tokens": 10}), len(ids))

    def test_running_weights_are_causal(self):
        begin = self.server.json("/tokenize", {"prompt": ONCE})["tokens"]
        one = self.echo("pack", begin + self.server.json("/tokenize", {"prompt": "She was happy."})["tokens"])
        two = self.echo("pack", begin + self.server.json("/tokenize", {"prompt": "I drift through a forest."})["tokens"])
        for a, b in zip(one["token_logprobs"][1:len(begin)], two["token_logprobs"][1:len(begin)]):
            self.assertAlmostEqual(a, b, delta=1e-9)

    def test_the_sum_is_the_scores(self):
        """The tokens of a text add up to what the pool says of its bytes."""
        fixed = {"weights": [0.6, 0.4]}
        want = self.server.json("/v1/weights", {"prompt": ONCE, "packllm": fixed})["bits_per_byte"] * len(ONCE)
        ids = self.server.json("/tokenize", {"prompt": ONCE})["tokens"]
        got = self.echo("pack", [1, *ids], packllm=fixed)
        self.assertAlmostEqual(-sum(got["token_logprobs"][1:-1]) / math.log(2), want, delta=1e-3 * want)


if __name__ == "__main__":
    unittest.main()
