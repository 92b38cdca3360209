"""--grammar-file and --json-schema: the text is one of the grammar's, JSON that satisfies the schema, whatever the seed;
what cannot be obeyed is refused with a reason."""
import json
import unittest

from cli_support import ONCE, PAIR, STORIES, XS, Program, without_models

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 8},
        "age": {"type": "integer", "minimum": -5, "maximum": 120},
        "kind": {"enum": ["cat", "dog", None]},
        "tags": {"type": "array", "items": {"type": "string", "pattern": "^[a-z]{1,3}$"}, "maxItems": 2},
    },
    "required": ["name", "age", "kind"],
}


@without_models
class Grammar(Program):
    def check_schema(self, value):
        self.assertEqual(list(value)[:3], ["name", "age", "kind"])
        self.assertTrue(isinstance(value["name"], str) and 1 <= len(value["name"]) <= 8)
        self.assertTrue(isinstance(value["age"], int) and -5 <= value["age"] <= 120)
        self.assertIn(value["kind"], ["cat", "dog", None])
        if len(value) > 3:
            self.assertEqual(list(value)[3:], ["tags"])
            self.assertLessEqual(len(value["tags"]), 2)
            for tag in value["tags"]:
                self.assertRegex(tag, "^[a-z]{1,3}$")

    def test_fifty_seeds_of_a_schema(self):
        ways = [(*PAIR,), ("-m", STORIES, "-m", XS), (*PAIR, "--choose", "bytes"), ("-m", STORIES, "--top-k", "1"),
                (*PAIR, "--ignore-eos")]
        for seed in range(50):
            told = self.good_json("run", "-t", "1", "-p", "Once upon a time", "-n", "300", "--temp", "1.5", "-s", seed,
                                  "--json-schema", json.dumps(SCHEMA), *ways[seed % len(ways)])
            self.assertEqual(told["finish"], "end", told["text"])
            self.check_schema(json.loads(told["text"]))

    def test_a_schema_from_a_file_and_a_text_that_is_cut(self):
        path = self.folder / "schema.json"
        path.write_text(json.dumps({"type": "array", "items": {"type": "string"}, "minItems": 50}))
        told = self.good_json("run", "-t", "1", "-p", ONCE, "-n", "20", "-m", STORIES, "--json-schema", "@%s" % path)
        self.assertEqual((told["finish"], told["usage"]["completion_tokens"]), ("length", 20))
        self.assertTrue(told["text"].startswith("["))

    def test_a_grammar(self):
        path = self.folder / "list.gbnf"
        path.write_text('root ::= item{2,4}\nitem ::= "- " [a-z]+ " "? [é-ü] "\\n"\n')
        for args in ((), ("--choose", "bytes"), ("--why",)):
            told = self.good_json("run", "-t", "1", "-p", ONCE, "-n", "400", "-s", "3", *PAIR, "--grammar-file", path, *args)
            if told["finish"] == "end":
                self.assertRegex(told["text"], r"\A(- [a-z]+ ?[é-ü]\n){2,4}\Z")
        path.write_text('root ::= ""')
        told = self.good_json("run", "-t", "1", "-p", ONCE, *PAIR, "--grammar-file", path)
        self.assertEqual((told["text"], told["finish"]), ("", "end"))

    def test_what_is_refused(self):
        run = ("run", "-t", "1", "-p", ONCE, "-m", STORIES)
        path = self.folder / "bad.gbnf"
        path.write_text('root ::= "a"\n  | x\n')
        self.bad(2, *run, "--grammar-file", path, says=["line 2, column 3", "expected"])
        self.bad(2, *run, "--grammar-file", path, "--json-schema", "{}", says="give up one")
        self.bad(1, *run, "--grammar-file", self.folder / "none", says="cannot open")
        self.bad(2, *run, "--json-schema", "{", says=["JSON schema", "line 1"])
        self.bad(2, *run, "--json-schema", '{"properties":{"a":{"not":{}}}}', says=["#/properties/a", "'not' is not supported"])
        self.bad(2, *run, "--json-schema", '{"enum":[]}', says="nothing satisfies")
        path.write_bytes(b'root ::= "a"\0')
        self.bad(2, *run, "--grammar-file", path, says="NUL")


if __name__ == "__main__":
    unittest.main()
