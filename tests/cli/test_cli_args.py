"""Goal: the command line is read strictly, says what is wrong in one line, and help, man pages and completion know
every option, as they come from the same table."""
import json
import re
import shutil
import subprocess
import unittest

from cli_support import COMMANDS, Program

WORK = ["run", "weigh", "score", "bench"]


class Help(Program):
    def options(self, command):
        return re.findall(r"--[a-z][a-z-]+", re.search(r'^    %s\) words="(.*)" ;;$' % command,
                                                       self.good("completion", "bash"), re.M).group(1))

    def test_overview_names_every_command(self):
        text = self.good("help")
        for command in COMMANDS:
            self.assertRegex(text, r"(?m)^  %s " % command)
        self.assertEqual(text, self.good("--help"))
        self.assertNotRegex(text, r"yet:\s*\n\n")  # a heading with nothing under it

    def test_a_default_is_that_of_the_command(self):
        for command, epsilon in (("score", "0.0005"), ("run", "0.003"), ("weigh", "0.003"), ("eval", "0.003")):
            self.assertRegex(re.sub(r"\s+", " ", self.good(command, "--help")), r"--epsilon E share[^;]*;? ?default %s; PACKLLM_EPSILON" % epsilon)

    def test_no_line_ends_in_a_space(self):
        for command in COMMANDS:
            self.assertNotRegex(self.good(command, "--help"), r"(?m) $")

    def test_help_of_each_command_mentions_every_option(self):
        for command in COMMANDS:
            text = self.good(command, "--help")
            self.assertEqual(text, self.good("help", command))
            self.assertLessEqual(max(map(len, text.splitlines())), 80)
            for option in self.options(command):
                if option != "--help":
                    self.assertRegex(text, r"(?m)^  (-[a-z]+, )?%s( |$)" % option)
                    self.assertIn("PACKLLM_" + option[2:].upper().replace("-", "_"), re.sub(r"\s+", " ", text))

    def test_contract_of_options(self):
        text = self.good("run", "--help")
        for option in ("-m -c -t -ngl -p -f -n -s -v --space --pool --weights --shrink --tau --tokenizer --choose "
                       "--isolate --log-json --no-progress --memory --temp --top-k --top-p --min-p --repeat-penalty "
                       "--repeat-last-n --presence-penalty --frequency-penalty --ignore-eos --stop --json --why "
                       "--align --feed --mass --reference --rpc --logit-bias --grammar-file --json-schema --logprobs "
                       "--draft --pack --chat-template --system-prompt").split():
            self.assertRegex(text, r"(?m)(^| |,)%s\b" % option)
        for default in ("default 0.8", "default 40", "default 0.95", "default 0.05", "default exact", "default log"):
            self.assertIn(default, re.sub(r"\s+", " ", text))

    def test_man_pages(self):
        for command in COMMANDS:
            page = self.good("help", "--man", command)
            self.assertTrue(page.startswith(".TH "), page[:40])
            for option in self.options(command):
                if option != "--help":
                    self.assertIn(option.replace("-", "\\-"), page)
        self.assertIn(".SH COMMANDS", self.good("help", "--man"))

    @unittest.skipUnless(shutil.which("mandoc") or shutil.which("groff"), "neither mandoc nor groff is here")
    def test_man_pages_are_sound(self):
        tool = ["mandoc", "-T", "lint", "-W", "error"] if shutil.which("mandoc") else \
            ["groff", "-man", "-ww", "-z", "-Tutf8"]
        for command in COMMANDS:
            done = subprocess.run(tool, input=self.good("help", "--man", command).encode(), capture_output=True)
            self.assertEqual((done.returncode, done.stdout + done.stderr), (0, b""))

    @unittest.skipUnless(shutil.which("bash"), "bash is not here")
    def test_completion_completes(self):
        def complete(*words):
            script = self.good("completion", "bash") + (
                '\nCOMP_WORDS=(%s); COMP_CWORD=%d; _packllm; printf "%%s\\n" "${COMPREPLY[@]}"'
                % (" ".join("'%s'" % w for w in words), len(words) - 1))
            done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
            self.assertEqual(done.stderr, "")
            return done.stdout.split()
        self.assertEqual(complete("packllm", "we"), ["weigh"])
        self.assertEqual(complete("packllm", "run", "--top"), ["--top-k", "--top-p"])
        self.assertEqual(complete("packllm", "weigh", "--pool", "l"), ["log", "linear"])
        self.assertEqual(complete("packllm", "models", "pu"), ["pull"])

    def test_version(self):
        self.assertRegex(self.good("version"), r"^packllm \d+\.\d+\.\d+\n$")
        self.assertEqual(self.good("--version"), self.good("version"))
        self.assertRegex(self.good_json("version")["version"], r"^\d+\.\d+\.\d+$")


class Wrong(Program):
    def test_commands(self):
        self.bad(2, says="no command")
        self.bad(2, "wiegh", says="did you mean 'weigh'?")
        self.bad(2, "qqqqq", says="unknown command 'qqqqq'")
        self.bad(2, "help", "socre", says="did you mean 'score'?")
        self.bad(2, "-p", "x", says="a command comes before")

    def test_unknown_options_name_the_nearest(self):
        for wrong, near in {"--tmep": "--temp", "--topk": "--top-k", "--wieghts": "--weights", "--jsn": "--json",
                            "--n-perdict": "--n-predict", "--no-progres": "--no-progress"}.items():
            self.bad(2, "run", wrong, "1", says=["unknown option '%s'" % wrong, "did you mean '%s'?" % near])
        self.bad(2, "run", "--xyzzy=3", says=["unknown option '--xyzzy'", "run --help"])
        self.bad(2, "run", "-q", says="unknown option '-q'")
        self.bad(2, "run", "-n=3", says=["'-n=3'", "behind a space, -n 3"])
        self.bad(2, "run", "-s", "-2", says="neither a whole number from 0 to 18446744073709551615 nor -1")

    def test_option_of_another_command(self):
        self.bad(2, "weigh", "--temp", "1", says=["--temp is not an option of packllm weigh", "run"])
        self.bad(2, "run", "--window", "9", says=["not an option of packllm run", "score"])

    def test_numbers_are_strict(self):
        numbers = {"--temp": "0 to 100", "--top-p": "0 to 1", "--top-k": "0 to 1000000000", "-n": "-1 to 1000000000",
                   "-c": "0 to 16777216", "-t": "0 to 512", "--shrink": "0 to 1000000000", "-ngl": "0 to 9999",
                   "-s": "0 to 18446744073709551615"}
        for option, span in numbers.items():
            for value in ("", " 1", "1 ", "abc", "nan", "NaN", "inf", "-inf", "0x10", "1,5", "--1", "1e", "1e999", "-5",
                          "99999999999999999999999", "1.2.3", "1\n", "+-1", "٣"):
                self.bad(2, "run", "-p", "x", option, value, says=[option + ":", "'", " ".join(span.split())])
        for value in ("1.5", "1e3", "3."):
            self.bad(2, "run", "-p", "x", "-n", value, says="whole number")
        self.bad(2, "run", "-p", "x", "--repeat-penalty", "0", says="0.01 to 100")

    def test_values(self):
        self.bad(2, "run", "--temp", says="--temp needs a value")
        self.bad(2, "run", "--json=1", says="--json takes no value")
        self.bad(2, "run", "--pool", "lgo", says=["log|linear", "did you mean 'log'?"])
        self.bad(2, "run", "stray", says="unexpected argument 'stray'")
        self.bad(2, "run", "-", "-", says="unexpected argument '-'")
        self.bad(2, "run", "-p", "x", "-f", "y", says="only one of")
        self.bad(2, "score", "-p", "abcdef", "--next", says="--json")
        self.bad(2, "score", "-p", "abcdef", "--windows", "3", says="--window W")
        self.bad(2, "bench", "--n-depth", "5,,6", says="--n-depth")
        for value in ("", "0", "16", "1,", "8;9", "-1", "1e1"):
            self.bad(2, "bench", "--parallel", value, says=["--parallel", "1 to 15"])

    def test_later_options_say_so(self):
        for option in ("-hf", "--hf-repo", "--rpc", "--draft"):
            self.bad(2, "run", option, says="%s is not in this version yet" % option.split("=")[0])
        for option, value in (("--isolate", "on"),):
            self.bad(2, "weigh", option, value, says="%s %s is not in this version yet" % (option, value))
        self.bad(2, "run", "-p", "x", "-m", "http://localhost:1/v1,model=a", says="not in this version yet")

    def test_weighers_and_pools(self):
        for weigher in ("em", "bayes"):
            self.bad(2, "weigh", "-p", "x", "--weights", weigher, "--pool", "log",
                     says=["--weights " + weigher, "--pool linear"])
        self.bad(2, "weigh", "-p", "x", "--weights", "em", env={"PACKLLM_POOL": "log"}, says="--pool linear")
        self.bad(2, "weigh", "-p", "x", "--weights", "free", "--pool", "linear", says="--pool log")
        for command in ("run", "weigh", "bench"):
            self.bad(2, command, "-p", "x", "--weights", "hedge", says="packllm score")


    def test_environment(self):
        self.bad(2, "run", env={"PACKLLM_TEMP": "hot"}, says=["PACKLLM_TEMP", "'hot'", "0 to 100"])
        self.bad(2, "run", env={"PACKLLM_JSON": "perhaps"}, says="PACKLLM_JSON")
        self.bad(2, "run", env={"PACKLLM_ISOLATE": "on"}, says="not in this version yet")
        # A flag beats its variable; an empty variable is none; a variable of another command is not looked at.
        self.bad(2, "run", "--temp", "-1", env={"PACKLLM_TEMP": "1"}, says="--temp")
        self.assertEqual(json.loads(self.good("version", env={"PACKLLM_JSON": "1"}))["version"],
                         self.good_json("version")["version"])
        self.assertNotIn("{", self.good("version", env={"PACKLLM_JSON": ""}))
        self.assertNotIn("{", self.good("version", env={"PACKLLM_JSON": "0", "PACKLLM_TEMP": "hot"}))

    def test_log_json(self):
        for done in (self.run_program("run", "--log-json", "--nope"),
                     self.run_program("run", "--nope", env={"PACKLLM_LOG_JSON": "yes"})):
            line = json.loads(done.stderr)
            self.assertEqual((done.returncode, line["level"]), (2, "error"))
            self.assertIn("--nope", line["message"])

    def test_terminal_controls_in_errors_are_harmless(self):
        self.assertNotIn("\x1b", self.bad(1, "run", "-p", "x", "-m", "evil\x1b[2J.gguf"))


if __name__ == "__main__":
    unittest.main()
