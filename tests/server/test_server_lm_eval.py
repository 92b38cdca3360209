"""Goal: lm-eval's local-completions runs against the server as it is, with the server's tokenizer: what it finds likely
is what `packllm eval` finds likely, for a member alone and for a pack of pinned weights. Skipped where the package is
not there: pip install 'lm-eval[api]'."""
import json
import logging
import os
import pathlib
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import unittest

from server_support import DREAMS, PROGRAM, SHARED, STORIES, Served, without_models

HOME = tempfile.mkdtemp(prefix="packllm-lm-eval-")
os.environ.update(HF_HOME=HOME, HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1",
                  TOKENIZERS_PARALLELISM="false", TQDM_DISABLE="1")
for name in [n for n in os.environ if n.lower() in ("http_proxy", "https_proxy", "all_proxy")]:
    del os.environ[name]
try:
    import lm_eval
    from lm_eval.tasks import TaskManager
except ImportError as why:
    print("skipped: lm-eval is not there (pip install 'lm-eval[api]'):", why)
    sys.exit(77)

COPA = SHARED / "data" / "copa.jsonl"
# Other items and models for a measurement: docs/clients/lm-eval.md.
ITEMS = int(os.environ.get("PACKLLM_LM_EVAL_ITEMS", "30"))
MODELS = tuple(filter(None, os.environ.get("PACKLLM_LM_EVAL_MODELS", "").split(","))) or (STORIES, DREAMS)
WEIGHTS = [0.6, 0.4]
# Picks must be the same but where two choices are nearer than this, in nats. Both add up the same numbers, which
# differ by what libllama makes of other batches: more where activations are rounded with quantised weights. The byte
# models behind `member:` count all ways to spell a text, a member alone through the server its own tokens: for these
# small models on such text that is up to a tenth of a loss of 50 to 100 nats.
TINY = MODELS == (STORIES, DREAMS)
SAME, BYTES = 0.05 if TINY else 0.5, 8

CHOICE = """
task: packllm_choice
dataset_path: json
dataset_kwargs: {data_files: {test: %s}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{query}}"
doc_to_choice: choices
doc_to_target: gold
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
"""
WRITE = """
task: packllm_write
dataset_path: json
dataset_kwargs: {data_files: {test: %s}}
test_split: test
output_type: generate_until
doc_to_text: "{{query}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: [".", "\\n"], do_sample: false, temperature: 0.0, max_gen_toks: 24}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
"""


@without_models
@unittest.skipUnless(COPA.is_file(), "the question sets are not there")
class LmEval(Served):
    args = ("--parallel", "2")
    models = MODELS

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        logging.getLogger("lm_eval").setLevel(logging.ERROR)
        cls.folder = pathlib.Path(HOME)
        cls.addClassCleanup(shutil.rmtree, HOME, True)
        with open(COPA, encoding="utf-8") as file:
            cls.items = [json.loads(line) for line in file][:ITEMS]
        (cls.folder / "copa.jsonl").write_text("".join(json.dumps(i) + "\n" for i in cls.items))
        stories = [{"query": "Once upon a time", "answer": ", there was a little girl named Lily"},
                   {"query": "Once upon a time, there was a little", "answer": " girl named Lily"}]
        (cls.folder / "stories.jsonl").write_text("".join(json.dumps(i) + "\n" for i in stories))
        (cls.folder / "choice.yaml").write_text(CHOICE % (cls.folder / "copa.jsonl"))
        (cls.folder / "write.yaml").write_text(WRITE % (cls.folder / "stories.jsonl"))

    def evaluate(self, task, model, backend="remote", **more):
        url = "http://127.0.0.1:%d/v1/completions" % self.server.port
        got = lm_eval.simple_evaluate(
            model="local-completions",
            model_args=dict({"model": model, "base_url": url, "tokenizer_backend": backend, "tokenized_requests": True,
                             "max_length": 128, "num_concurrent": 2}, **more),
            tasks=[task], task_manager=TaskManager(include_path=str(self.folder), include_defaults=False),
            bootstrap_iters=0, log_samples=True)
        return sorted(got["samples"][task], key=lambda s: s["doc_id"])

    def ours(self, method, *models, mode="prompt"):
        """Losses of each item's choices under one method of `packllm eval`."""
        results = self.folder / "ours.db"
        results.unlink(missing_ok=True)
        words = [PROGRAM, "eval", self.folder / "copa.jsonl", "-t", "1", "--methods", method, "--template", "continue",
                 "--weights-mode", mode, "--results", results]
        for model in models:
            words += ["-m", model]
        subprocess.run(list(map(str, words)), check=True, capture_output=True, timeout=300, env=self.server.env)
        with sqlite3.connect(results) as db:
            rows = dict(db.execute("select id, figures from items"))
        return [json.loads(rows[item["id"]]) for item in self.items]

    def compare(self, samples, ours, what, tolerance):
        same = near = 0
        worst = 0.0
        for sample, figures in zip(samples, ours):
            likely = [float(r[0]) for r in sample["filtered_resps"]]
            losses = figures["nll"]  # of one method
            self.assertEqual(len(likely), len(losses))
            pick, own = likely.index(max(likely)), losses.index(min(losses))
            margin = sorted(losses)[1] - min(losses)
            worst = max(worst, *(abs(-a - b) for a, b in zip(likely, losses)))
            same += pick == own
            near += pick != own and margin < tolerance
        print("%s: %d of %d picks are the same, %d of the others are near ties; largest difference %.3f nats"
              % (what, same, len(ours), near, worst), flush=True)
        self.assertEqual(same + near, len(ours))
        return worst

    def test_a_member_alone(self):
        name = self.server.json("/v1/models")["data"][1]["id"]  # the display member: the server's tokenizer is its own
        samples = self.evaluate("packllm_choice", name)
        worst = self.compare(samples, self.ours("canonical:" + name, *self.models),
                             name + ", canonical", SAME)
        self.assertLess(worst, 0.02 if TINY else 1)
        self.compare(samples, self.ours("member:" + name, *self.models), name + ", bytes", BYTES)

    def test_a_pack_of_pinned_weights(self):
        pinned = self.server.json("/v1/weights", {"packllm": {"weights": WEIGHTS}})["id"]
        samples = self.evaluate("packllm_choice", "pack@" + pinned)
        self.compare(samples, self.ours("fixed:%g/%g" % tuple(WEIGHTS), *self.models), "pack, pinned", SAME)

    def test_a_pack_of_running_weights(self):
        samples = self.evaluate("packllm_choice", "pack")
        self.compare(samples, self.ours("exact", *self.models, mode="running"), "pack, running", SAME)

    def test_generation(self):
        if not TINY:
            self.skipTest("the stories are those of the tiny models")
        for model in (STORIES.stem, "pack"):
            for sample in self.evaluate("packllm_write", model, backend="auto"):
                self.assertEqual(sample["filtered_resps"][0].strip(), sample["target"].strip())


if __name__ == "__main__":
    unittest.main()
