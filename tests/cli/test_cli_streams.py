"""Goal: closed pipes, full disks, terminals and Ctrl-C are met with dignity."""
import json
import os
import re
import select
import signal
import subprocess
import time
import unittest

from cli_support import ONCE, PAIR, PROGRAM, STORIES, Program, without_models

ENDLESS = ("run", "-p", "Once", "-n", "-1", "--ignore-eos", "-m", STORIES, "-c", "512")


class Plain(Program):
    """What needs no model."""

    def test_full_disk(self):
        with open("/dev/full", "w") as full:
            done = subprocess.run([PROGRAM, "help"], stdout=full, stderr=subprocess.PIPE, env=self.env)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr.count(b"\n"), 1)
        self.assertIn(b"No space left", done.stderr)

    def test_closed_pipe_is_quiet(self):
        read, write = os.pipe()
        os.close(read)
        done = subprocess.run([PROGRAM, "help"], stdout=write, stderr=subprocess.PIPE, env=self.env)
        os.close(write)
        self.assertEqual((done.returncode, done.stderr), (1, b""))

    def test_closed_streams(self):
        done = subprocess.run(["sh", "-c", '"$0" help >&-', PROGRAM], stderr=subprocess.PIPE, env=self.env)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"cannot write", done.stderr)
        done = subprocess.run(["sh", "-c", '"$0" run -m x <&-', PROGRAM], stderr=subprocess.PIPE, env=self.env)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"cannot read standard input", done.stderr)
        done = subprocess.run(["sh", "-c", '"$0" run --nope 2>&-', PROGRAM], stdout=subprocess.PIPE, env=self.env)
        self.assertEqual((done.returncode, done.stdout), (2, b""))


    def test_interrupted_while_waiting_for_the_text(self):
        pipe = self.folder / "pipe"
        os.mkfifo(pipe)
        for text in ("-f", pipe), ("-",):
            child = subprocess.Popen([PROGRAM, "weigh", *map(str, text), "-m", "no.gguf"], env=self.env,
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            time.sleep(0.5)
            child.send_signal(signal.SIGINT)
            out, error = child.communicate(timeout=60)  # closes the pipe too, as a shell's Ctrl-C does
            self.assertEqual((child.returncode, out, error), (130, b"", b""))


@without_models
class Streams(Program):
    def start(self, *args, **more):
        return subprocess.Popen([PROGRAM, *map(str, args)], stdin=subprocess.DEVNULL, env=self.env,
                                stderr=subprocess.PIPE, **more)

    def test_reader_that_leaves(self):
        child = self.start(*ENDLESS, "--no-progress", stdout=subprocess.PIPE)
        self.assertTrue(child.stdout.read(5))
        child.stdout.close()
        self.assertEqual(child.wait(timeout=60), 1)
        self.assertEqual(child.stderr.read(), b"")
        child.stderr.close()

    def test_full_disk_in_mid_text(self):
        with open("/dev/full", "w") as full:
            child = self.start(*ENDLESS, "--no-progress", stdout=full)
            error = child.stderr.read()
            self.assertEqual(child.wait(timeout=60), 1)
            child.stderr.close()
        self.assertEqual(error.count(b"\n"), 1)
        self.assertIn(b"No space left", error)

    def interrupt(self, number, code):
        child = self.start(*ENDLESS, "--no-progress", stdout=subprocess.PIPE)
        self.assertTrue(child.stdout.read(5))
        child.send_signal(number)
        out, error = child.communicate(timeout=60)
        self.assertEqual((child.returncode, error), (code, b""))
        out.decode()  # whole characters

    def test_interrupted(self):
        self.interrupt(signal.SIGINT, 130)

    def test_terminated(self):
        self.interrupt(signal.SIGTERM, 143)

    def test_interrupted_before_the_text(self):
        # Wherever it hits: starting, loading, reading the prompt, writing. A fast machine fills the context within
        # a tenth of a second: what had ended before has all it wrote.
        interrupted = 0
        for delay in (0.005, 0.02, 0.05, 0.1):
            child = self.start(*ENDLESS, "--json", stdout=subprocess.PIPE)
            time.sleep(delay)
            child.send_signal(signal.SIGINT)
            out, error = child.communicate(timeout=60)
            if child.returncode == 0:
                self.assertEqual(json.loads(out)["finish"], "length")
                continue
            self.assertIn(child.returncode, (130, -signal.SIGINT), error)  # the latter: before main
            self.assertEqual(out, b"")
            interrupted += 1
        self.assertGreater(interrupted, 1)

    def terminal(self, *args, until=None, number=signal.SIGINT, env=None):
        """Runs on a terminal; sends the signal once `until` was seen. Returns what was shown, and the exit code."""
        master, slave = os.openpty()
        child = subprocess.Popen([PROGRAM, *map(str, args)], stdin=slave, stdout=slave, stderr=slave,
                                 env=dict(self.env, COLUMNS="80", LC_ALL="C.UTF-8", **(env or {})),
                                 start_new_session=True)
        os.close(slave)
        shown, sent, end = b"", False, time.time() + 60
        while time.time() < end:
            ready, _, _ = select.select([master], [], [], 1)
            try:
                data = os.read(master, 4096) if ready else b"?"
            except OSError:
                break
            if not ready:
                continue
            if not data:
                break
            shown += data
            if until and not sent and re.search(until, shown):
                sent = True
                child.send_signal(number)
        os.close(master)
        return shown.decode(), child.wait(timeout=60)

    def test_terminal(self):
        shown, code = self.terminal("run", "-p", ONCE, "-n", "5", *PAIR)
        self.assertEqual(code, 0)
        self.assertIn("█", shown)
        self.assertIn("\x1b[36m", shown)
        self.assertTrue(shown.endswith("\r\n"))
        for line in re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;]*[mK]", "", shown)):
            if "weight" in line or line.startswith(("stories", "aidreams", "pack")):
                self.assertLessEqual(len(line), 80, line)

    def test_no_colour(self):
        shown, code = self.terminal("weigh", "-p", ONCE, *PAIR, "--no-progress", env={"NO_COLOR": "1"})
        self.assertEqual(code, 0)
        self.assertIn("█", shown)
        self.assertNotIn("\x1b[3", shown)
        self.assertNotIn("\x1b", self.terminal("weigh", "-p", ONCE, *PAIR, env={"TERM": "dumb"})[0])

    def test_interrupted_on_a_terminal(self):
        shown, code = self.terminal(*ENDLESS, until=rb"pack .*[\s\S]*\n\r?\n.{12,}")
        self.assertEqual(code, 130)
        self.assertTrue(shown.endswith("\n"), shown[-40:])
        self.assertEqual(shown.count("\x1b[36m"), shown.count("\x1b[0m"))


if __name__ == "__main__":
    unittest.main()
