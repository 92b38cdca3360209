"""Goal: tools as OpenAI has them: a call satisfies its tool's schema, whole replies and streams agree, auto gives text or
a call, results go back in, weights come from what the user wrote, and what is wrong is refused by name."""
import copy
import json
import unittest

from server_support import STORIES, Served, events, without_models

CHAT = "/v1/chat/completions"
WEATHER = {"type": "function", "function": {
    "name": "get-weather", "description": "Tells the weather.", "strict": True,
    "parameters": {"type": "object", "properties": {"city": {"type": "string", "maxLength": 12}, "unit": {"$ref": "#/$defs/unit"}},
                   "required": ["city", "unit"], "$defs": {"unit": {"enum": ["C", "}F{\""]}}}}}
TIME = {"type": "function", "function": {"name": "time"}}
USER = {"role": "user", "content": "Tell me about the weather."}
NAMED = {"type": "function", "function": {"name": "get-weather"}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "get-weather", "arguments": "{\"city\": \"Rome\"}"}}


def streamed(data):
    """What the deltas of a stream add up to: content, call, finish_reason, role."""
    content, call, finish, roles = None, None, None, []
    for event in events(data)[:-1]:
        choice = event["choices"][0]
        delta = choice["delta"]
        roles += [delta["role"]] if "role" in delta else []
        if delta.get("content") is not None:
            content = (content or "") + delta["content"]
        for part in delta.get("tool_calls", ()):
            if "id" in part:
                assert call is None and part["index"] == 0 and part["type"] == "function", part
                call = dict(part["function"], id=part["id"])
            else:
                call["arguments"] += part["function"]["arguments"]
        finish = choice["finish_reason"] or finish
    assert roles == ["assistant"], roles
    return content, call, finish


@without_models
class Tools(Served):
    args = ("-c", "512")
    models = (STORIES, str(STORIES) + ",name=second,chat-template=gemma")

    def ask(self, status=200, **fields):
        body = dict({"messages": [USER], "tools": [WEATHER, TIME], "max_tokens": 150, "seed": 5, "model": "stories260K"}, **fields)
        return self.server.json(CHAT, body, status)

    def check_call(self, choice, names=("get-weather", "time")):
        self.assertEqual(choice["finish_reason"], "tool_calls", choice)
        self.assertIsNone(choice["message"]["content"])
        (call,) = choice["message"]["tool_calls"]
        self.assertEqual(call["type"], "function")
        self.assertRegex(call["id"], "^call_[0-9a-f]+$")
        self.assertIn(call["function"]["name"], names)
        got = json.loads(call["function"]["arguments"])
        if call["function"]["name"] == "time":
            self.assertEqual(got, {})
        else:
            self.assertEqual(set(got), {"city", "unit"})
            self.assertIsInstance(got["city"], str)
            self.assertLessEqual(len(got["city"]), 12)
            self.assertIn(got["unit"], ("C", "}F{\""))
        return call

    def test_calls_fit_their_schemas(self):
        for model in ("pack", "stories260K", "second"):
            for seed in range(4):
                self.check_call(self.ask(model=model, seed=seed, temperature=1.5, tool_choice="required")["choices"][0])
            for name in ("get-weather", "time"):
                choice = {"type": "function", "function": {"name": name}}
                self.check_call(self.ask(model=model, tool_choice=choice)["choices"][0], (name,))
        for parameters in (None, {}, {"properties": {}}, {"type": "object", "properties": {}}):
            tool = {"type": "function", "function": {"name": "time", "parameters": parameters}}
            self.check_call(self.ask(tools=[tool], tool_choice="required")["choices"][0], ("time",))
        got = self.ask(tool_choice=NAMED, n=3, temperature=1.5, parallel_tool_calls=False)["choices"]
        self.assertEqual(len({self.check_call(choice)["id"] for choice in got}), 3)

    def test_streams_say_the_same(self):
        for fields in ({"tool_choice": "required"}, {"tool_choice": NAMED, "logprobs": True}, {},
                       {"tool_choice": NAMED, "max_tokens": 20}, {"tool_choice": NAMED, "max_tokens": 4},
                       {"tool_choice": NAMED, "max_tokens": 40, "stop": ["\"unit"]}):
            whole = self.ask(**fields)["choices"][0]
            status, _, data = self.server.ask(CHAT, dict(fields, messages=[USER], tools=[WEATHER, TIME], seed=5, stream=True,
                                                         model="stories260K", max_tokens=fields.get("max_tokens", 150)))
            self.assertEqual(status, 200)
            content, call, finish = streamed(data)
            self.assertEqual((content, finish), (whole["message"]["content"], whole["finish_reason"]))
            calls = whole["message"].get("tool_calls")
            self.assertEqual(call and (call["name"], call["arguments"]),
                             calls and (calls[0]["function"]["name"], calls[0]["function"]["arguments"]))
            if "logprobs" in fields:
                told = [entry for event in events(data)[:-1] for entry in event["choices"][0]["logprobs"]["content"]]
                self.assertEqual(told, whole["logprobs"]["content"])

    def test_a_call_that_is_cut(self):
        whole = self.check_call(self.ask(tool_choice=NAMED)["choices"][0])["function"]["arguments"]
        seen = set()
        for n in range(0, 60, 3):
            choice = self.ask(tool_choice=NAMED, max_tokens=n)["choices"][0]
            if choice["finish_reason"] == "tool_calls":
                break
            self.assertEqual(choice["finish_reason"], "length")
            if "tool_calls" in choice["message"]:
                (call,) = choice["message"]["tool_calls"]
                self.assertEqual(call["function"]["name"], "get-weather")
                self.assertTrue(whole.startswith(call["function"]["arguments"]), call)
                seen.add(call["function"]["arguments"] != "")
            else:  # not even its name
                self.assertTrue("{\"name\":\"get-weather\"".startswith("".join(choice["message"]["content"].split())), choice)
                seen.add(None)
        self.assertEqual(seen, {None, True, False})
        choice = self.ask(tool_choice=NAMED, stop="\"unit")["choices"][0]
        self.assertEqual(choice["finish_reason"], "stop")
        self.assertIn("city", choice["message"]["tool_calls"][0]["function"]["arguments"])

    def test_auto(self):
        """Text that does not begin with a brace, the same as where nothing is asked of it; or a call."""
        brace = str(self.server.json("/tokenize", {"prompt": "{"})["tokens"][-1])
        for seed in range(4):
            message = self.ask(seed=seed)["choices"][0]["message"]
            self.assertNotIn("tool_calls", message)
            self.assertFalse(message["content"].lstrip().startswith("{"))
            choice = self.ask(seed=seed, logit_bias={brace: 30})["choices"][0]
            self.check_call(choice)
        free = self.ask(tool_choice="none", messages=[{"role": "system", "content": self.told()}, USER])["choices"][0]
        self.assertEqual(self.ask()["choices"][0], free)

    def told(self):
        lines = [json.dumps(tool["function"], separators=(",", ":"), ensure_ascii=False) for tool in (WEATHER, TIME)]
        return ("You can call these functions:\n" + "".join(line + "\n" for line in lines) + "\nTo call one, reply with only a JSON "
                "object of its name and arguments: {\"name\": <function-name>, \"arguments\": <args-json-object>}. Otherwise reply in "
                "plain text.")

    def test_members_are_told(self):
        """Tools cost prompt tokens, wherever the system's text goes; weights come from what the user wrote."""
        none = self.ask(tool_choice="none", model="pack", max_tokens=1)
        told = self.ask(model="pack", max_tokens=1)
        self.assertGreater(told["usage"]["prompt_tokens"], none["usage"]["prompt_tokens"] + 50)
        self.assertEqual(self.ask(tools=[], model="pack", max_tokens=1)["usage"], none["usage"])
        system = {"role": "developer", "content": "Be brief."}
        own = [{"role": "system", "content": "Be brief.\n\n" + self.told()}, USER]
        self.assertEqual(self.ask(messages=[system, USER], max_tokens=1)["usage"],
                         self.ask(messages=own, tools=None, max_tokens=1)["usage"])

    def test_rounds(self):
        """A result goes back in, as a user's text that the weights do not hear."""
        answer = {"role": "tool", "tool_call_id": "call_1", "content": "22 degrees"}
        call = {"role": "assistant", "content": None, "tool_calls": [CALL]}
        got = self.ask(messages=[USER, call, answer], model="pack", tools=[TIME])
        self.assertIn(got["choices"][0]["finish_reason"], ("stop", "length", "tool_calls"))
        plain = [USER, {"role": "assistant", "content": "{\"name\": \"get-weather\", \"arguments\": {\"city\": \"Rome\"}}"},
                 {"role": "user", "content": "Tool get-weather returned: 22 degrees"}]
        said = self.ask(messages=plain, model="pack", tools=[TIME])
        self.assertEqual(got["usage"]["prompt_tokens"], said["usage"]["prompt_tokens"])
        heard, unheard, alone = ([m["bits_per_byte"] for m in reply["packllm"]["members"]]
                                 for reply in (said, got, self.ask(model="pack", tools=[TIME])))
        for a, b, c in zip(heard, unheard, alone):
            self.assertNotAlmostEqual(a, b, 3)
            self.assertAlmostEqual(b, c, 3)
        both = dict(call, content="Let me see.", tool_calls=[CALL, dict(CALL, id="call_2", function={"name": "time", "arguments": ""})])
        more = [USER, both, dict(answer, content=[{"type": "text", "text": "22"}]), dict(answer, tool_call_id="call_2"), USER]
        plain = [USER, {"role": "assistant", "content": "Let me see.\n" + plain[1]["content"] + "\n{\"name\": \"time\", \"arguments\": {}}"},
                 {"role": "user", "content": "Tool get-weather returned: 22"}, {"role": "user", "content": "Tool time returned: 22 degrees"}, USER]
        self.assertEqual(self.ask(messages=more, tools=None, max_tokens=1)["usage"], self.ask(messages=plain, tools=None, max_tokens=1)["usage"])
        self.check_call(self.ask(messages=more, tools=[TIME], tool_choice="required")["choices"][0], ("time",))

    def refused(self, param, *words, status=400, **fields):
        error = self.ask(status, **fields)["error"]
        self.assertEqual(error["param"], param, error)
        for word in words:
            self.assertIn(word, error["message"])

    def test_wrong_tools(self):
        def tool(**function):
            return [TIME, {"type": "function", "function": dict({"name": "a"}, **function)}]
        self.refused("tools", "an array of functions", tools={})
        self.refused("tools", "129 tools: at most 128", tools=[TIME] * 129)
        for wrong in (3, {}, {"type": "custom", "custom": {}}, {"type": "function", "function": "a"}, {"function": {"name": "a"}}):
            self.refused("tools[1]", "must be {\"type\": \"function\"", tools=[TIME, wrong])
        for name in ("", "a b", "a" * 65, "é", "a\0"):
            self.refused("tools[1].function.name", "1 to 64 letters", tools=tool(name=name))
        self.refused("tools[1].function.name", "must be a string", tools=tool(name=None))
        self.refused("tools", "two of the 'tools' have the name 'time'", tools=tool(name="time"))
        self.refused("tools[1].function.description", "a string", tools=tool(description=3))
        self.refused("tools[1].function.parameters", "an object, a JSON schema", tools=tool(parameters=[]))
        self.refused("tools[1].function.parameters", "type object", tools=tool(parameters={"type": "string"}))
        wrong = {"properties": {"b": {"not": {}}}}
        for stream in (False, True):
            self.refused("tools[1].function.parameters", "'#/properties/b'", "'not' is not supported",
                         tools=tool(parameters=wrong), stream=stream)
        self.refused("tools", "nothing satisfies", tools=tool(parameters={"properties": {"b": False}, "required": ["b"]})[1:],
                     tool_choice="required")
        self.refused("tools", "more than 65536 bytes", tools=tool(parameters={"title": "x" * 70000}))
        self.refused("parallel_tool_calls", "true or false", parallel_tool_calls=3)
        self.refused("functions", "'tools'", status=501, functions=[{"name": "x"}])
        error = self.server.json("/v1/completions", {"prompt": "a", "tools": [TIME]}, 501)["error"]
        self.assertIn("chat", error["message"])

    def test_wrong_choices(self):
        for choice in (3, "any", {}, {"type": "function"}, {"type": "allowed_tools", "function": {"name": "time"}}, []):
            self.refused("tool_choice", "none, auto, required", tool_choice=choice)
        self.refused("tool_choice", "'nix'", tool_choice={"type": "function", "function": {"name": "nix"}})
        for choice in ("required", NAMED):
            self.refused("tool_choice", "no 'tools'", tool_choice=choice, tools=None)
        for choice in ("auto", "required"):
            self.refused("response_format", "'tools' exclude", tool_choice=choice, response_format={"type": "json_object"})
            self.refused("grammar", "'tools' exclude", tool_choice=choice, grammar="root ::= \"a\"")
        self.ask(tool_choice="none", response_format={"type": "json_object"}, max_tokens=1)
        self.ask(response_format={"type": "text"}, max_tokens=1)
        self.ask(tool_choice="auto", tools=None, max_tokens=1)

    def test_wrong_messages(self):
        call = {"role": "assistant", "tool_calls": [CALL]}
        answer = {"role": "tool", "tool_call_id": "call_1", "content": "22"}
        self.refused("messages[1].tool_call_id", "has no such call", messages=[USER, answer])
        self.refused("messages[2].tool_call_id", "'call_2'", messages=[USER, call, dict(answer, tool_call_id="call_2")])
        self.refused("messages[3].tool_call_id", "has no such call", messages=[USER, call, USER, answer])
        self.refused("messages[2].tool_call_id", "a string", messages=[USER, call, dict(answer, tool_call_id=None)])
        self.refused("messages[2].content", "a string or text parts", messages=[USER, call, dict(answer, content=None)])
        self.refused("messages", "the user's or a tool's", messages=[USER, call])
        self.refused("messages[1].content", "a string", messages=[USER, {"role": "assistant", "content": None, "tool_calls": []}, USER])
        for calls in (3, [CALL] * 129):
            self.refused("messages[1].tool_calls", "at most 128 calls", messages=[USER, dict(call, tool_calls=calls), USER])
        for wrong, field in (({}, "name"), ({"name": "a b", "arguments": "{}"}, "name"), ({"name": "a", "arguments": {}}, "arguments")):
            bad = copy.deepcopy(call)
            bad["tool_calls"][0]["function"] = wrong
            self.refused("messages[1].tool_calls[0].function." + field, messages=[USER, bad, answer])
        self.refused("messages[1].role", "'function' is no role", messages=[USER, {"role": "function", "name": "a", "content": "b"}])


if __name__ == "__main__":
    unittest.main()
