"""Goal: --config sets what the options set, under the environment and the flags; members in it or in a pack file; one
clear error for what is wrong; --open says where the page is, or opens it; the systemd unit is sound."""
import os
import pathlib
import shutil
import subprocess
import tempfile
import time
import unittest

from server_support import DREAMS, PROGRAM, STORIES, Running, without_models

PACKAGING = pathlib.Path(__file__).resolve().parents[2] / "packaging"


class Folder(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="packllm-config-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def write(self, text, name="serve.ini"):
        path = self.folder / name
        path.write_text(text)
        return path

    def failed(self, code, text, *says, args=(), env=None):
        path = self.write(text)
        done = subprocess.run([PROGRAM, "serve", "--config", path, *args], capture_output=True, timeout=30,
                              env=dict(os.environ, **(env or {})))
        error = done.stderr.decode()
        self.assertEqual(done.returncode, code, error)
        self.assertEqual(len([line for line in error.splitlines() if line.startswith("packllm: error: ")]), 1, error)
        for word in says:
            self.assertIn(word, error)

    def test_what_is_wrong(self):
        self.failed(2, "port = 99999999\n", "serve.ini:1: port", "99999999")
        self.failed(2, "\nprot = 1\n", "serve.ini:2: prot", "did you mean 'port'")
        self.failed(2, "shots = 1\n", "serve.ini:1: shots", "no such option")
        self.failed(2, "isolate\n", "serve.ini:1")
        self.failed(2, "config = x.ini\n", "serve.ini:1: config")
        self.failed(2, "memory = perhaps\n", "serve.ini:1: memory", "perhaps")
        self.failed(2, "pack = x.ini\n[a]\nmodel = b.gguf\n", "serve.ini:1: pack")
        self.failed(2, "port = 1\n[a]\nmodle = b.gguf\n", "serve.ini:3", "modle")
        self.failed(2, "host = 0.0.0.0\n", "--host 0.0.0.0", "--api-key-file")
        done = subprocess.run([PROGRAM, "serve", "--config", self.folder / "nix.ini"], capture_output=True, timeout=30)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"nix.ini", done.stderr)
        done = subprocess.run([PROGRAM, "weigh", "--config", "x.ini", "-p", "a"], capture_output=True, timeout=30)
        self.assertEqual(done.returncode, 2)

    def test_a_key_file_that_others_read(self):
        key = self.write("sesame\n", "key")
        key.chmod(0o644)
        self.failed(1, "api-key-file = key\n", str(key), "chmod 600")


@without_models
class Config(Folder):
    def serve(self, path, *args, env=None):
        server = Running("--config", path, *args, models=(), env=env)
        self.addCleanup(server.stop)
        return server

    def test_members_in_it(self):
        path = self.write("parallel = 3\nweights = uniform\nthreads = 7\nport = 1\n[tales]\nmodel = %s\n[dreams]\n"
                          "model = %s\n" % (STORIES, DREAMS))
        server = self.serve(path)
        props = server.json("/props")
        self.assertEqual([m["name"] for m in props["members"]], ["tales", "dreams"])
        self.assertEqual((props["total_slots"], props["weights"]), (3, "uniform"))
        server = self.serve(path, env={"PACKLLM_PARALLEL": "5"})  # the environment beats the file
        self.assertEqual(server.json("/props")["total_slots"], 5)
        server = self.serve(path, "--parallel", "6", env={"PACKLLM_PARALLEL": "5"})
        self.assertEqual(server.json("/props")["total_slots"], 6)

    def test_members_elsewhere(self):
        self.write("[dreams]\nmodel = %s\n" % DREAMS, "members.ini")
        key = self.write("sesame\n", "key")
        key.chmod(0o600)
        server = self.serve(self.write("pack = members.ini\napi-key-file = key\n"))  # beside the file
        self.assertEqual(server.ask("/v1/models")[0], 401)
        got = server.json("/props", headers={"Authorization": "Bearer sesame"})
        self.assertEqual([m["name"] for m in got["members"]], ["dreams"])

    def test_models_as_options(self):
        server = self.serve(self.write("model = %s\nmodel = %s,name=d\n" % (STORIES, DREAMS)))
        self.assertEqual([m["name"] for m in server.json("/props")["members"]], ["stories260K", "d"])

    def test_open(self):
        bare = Running("--open", models=(STORIES,), env={"DISPLAY": "", "PATH": os.environ["PATH"]})
        self.addCleanup(bare.stop)
        bare.wait(r"the page: http://127\.0\.0\.1:%d/" % bare.port)
        opener = self.write("#!/bin/sh\nprintf %s \"$1\" > \"$PACKLLM_TEST_OPENED\"\n", "xdg-open")
        opener.chmod(0o755)
        env = {"DISPLAY": ":9", "PATH": "%s:%s" % (self.folder, os.environ["PATH"]),
               "PACKLLM_TEST_OPENED": str(self.folder / "opened")}
        server = Running("--open", models=(STORIES,), env=env)
        self.addCleanup(server.stop)
        until = time.time() + 10
        while time.time() < until and not (self.folder / "opened").is_file():
            time.sleep(0.05)
        time.sleep(0.1)
        self.assertEqual((self.folder / "opened").read_text(), "http://127.0.0.1:%d/" % server.port)


class Unit(unittest.TestCase):
    @unittest.skipUnless(shutil.which("systemd-analyze"), "systemd-analyze is not there")
    def test_the_unit(self):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="packllm-unit-"))
        self.addCleanup(shutil.rmtree, folder)
        text = (PACKAGING / "packllm.service").read_text()
        # A program that is surely there: the verifier looks for it.
        (folder / "packllm.service").write_text(text.replace("ExecStart=packllm ", "ExecStart=/bin/true ")
                                                .replace("Documentation=", "#"))
        done = subprocess.run(["systemd-analyze", "verify", "--man=no", folder / "packllm.service"],
                              capture_output=True, timeout=60)
        said = [line for line in done.stderr.decode().splitlines() if "packllm" in line]
        self.assertEqual(said, [])

    def test_the_example_is_valid(self):
        done = subprocess.run([PROGRAM, "serve", "--config", PACKAGING / "serve.ini", "--host", "0.0.0.0"],
                              capture_output=True, timeout=30)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn(b"--host 0.0.0.0", done.stderr)  # read to its end, then this


if __name__ == "__main__":
    unittest.main()
