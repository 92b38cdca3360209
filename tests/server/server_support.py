"""What the tests of the server share: a server of tiny models on a free port, and ways to ask it."""
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

PROGRAM = os.environ.get("PACKLLM", "build/packllm")
SHARED = pathlib.Path(os.environ.get("PACKLLM_SHARED", "../shared"))
STORIES = SHARED / "models" / "stories260K.gguf"
XS = SHARED / "models" / "llama2xs260K.gguf"
DREAMS = SHARED / "models" / "aidreams260K.gguf"
ONCE = "Once upon a time, there was a little girl named Lily. She loved to play outside."

without_models = unittest.skipIf(
    os.environ.get("PACKLLM_LLAMA") == "off" or not STORIES.is_file(),
    "this build has no libllama, or the tiny models are not there")


class Running:
    """A server; its log is read from a file."""

    def __init__(self, *args, models=(STORIES, DREAMS), env=None, ready=True):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="packllm-server-"))
        keep = {k: v for k, v in os.environ.items() if not k.startswith(("PACKLLM", "LLAMA_", "XDG_"))}
        self.env = dict(keep, HOME=str(self.folder), PACKLLM_FETCH_PIP="false", **(env or {}))
        words = [PROGRAM, "serve", "--port", "0", "-t", "1"]
        for model in models:
            words += ["-m", str(model)]
        self.log_path = self.folder / "log"
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen([*words, *map(str, args)], stdout=log, stderr=log, env=self.env)
        self.port = int(self.wait(r"listening on \S+:(\d+)").group(1))
        if ready:
            self.wait(r"ready")

    def log(self):
        return self.log_path.read_text(errors="replace")

    def wait(self, pattern, seconds=30):
        until = time.time() + seconds
        while time.time() < until:
            found = re.search(pattern, self.log())
            if found:
                return found
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError("not said: " + pattern + "\n" + self.log())

    def ask(self, path, body=None, headers=None, method=None, timeout=60):
        """Status, headers, bytes."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(method or ("GET" if data is None else "POST"), path, data, headers or {})
        reply = connection.getresponse()
        got = reply.status, reply.headers, reply.read()
        connection.close()
        return got

    def json(self, path, body=None, status=200, **more):
        got, _, data = self.ask(path, body, **more)
        assert got == status, (got, data)
        return json.loads(data, parse_constant=lambda text: (_ for _ in ()).throw(ValueError(text)))

    def metric(self, name):
        text = self.ask("/metrics")[2].decode()
        return int(re.search(r"^packllm_" + name + r" (\d+)$", text, re.M).group(1))

    def socket(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(30)
            if code != 0:  # a sanitizer's report is in it
                sys.stderr.write("the server left with %d:\n%s\n" % (code, self.log()[-20000:]))
            return code
        finally:
            if self.process.poll() is None:
                self.process.kill()
            shutil.rmtree(self.folder, ignore_errors=True)


def events(data):
    """The data of an SSE stream, [DONE] left as it is."""
    parts = [line[6:] for line in data.decode().split("\n\n") if line.startswith("data: ")]
    return [part if part == "[DONE]" else json.loads(part) for part in parts]


class Served(unittest.TestCase):
    args = ()
    models = (STORIES, DREAMS)

    @classmethod
    def setUpClass(cls):
        cls.server = Running(*cls.args, models=cls.models)

    @classmethod
    def tearDownClass(cls):
        code = cls.server.stop()
        assert code == 0, code
