"""Goal: the openai package works with the server as it is: plain, streaming, async, errors, retries. Skipped where
the package is not there; ./bootstrap test installs it into the cache folder."""
import asyncio
import json
import os
import pathlib
import sys
import unittest

from server_support import ONCE, Running, Served, without_models

cache = os.environ.get("PACKLLM_CACHE") or pathlib.Path(
    os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "packllm"
sys.path.insert(0, str(pathlib.Path(cache) / "python-clients"))  # before older packages of the system
try:
    import openai
except ImportError as why:
    print("skipped: the openai package is not there:", why)
    sys.exit(77)


@without_models
class OpenAI(Served):
    def setUp(self):
        self.client = openai.OpenAI(base_url="http://127.0.0.1:%d/v1" % self.server.port, api_key="none")
        self.addCleanup(self.client.close)

    def test_models(self):
        self.assertEqual([m.id for m in self.client.models.list()], ["pack", "stories260K", "aidreams260K"])

    def test_completion(self):
        got = self.client.completions.create(model="pack", prompt="Once upon a time", max_tokens=8, temperature=0,
                                             logprobs=2)
        self.assertTrue(got.choices[0].text.startswith(", there was"))
        self.assertEqual(len(got.choices[0].logprobs.tokens), 8)
        self.assertEqual(got.usage.completion_tokens, 8)
        stream = self.client.completions.create(model="pack", prompt="Once upon a time", max_tokens=8, temperature=0,
                                                stream=True)
        self.assertEqual("".join(chunk.choices[0].text for chunk in stream), got.choices[0].text)

    def test_chat(self):
        messages = [{"role": "user", "content": "Tell a story."}]
        whole = self.client.chat.completions.create(model="pack", messages=messages, max_tokens=8, temperature=0,
                                                    logprobs=True, top_logprobs=2)
        self.assertEqual(whole.choices[0].message.role, "assistant")
        self.assertEqual(len(whole.choices[0].logprobs.content[0].top_logprobs), 2)
        stream = self.client.chat.completions.create(model="pack", messages=messages, max_tokens=8, temperature=0,
                                                     stream=True, stream_options={"include_usage": True})
        chunks = list(stream)
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        self.assertEqual(text, whole.choices[0].message.content)
        self.assertEqual(chunks[-1].usage.completion_tokens, whole.usage.completion_tokens)

    def test_tools(self):
        """A call, whole and as a stream, and a second round with what the tool said."""
        tools = [{"type": "function", "function": {"name": "time", "parameters": {
            "type": "object", "properties": {"zone": {"enum": ["CET", "UTC"]}}, "required": ["zone"]}}}]
        messages = [{"role": "user", "content": "Tell the time."}]
        asked = {"model": "stories260K", "messages": messages, "tools": tools, "tool_choice": "required", "temperature": 0}
        choice = self.client.chat.completions.create(**asked).choices[0]
        call = choice.message.tool_calls[0]
        self.assertEqual((choice.finish_reason, choice.message.content, call.type, call.function.name),
                         ("tool_calls", None, "function", "time"))
        self.assertIn(json.loads(call.function.arguments)["zone"], ("CET", "UTC"))
        with self.client.chat.completions.stream(**asked) as stream:
            last = stream.get_final_completion().choices[0]
        self.assertEqual(last.message.tool_calls[0].function.arguments, call.function.arguments)
        messages += [choice.message, {"role": "tool", "tool_call_id": call.id, "content": "12:00"}]
        text = self.client.chat.completions.create(**dict(asked, tool_choice="none", max_tokens=8)).choices[0].message
        self.assertIsNone(text.tool_calls)
        self.assertTrue(text.content)
        with self.assertRaises(openai.BadRequestError) as caught:
            self.client.chat.completions.create(**dict(asked, tool_choice="any"))
        self.assertEqual(caught.exception.param, "tool_choice")

    def test_async(self):
        async def go():
            async with openai.AsyncOpenAI(base_url=str(self.client.base_url), api_key="none") as client:
                replies = [client.completions.create(model="stories260K", prompt=ONCE, max_tokens=6, temperature=0)
                           for _ in range(4)]
                return {r.choices[0].text for r in await asyncio.gather(*replies)}
        self.assertEqual(len(asyncio.run(go())), 1)

    def test_errors(self):
        with self.assertRaises(openai.NotFoundError):
            self.client.completions.create(model="nix", prompt="a")
        with self.assertRaises(openai.BadRequestError) as caught:
            self.client.completions.create(model="pack", prompt="a", temperature=-3)
        self.assertEqual(caught.exception.param, "temperature")
        with self.assertRaises(openai.BadRequestError):
            self.client.chat.completions.create(model="pack", messages=[])

    def test_keys(self):
        server = Running("--api-key", "sesame")
        try:
            url = "http://127.0.0.1:%d/v1" % server.port
            with openai.OpenAI(base_url=url, api_key="wrong") as client:
                self.assertRaises(openai.AuthenticationError, client.models.list)
            with openai.OpenAI(base_url=url, api_key="sesame") as client:
                self.assertEqual(len(list(client.models.list())), 3)
        finally:
            server.stop()


if __name__ == "__main__":
    unittest.main()
