"""Goal: a conversation from a pipe and on a terminal: a line is a message, commands, templates, Ctrl-C."""
import json
import os
import pty
import select
import signal
import subprocess
import time
import unittest

from cli_support import DREAMS, PROGRAM, STORIES, Program, without_models

ONE = ("-m", STORIES, "--temp", "0", "-n", "12", "-c", "400", "-t", "1")
LINES = b"Tell me of a dog.\nAnd of a cat?\n"


@without_models
class Pipe(Program):
    def talk(self, *args, stdin=LINES):
        return [json.loads(line) for line in self.good("chat", *args, "--json", stdin=stdin).splitlines()]

    def test_a_line_is_a_message(self):
        out = self.good("chat", *ONE, stdin=LINES)
        one, two = self.talk(*ONE)
        self.assertEqual(out, one["text"] + "\n" + two["text"] + "\n")
        self.assertTrue(one["text"] and two["text"])
        self.assertEqual([one["message"], two["message"]], [0, 2])
        self.assertGreater(two["usage"]["prompt_tokens"], one["usage"]["prompt_tokens"])
        for reply in (one, two):
            self.assertIn(reply["finish"], ("end", "length", "stop"))
            self.assertEqual(reply["bytes"], len(reply["text"].encode()))
            self.assertAlmostEqual(sum(m["weight"] for m in reply["members"]), 1)
            self.assertLessEqual(reply["usage"]["completion_tokens"], 12)

    def test_a_pack(self):
        one, two = self.talk(*ONE, "-m", DREAMS)
        self.assertEqual(len(one["members"]), 2)
        self.assertEqual([one, two][0]["text"], self.talk(*ONE, "-m", DREAMS)[0]["text"])

    def test_lines(self):
        # Blank lines are none, \r goes, the last line needs no end, // is a slash.
        one = self.talk(*ONE, stdin=b"\n  \nTell me of a dog.\r\n\n")
        self.assertEqual(len(one), 1)
        self.assertEqual(one[0]["text"], self.talk(*ONE, stdin=b"Tell me of a dog.")[0]["text"])
        slash = self.talk(*ONE, stdin=b"//help me")
        self.assertEqual(len(slash), 1)
        self.assertEqual(self.good("chat", *ONE, stdin=b""), "")

    def test_system(self):
        plain, = self.talk(*ONE, stdin=b"Hi.")
        told, = self.talk(*ONE, "-sys", "You tell of dogs.", stdin=b"Hi.")
        self.assertGreater(told["usage"]["prompt_tokens"], plain["usage"]["prompt_tokens"])
        # It is conditioned on, and not what is weighed.
        self.assertNotEqual(told["members"][0]["bits_per_byte"], plain["members"][0]["bits_per_byte"])

    def test_commands(self):
        first, again = self.talk(*ONE, stdin=b"Tell me of a dog.\n/reset\nTell me of a dog.\n/quit\nNo more.\n")
        self.assertEqual((first["text"], first["message"]), (again["text"], again["message"]))
        done = self.run_program("chat", *ONE, "--why", stdin=b"/weights\n/why\nHi.\n/weights\n/why\n/help\n")
        error = done.stderr.decode()
        self.assertEqual(done.returncode, 0, error)
        for words in ("no weights yet", "no reply yet", "bits/byte", "piece", "/reset"):
            self.assertIn(words, error)
        why, = self.talk(*ONE, "--why", stdin=b"Hi.")
        self.assertEqual("".join(p["text"] for p in why["why"]), why["text"])
        self.bad_talk(2, b"/nosuch\n", "there is no /nosuch")

    def bad_talk(self, code, stdin, says, *args):
        done = self.run_program("chat", *ONE, *args, stdin=stdin)
        self.assertEqual(done.returncode, code, done.stderr)
        errors = [line for line in done.stderr.decode().splitlines() if line.startswith("packllm: error: ")]
        self.assertEqual(len(errors), 1, done.stderr)
        self.assertIn(says, errors[0])

    def test_bad_input(self):
        self.bad_talk(1, b"a\xff\n", "not valid UTF-8: byte 0xff at offset 1")
        self.bad_talk(1, b"a\0b\n", "NUL")
        self.bad_talk(1, b"dog " * 2000, "whose context holds 400")
        self.bad_talk(2, b"x\n", "there is no chat template 'nosuch'; there are ", "--chat-template", "nosuch")
        self.bad(2, "chat", "x", says="x")
        self.bad(2, "chat", "-p", "x", says="-p")
        self.bad(2, "chat", "-m", "%s,chat-template=" % STORIES, says="a template's name")

    def test_templates(self):
        self.assertIn("no chat template", self.run_program("chat", *ONE, stdin=b"").stderr.decode())
        done = self.run_program("chat", *ONE, "--chat-template", "llama2", stdin=b"")
        self.assertEqual(done.stderr, b"")
        llama, = self.talk(*ONE, "--chat-template", "llama2", stdin=b"Hi.")
        plain, = self.talk(*ONE, stdin=b"Hi.")
        self.assertNotEqual(llama["usage"]["prompt_tokens"], plain["usage"]["prompt_tokens"])
        # A member's own word is the last one; packs in files have it, too.
        own, = self.talk("--chat-template", "plain", "-m", "%s,chat-template=llama2" % STORIES, *ONE[2:], stdin=b"Hi.")
        self.assertEqual(own["text"], llama["text"])
        pack = self.folder / "pack.ini"
        pack.write_text("[s]\nmodel = %s\nchat-template = llama2\n" % os.path.abspath(STORIES))
        packed, = self.talk("--pack", pack, *ONE[2:], stdin=b"Hi.")
        self.assertEqual(packed["text"], llama["text"])
        mixed = self.run_program("chat", *ONE, "-m", "%s,chat-template=llama2" % DREAMS, stdin=b"").stderr.decode()
        self.assertIn("chat models and base models in one pack", mixed)


    def test_run_with_one_message(self):
        chat, = self.talk(*ONE, "-sys", "You tell of dogs.", stdin=b"Hi.")
        run = self.good_json("run", *ONE, "-sys", "You tell of dogs.", "-p", "Hi.")
        self.assertEqual((run["text"], run["usage"]), (chat["text"], chat["usage"]))
        llama, = self.talk(*ONE, "--chat-template", "llama2", stdin=b"Hi.")
        self.assertEqual(self.good("run", *ONE, "--chat-template", "llama2", "-p", "Hi."), llama["text"])


@without_models
class Terminal(Program):
    def setUp(self):
        super().setUp()
        self.main, side = pty.openpty()
        args = ["chat", "-m", str(STORIES), "-c", "500", "-t", "1", "--temp", "0", "-n", "-1", "--ignore-eos",
                "--no-progress", "--chat-template", "chatml"]
        self.child = subprocess.Popen([PROGRAM, *args], stdin=side, stdout=side, stderr=side, env=self.env,
                                      start_new_session=True)
        os.close(side)
        self.addCleanup(os.close, self.main)
        self.addCleanup(self.child.wait)
        self.addCleanup(self.child.kill)
        self.seen = b""

    def wait_for(self, done):
        end = time.monotonic() + 60
        while not done() and time.monotonic() < end:
            if select.select([self.main], [], [], 0.5)[0]:
                try:
                    self.seen += os.read(self.main, 4096)
                except OSError:
                    break
        self.assertTrue(done(), self.seen)

    def say(self, text):
        os.write(self.main, text)

    def test_stop_and_go_on(self):
        self.wait_for(lambda: self.seen.endswith(b"> "))
        self.say(b"Tell me of a dog.\n")
        self.wait_for(lambda: len(self.seen) > 60)
        self.child.send_signal(signal.SIGINT)
        self.wait_for(lambda: self.seen.endswith(b"\n> "))
        self.say(b"/weights\n")
        self.wait_for(lambda: b"bits/byte" in self.seen and self.seen.endswith(b"> "))
        before = len(self.seen)
        self.say(b"And then?\n")
        self.wait_for(lambda: len(self.seen) > before + 40)
        self.child.send_signal(signal.SIGINT)
        self.wait_for(lambda: self.seen.endswith(b"\n> "))
        self.say(b"/nosuch\n")
        self.wait_for(lambda: b"there is no /nosuch" in self.seen and self.seen.endswith(b"> "))
        self.say(b"\x04")
        self.assertEqual(self.child.wait(timeout=30), 0)

    def test_interrupt_between_replies_ends(self):
        self.wait_for(lambda: self.seen.endswith(b"> "))
        self.child.send_signal(signal.SIGINT)
        self.assertEqual(self.child.wait(timeout=30), 130)


if __name__ == "__main__":
    unittest.main()
