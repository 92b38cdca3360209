"""What the tests of the command line share: running the program in a clean environment, the tiny models."""
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

PROGRAM = os.environ.get("PACKLLM", "build/packllm")
SHARED = pathlib.Path(os.environ.get("PACKLLM_SHARED", "../shared"))
STORIES = SHARED / "models" / "stories260K.gguf"
XS = SHARED / "models" / "llama2xs260K.gguf"
DREAMS = SHARED / "models" / "aidreams260K.gguf"
PAIR = ("-m", STORIES, "-m", DREAMS)
ONCE = "Once upon a time, there was a little girl named Lily. She loved to play outside."
COMMANDS = ["run", "chat", "weigh", "score", "models", "bench", "align", "eval", "calibrate", "serve", "help", "version", "completion"]

without_models = unittest.skipIf(
    os.environ.get("PACKLLM_LLAMA") == "off" or not STORIES.is_file(),
    "this build has no libllama, or the tiny models are not there")


class Program(unittest.TestCase):
    """Each test has an empty home of its own, no PACKLLM_* variables, and no network to fetch models from."""

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="packllm-cli-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        keep = {k: v for k, v in os.environ.items() if not k.startswith(("PACKLLM", "LLAMA_", "XDG_"))}
        self.env = dict(keep, HOME=str(self.folder), TERM="xterm", PACKLLM_FETCH_PIP="false")

    def run_program(self, *args, stdin=b"", env=None, timeout=120, **more):
        return subprocess.run([PROGRAM, *map(str, args)], input=stdin if "stdin_file" not in more else None,
                              stdin=more.pop("stdin_file", None), capture_output=True,
                              env=dict(self.env, **(env or {})), timeout=timeout, **more)

    def good(self, *args, **more):
        """Runs what must succeed; returns stdout."""
        done = self.run_program(*args, **more)
        self.assertEqual(done.returncode, 0, done.stderr.decode(errors="replace"))
        return done.stdout.decode()

    def good_json(self, *args, **more):
        def number(text):
            self.fail("JSON has no " + text)
        return json.loads(self.good(*args, "--json", **more), parse_constant=number)

    def bad(self, code, *args, says=(), **more):
        """Runs what must fail: exit code, nothing on stdout, one line on stderr that holds the words."""
        done = self.run_program(*args, **more)
        error = done.stderr.decode()
        self.assertEqual(done.returncode, code, error)
        self.assertEqual(done.stdout, b"")
        self.assertEqual(len(error.splitlines()), 1, error)
        self.assertTrue(error.startswith("packllm: error: "), error)
        for word in [says] if isinstance(says, str) else says:
            self.assertIn(word, error)
        return error
