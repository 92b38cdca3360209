"""--pack FILE: members from an INI file; whatever is wrong with one is said with its line."""
import unittest

from cli_support import ONCE, STORIES, XS, Program, without_models


class Pack(Program):
    def write(self, text):
        path = self.folder / "pack.ini"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def refused(self, text, *says, code=2):
        self.bad(code, "weigh", "-p", "x", "--pack", self.write(text), says=["pack.ini", *says])

    @without_models
    def test_members_in_the_order_of_the_file(self):
        (self.folder / "beside.gguf").symlink_to(XS.resolve())
        path = self.write("; two members\n[one]\nmodel = %s\nprior = 3\nc = 128\n\n[two]\nmodel=beside.gguf ; here\ncap = 0.5\n"
                          % STORIES.resolve())
        told = self.good_json("weigh", "-p", ONCE, "--pack", path, "--weights", "exact", "--shrink", "1e6")
        self.assertEqual([m["name"] for m in told["members"]], ["one", "two"])
        self.assertAlmostEqual(told["members"][0]["weight"], 0.75, places=3)
        more = self.good_json("weigh", "-p", ONCE, "--pack", path, "-m", "%s,name=three" % STORIES)
        self.assertEqual([m["name"] for m in more["members"]], ["one", "two", "three"])

    @without_models
    def test_a_byte_order_mark_and_line_ends_of_windows(self):
        path = self.write(b"\xef\xbb\xbf[one]\r\nmodel = %s\r\n" % str(STORIES.resolve()).encode())
        self.assertEqual(self.good_json("weigh", "-p", ONCE, "--pack", path)["members"][0]["name"], "one")

    def test_a_model_that_is_not_there_is_named_with_its_section(self):
        path = self.write("[one]\nmodel = no.gguf\n")
        self.bad(1, "weigh", "-p", "x", "--pack", path, says="%s: [one]: no.gguf: no such file or model" % path)
        self.bad(1, "weigh", "-p", "x", "--pack", self.write("[one]\nmodel = %s\n" % self.folder),
                 says=["pack.ini: [one]:", "directory"])
        self.bad(1, "weigh", "-p", "x", "-m", "no.gguf", says="error: -m no.gguf: no such file")

    def test_remote_members_come_later(self):
        for url in "http://localhost:1/v1", "https://localhost:1/v1":
            self.refused("[a]\nmodel = %s\n" % url, ":2:", "[a]", "not in this version yet")

    @without_models
    def test_domains_weigh(self):
        (self.folder / "sea.txt").write_text("The ship sailed over the stormy ocean. Sailors pulled the ropes. " * 40)
        (self.folder / "kitchen.txt").write_text("Boil the pasta with salt. Chop onions, fry them in butter. " * 40)
        path = self.write("[sea]\nmodel = %s\ndomain = sea.txt\n[kitchen]\nmodel = %s\ndomain = kitchen.txt\n"
                          % (STORIES.resolve(), XS.resolve()))
        for text, more in (("The sailors on the ship saw the ocean.", 0), ("Fry the onions in butter, add salt.", 1)):
            told = self.good_json("weigh", "-p", text, "--pack", path, "--weights", "cbtm")
            self.assertGreater(told["members"][more]["weight"], 0.7)
            self.assertAlmostEqual(sum(m["weight"] for m in told["members"]), 1.0)
        self.bad(2, "weigh", "-p", "x", "-m", STORIES, "--weights", "cbtm", says=["domain = FILE", "stories260K"])
        self.bad(1, "weigh", "-p", "x", "-m", "%s,domain=%s" % (STORIES, self.folder / "no"), "--weights", "cbtm",
                 says="No such file")
        (self.folder / "empty").touch()
        self.bad(1, "weigh", "-p", "x", "-m", "%s,domain=%s" % (STORIES, self.folder / "empty"), "--weights", "cbtm",
                 says="empty")

    @without_models
    def test_a_pack_that_does_not_fit_is_refused_with_numbers(self):
        path = self.write("".join("[m%d]\nmodel = %s\n" % (i, STORIES.resolve()) for i in range(4)))
        error = self.bad(1, "weigh", "-p", ONCE, "--pack", path, "--memory-limit", "10M", says=["MiB", "fewer"])
        self.assertRegex(error, r"needs about \d+ MiB and 10 MiB are allowed")

    @without_models
    def test_members_that_cannot_be_a_pack(self):
        stories = STORIES.resolve()
        self.bad(2, "weigh", "-p", "x", "--pack", self.write("[a]\nmodel = %s\ncap = 0.4\n[b]\nmodel = %s\ncap = 0.5\n"
                                                             % (stories, stories)), says=["caps sum to 0.9", "do not fit"])
        self.bad(2, "weigh", "-p", "x", "--pack", self.write("[a]\nmodel = %s\n" % stories), "-m", "%s,name=a" % XS,
                 says="two members are called 'a'")
        for prior in "0", "-1", "nan", "inf", "":
            self.refused("[a]\nmodel = %s\nprior = %s\n[b]\nmodel = %s\nprior = %s\n" % (stories, prior, stories, prior),
                         ":3:", "prior", "above 0")
        for scale in "nan", "-nan", "inf", "-INF", "infinity", "1e999", "2e6":
            self.refused("[a]\nmodel = %s\nlora = %s:%s\n" % (stories, stories, scale), ":3:", "FILE:SCALE")

    def test_what_is_wrong_is_named(self):
        self.bad(1, "weigh", "-p", "x", "--pack", self.folder / "no.ini", says=["no.ini", "No such file"])
        self.bad(1, "weigh", "-p", "x", "--pack", self.folder, says="directory")
        self.refused("", "no members")
        self.refused("# nothing\n", "no members")
        self.refused("model = a\n", ":1:", "in a section")
        self.refused("[a]\n[b]\nmodel = x\n", "[a]", "no 'model")
        self.refused("[a]\nmodel = x\nmodel = y\n", ":3:", "two models")
        self.refused("[a]\nmodel = x\n[a]\nmodel = y\n", ":3:", "two sections [a]")
        self.refused("[a]\nmodel = x\npriro = 2\n", ":3:", "did you mean 'prior'?")
        self.refused("[a]\nmodel = x\nzzzz = 2\n", "unknown setting 'zzzz'")
        self.refused("[a]\nmodel = x\nprior = -2\n", ":3:", "above 0")
        self.refused("[a]\nmodel = x\nthis is not a setting\n", ":3:", "key = value")
        self.refused("[a\nmodel = x\n", ":1:", "[NAME]")
        self.refused("[]\nmodel = x\n", ":1:", "[NAME]")
        self.refused("[a]\nmodel =\n", ":2:", "names no file")
        self.refused("[a]\nname = b\nmodel = x\n", ":2:", "section's name")
        self.refused(b"[a]\nmodel = x\0y\n", "NUL")
        self.refused("[a]\nmodel = " + "x" * 5000 + "\n", ":2:", "bytes")
        self.refused("[a]\nmodel = " + "x" * 10_000_000 + "\n", "1 MiB", code=1)
        self.refused("".join("[s%d]\nmodel = x\n" % i for i in range(10000)), "4096 members")


if __name__ == "__main__":
    unittest.main()
