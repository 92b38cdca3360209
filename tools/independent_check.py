#!/usr/bin/env python3
"""independent_check.py - the paper's method written down a second time, and packllm's figures beside it.

    tools/independent_check.py [--items N] [--provider numpy|transformers] [--gguf MODEL.gguf]... [--json]

From the formulas alone, sharing no code with packllm: for the tiny models (../shared/models) tokenizer,
transformer, softmax, weights (sim, greedy, exact) and fused loss in NumPy, from their float32
checkpoints, not even through libllama. With --gguf a single larger model's logits come from
llama-cpp-python's bindings (set LLAMA_CPP_LIB_PATH to a libllama if they bring none).

--provider transformers (PyPI: torch, transformers, gguf, accelerate) takes the logits from there, of the
tiny models' and the --gguf models' GGUF files, whose weights it dequantises. The larger models then
answer questions of OpenBookQA, whole text by whole text, one option after the other, as the paper's code
does, and packllm eval answers the same ones, both on one thread.

Items are pairs of sentences with two that could go on from them. What must agree, and how closely:

    a member alone       `packllm eval --methods canonical`: NLL of every ending      0.5 % + 0.02 nats
    lambda               `packllm score --space tokens`: sim, greedy, exact           0.01, greedy equal
    the pack             the same: NLL of every ending                                0.5 % + 0.02 nats
    --gguf, alone        `packllm score`: canonical bits/byte                         0.5 %
    --gguf, transformers `packllm eval --methods canonical,sim`: NLL of every option     2 % + 0.2 nats
                         sim's lambda, from each member's loss per 4 bytes of prompt    0.1
    choices              the ending of the lower NLL, each member and each method     the same, unless
                                                              both are nearer than the tolerance

The tolerance has to hold a KV cache of half precision and float32 sums there, float64 here; with larger
models libllama also rounds what it multiplies quantised weights with to 8 bits, transformers does not,
and packllm's sim reads a loss of bytes, the restated one of canonical tokens. A text may end inside what would
have been a longer token, so its last token counts as the beginning of whatever begins like it, in both.
Exit status 0: all agree; 1: something does not; 2: wrong use."""
import argparse
import json
import math
import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the matrices are tiny
import numpy as np  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHARED = pathlib.Path(os.environ.get("PACKLLM_SHARED", ROOT.parent / "shared")).resolve()
PROGRAM = os.environ.get("PACKLLM", str(ROOT / "build" / "packllm"))
TINY = {"stories260K": "stories260K/stories260K.bin", "llama2xs260K": "llama2xs260K/model.bin"}
RELATIVE, ABSOLUTE, LAMBDA = 5e-3, 0.02, 0.01  # see above
ROUNDED = {"relative": 0.02, "absolute": 0.2}  # of larger models, in transformers
ROUNDED_LAMBDA = 0.1
UNK, BOS, EOS = 0, 1, 2


# ---- tokenizer and transformer, as ../shared/models/README.md describes the files ----

class Pieces:
    def __init__(self, path):
        data, at, self.pieces, self.scores = path.read_bytes(), 4, [], []
        while at < len(data):
            score, size = struct.unpack_from("<fi", data, at)
            self.pieces.append(data[at + 8:at + 8 + size])
            self.scores.append(score)
            at += 8 + size
        self.ids = {}
        for i, piece in enumerate(self.pieces):
            self.ids.setdefault(piece, i)

    def bytes_of(self, i):
        return bytes([i - 3]) if 3 <= i < 259 else self.pieces[i]

    def encode(self, text):
        ids = []
        for c in " " + text:
            raw = c.encode()
            known = self.ids.get(raw)
            ids += [known] if known is not None and known >= 259 else [b + 3 for b in raw]
        while True:
            best = None
            for k in range(len(ids) - 1):
                joined = self.ids.get(self.pieces[ids[k]] + self.pieces[ids[k + 1]])
                if joined is not None and (best is None or self.scores[joined] > best[0]):
                    best = (self.scores[joined], k, joined)
            if best is None:
                return ids
            ids[best[1]:best[1] + 2] = [best[2]]


class Tiny:
    """A llama2.c checkpoint; logits of every position of a sequence."""

    def __init__(self, path):
        raw = path.read_bytes()
        self.dim, hidden, self.layers, self.heads, self.kv, vocab, _ = struct.unpack("<7i", raw[:28])
        values, at = np.frombuffer(raw, "<f4", offset=28).astype(np.float64), 0

        def take(*shape):
            nonlocal at
            size = math.prod(shape)
            at += size
            return values[at - size:at].reshape(shape)
        L, d = self.layers, self.dim
        self.size = d // self.heads
        self.embed = take(vocab, d)
        self.norm1, self.wq = take(L, d), take(L, d, d)
        self.wk, self.wv = take(L, self.kv * self.size, d), take(L, self.kv * self.size, d)
        self.wo, self.norm2 = take(L, d, d), take(L, d)
        self.w1, self.w2, self.w3 = take(L, hidden, d), take(L, d, hidden), take(L, hidden, d)
        self.last = take(d)

    @staticmethod
    def normed(x, weight):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * weight

    def turned(self, x):
        """Rotary positions on neighbouring pairs; x [positions, heads, size]."""
        angle = np.arange(len(x))[:, None] * 10000.0 ** (-np.arange(0, self.size, 2) / self.size)
        c, s = np.cos(angle)[:, None], np.sin(angle)[:, None]
        a, b = x[..., 0::2], x[..., 1::2]
        return np.stack([a * c - b * s, a * s + b * c], -1).reshape(x.shape)

    def logits(self, ids):
        x, n, group = self.embed[ids], len(ids), self.heads // self.kv
        hidden_future = np.triu(np.full((n, n), -np.inf), 1)
        for k in range(self.layers):
            h = self.normed(x, self.norm1[k])
            q = self.turned((h @ self.wq[k].T).reshape(n, self.heads, self.size))
            key = np.repeat(self.turned((h @ self.wk[k].T).reshape(n, self.kv, self.size)), group, 1)
            value = np.repeat((h @ self.wv[k].T).reshape(n, self.kv, self.size), group, 1)
            weights = np.einsum("thd,shd->hts", q, key) / math.sqrt(self.size) + hidden_future
            weights = np.exp(weights - weights.max(-1, keepdims=True))
            weights /= weights.sum(-1, keepdims=True)
            x = x + np.einsum("hts,shd->thd", weights, value).reshape(n, -1) @ self.wo[k].T
            h = self.normed(x, self.norm2[k])
            gate = h @ self.w1[k].T
            x = x + (gate / (1 + np.exp(-gate)) * (h @ self.w3[k].T)) @ self.w2[k].T
        return self.normed(x, self.last) @ self.embed.T


class Transformers:
    """The same from a GGUF file by transformers, in float32."""

    def __init__(self, path):
        os.environ["HF_HUB_OFFLINE"] = "1"
        import torch
        import transformers
        torch.set_num_threads(1)
        transformers.logging.set_verbosity_error()
        path = pathlib.Path(path)
        self.torch, self.where = torch, {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
        self.texts = None
        self.model = transformers.AutoModelForCausalLM.from_pretrained(**self.where, dtype=torch.float32).eval()

    def logits(self, ids):
        with self.torch.no_grad():
            return self.model(self.torch.tensor([list(map(int, ids))])).logits[0].double().numpy()

    def beginning(self, token):
        """The ids whose text begins with this one's."""
        if self.texts is None:
            self.texts = np.array(self.tokenizer().convert_ids_to_tokens(list(range(self.model.config.vocab_size))))
        return np.char.startswith(self.texts, self.texts[token])

    def tokenizer(self):
        import transformers
        return transformers.AutoTokenizer.from_pretrained(**self.where)

    def encoder(self):
        """text -> ids behind the token that begins a text: the tokenizer's own, or else <|endoftext|>."""
        tokenizer = self.tokenizer()

        def encode(text):
            ids = tokenizer(text).input_ids
            own = ids[:1] == [tokenizer.bos_token_id]
            return ids if own else [tokenizer.convert_tokens_to_ids("<|endoftext|>"), *ids]
        return encode


PROVIDERS = {"numpy": lambda name: Tiny(SHARED / "models" / TINY[name]),
             "transformers": lambda name: Transformers(SHARED / "models" / (name + ".gguf"))}


# ---- the method ----

def logp(logits):
    """Text and the end are events, unknown and start are not."""
    rows = np.array(logits, dtype=np.float64)
    rows[:, [UNK, BOS]] = -np.inf
    rows -= rows.max(-1, keepdims=True)
    return rows - np.log(np.exp(rows).sum(-1, keepdims=True))


def pooled(rows, weights):
    """log p(v) of the log-linear pool; rows: [member][position, event]."""
    with np.errstate(invalid="ignore"):
        mix = sum(w * r for w, r in zip(weights, rows) if w > 0)
    mix[:, [UNK, BOS]] = -np.inf
    top = mix.max(-1, keepdims=True)
    return mix - top - np.log(np.exp(mix - top).sum(-1, keepdims=True))


def loss(rows, weights, ids):
    return -pooled(rows, weights)[np.arange(len(ids)), ids].mean()


def sim(rows, ids, tau=1.0):
    nll = np.array([-r[np.arange(len(ids)), ids].mean() for r in rows])
    w = np.exp(-(nll - nll.min()) / tau)
    return w / w.sum()


def greedy(rows, ids):
    nll = [-r[np.arange(len(ids)), ids].mean() for r in rows]
    order = np.argsort(nll, kind="stable")
    current = np.eye(len(rows))[order[0]]
    for j in order[1:]:
        tried = [a * current + (1 - a) * np.eye(len(rows))[j] for a in np.arange(20, -1, -1) / 20]
        current = min(tried, key=lambda w: loss(rows, w, ids))
    return current


def exact(rows, ids):
    """Of two members: golden section, as the loss is convex."""
    low, high, ratio = 0.0, 1.0, (math.sqrt(5) - 1) / 2
    at = lambda a: loss(rows, (a, 1 - a), ids)  # noqa: E731
    while high - low > 1e-7:
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, b) if at(a) < at(b) else (a, high)
    return np.array([low, 1 - low])


METHODS = {"sim": sim, "greedy": greedy, "exact": exact}


def ending_loss(rows, ids, begin, last, weights):
    """NLL in nats of ids[begin:]; of the last token it is that of its bytes as a beginning: the text does not
    say that the token ends there. `last`: the events that begin with its bytes."""
    p = pooled(rows, weights)
    nll = -sum(p[k, ids[k]] for k in range(begin, len(ids) - 1))
    top = p[len(ids) - 1, last].max()
    return nll - (top + math.log(np.exp(p[len(ids) - 1, last] - top).sum()))


# ---- items, and both sides ----

def make_items(n):
    """Questions from plain text: two sentences, and two sentences to go on with, of which one is the text's own.
    By turns from stories, which both models know, and from travel guides, which neither does."""
    pools = []
    for name in ("stories_en", "travel_en"):
        text = (SHARED / "data" / (name + ".txt")).read_text(encoding="utf-8").replace("\n", " ")
        sentences = [s for s in text.split(". ") if 20 < len(s) < 90 and s.isascii() and s == s.strip() and "  " not in s]
        pools.append([sentences[k:k + 4] for k in range(0, len(sentences) - 3, 4)])
    items = []
    for k in range(n):
        first, second, own, other = pools[k % 2][k // 2]
        choices, gold = [own + ".", other + "."], k // 2 % 2
        items.append({"id": "s%d" % k, "query": first + ". " + second + ".", "choices": choices[::-1] if gold else choices,
                      "gold": gold})
    return items


def packllm(*arguments):
    done = subprocess.run([PROGRAM, *map(str, arguments), "--json", "-t", "1"], capture_output=True, check=False)
    if done.returncode != 0:
        sys.exit("independent_check: packllm failed: " + done.stderr.decode(errors="replace"))
    return [json.loads(line) for line in done.stdout.splitlines()]


class Sheet:
    """What was compared: how often, the largest difference, and what did not agree."""

    def __init__(self):
        self.rows, self.wrong = {}, []

    def add(self, what, ours, theirs, tolerance, where):
        off = abs(ours - theirs)
        row = self.rows.setdefault(what, {"compared": 0, "largest": 0.0, "disagree": 0})
        row["compared"] += 1
        row["largest"] = max(row["largest"], off)
        if not off <= tolerance:
            row["disagree"] += 1
            self.wrong.append("%s, %s: packllm %.6g, restated %.6g" % (what, where, ours, theirs))

    def choice(self, what, ours, theirs, where, **tolerance):
        """ours, theirs: NLL of two endings. A tie within the tolerance may fall either way."""
        tie = abs(theirs[0] - theirs[1]) < 2 * near(theirs[0], **tolerance)
        same = (ours[0] < ours[1]) == (theirs[0] < theirs[1])
        self.add(what, 0.0, 0.0 if same or tie else 1.0, 0.5, where)


def near(nats, relative=RELATIVE, absolute=ABSOLUTE):
    return relative * abs(nats) + absolute


def restate(items, models, pieces):
    """[item]: lambda by method, NLL of the endings by method and by member."""
    out = []
    for item in items:
        one = {"lambda": {}, "nll": {}}
        for o, choice in enumerate(item["choices"]):
            prompt, ids = [BOS] + pieces.encode(item["query"]), [BOS] + pieces.encode(item["query"] + " " + choice)
            assert ids[:len(prompt)] == prompt, "the ending begins inside a token"
            targets, begin = np.array(ids[1:]), len(prompt) - 1
            rows = [logp(m.logits(ids[:-1])) for m in models.values()]
            end = pieces.bytes_of(ids[-1])
            last = [v for v in range(3, len(pieces.pieces)) if pieces.bytes_of(v).startswith(end)]
            if o == 0:  # the prompt's rows are the same for both
                solved = [r[:begin] for r in rows]
                weights = {name: f(solved, targets[:begin]) for name, f in METHODS.items()}
                weights.update({name: np.eye(len(models))[k] for k, name in enumerate(models)})
            one["lambda"] = {k: float(w[0]) for k, w in weights.items()}
            for name, w in weights.items():
                one["nll"].setdefault(name, []).append(ending_loss(rows, targets, begin, last, w))
        out.append(one)
    return out


def measure(items, models, folder):
    """The same from packllm: members alone from eval, packs in tokens from score. And the seconds of eval."""
    import sqlite3
    task, results = folder / "items.jsonl", folder / "results.db"
    task.write_text('{"template": "{query}"}\n' + "".join(json.dumps(i) + "\n" for i in items), encoding="utf-8")
    pack = [x for name in models for x in ("-m", SHARED / "models" / (name + ".gguf"))]
    started = time.monotonic()
    packllm("eval", task, *pack, "--methods", "canonical,exact,sim,greedy", "--results", results)
    seconds = time.monotonic() - started
    with sqlite3.connect(results) as db:
        alone = {name: json.loads(f)["nll"] for name, f in db.execute("SELECT id, figures FROM items")}
    out = []
    for item in items:
        one = {"lambda": {}, "nll": {}}
        for k, name in enumerate(models):
            one["nll"][name] = alone[item["id"]][2 * k:2 * k + 2]
        for method in METHODS:
            for choice in item["choices"]:
                got = packllm("score", "-p", item["query"] + " " + choice, "--context-bytes", len(item["query"]),
                              "--space", "tokens", "--weights", method, "--shrink", "0", *pack)[0]
                one["lambda"][method] = got["members"][0]["weight"]
                one["nll"].setdefault(method, []).append(got["bits_per_byte"] * got["bytes"] * math.log(2))
        out.append(one)
    return out, seconds


def check_tiny(n, sheet, provider="numpy"):
    pieces = Pieces(SHARED / "models" / "stories260K" / "tok512.bin")
    models = {name: PROVIDERS[provider](name) for name in TINY}
    items = make_items(n)
    started = time.monotonic()
    theirs = restate(items, models, pieces)
    restated_seconds = time.monotonic() - started
    with tempfile.TemporaryDirectory(prefix="packllm-check-") as folder:
        ours, eval_seconds = measure(items, models, pathlib.Path(folder))
    for item, a, b in zip(items, ours, theirs):
        for name in [*models, *METHODS]:
            kind = "NLL, member alone" if name in models else "NLL, " + name
            for o in range(2):
                sheet.add(kind, a["nll"][name][o], b["nll"][name][o], near(b["nll"][name][o]), "%s %s" % (item["id"], name))
            sheet.choice("choice, " + ("member alone" if name in models else name), a["nll"][name], b["nll"][name], item["id"])
            if name in METHODS:
                sheet.add("lambda, " + name, a["lambda"][name], b["lambda"][name], LAMBDA, item["id"])
    inside = sum(0.01 < b["lambda"]["exact"] < 0.99 for b in theirs)
    return {"items": len(items), "inside": inside, "seconds_restated": restated_seconds, "seconds_eval": eval_seconds}


def check_gguf(path, sheet, n_ctx=1024):
    """One model: NLL of a text's canonical tokens behind a context, by llama-cpp-python's bindings."""
    import llama_cpp
    text = (SHARED / "data" / "travel_en.txt").read_text(encoding="utf-8")[3000:3900]
    text = text[text.index(" ") + 1:]
    middle = text.index(" ", 300)
    model = llama_cpp.Llama(model_path=str(path), n_ctx=n_ctx, logits_all=True, verbose=False, n_threads=1)
    started = time.monotonic()
    ids = model.tokenize(text.encode(), add_bos=True, special=False)
    if len(ids) > min(n_ctx, model._model.n_ctx_train()):
        sys.exit("independent_check: %s: the text's %d tokens do not fit its context" % (path, len(ids)))
    begin = len(model.tokenize(text[:middle].encode(), add_bos=True, special=False))
    model.eval(ids)
    rows = np.array(model.scores[:len(ids)], dtype=np.float64)
    seconds = time.monotonic() - started
    vocab, out = model._model.vocab, 1 | 2 | 8  # unknown, unused, control: no events, but for those that end a text
    for i in range(rows.shape[1]):
        if llama_cpp.llama_vocab_get_attr(vocab, i) & out and not llama_cpp.llama_vocab_is_eog(vocab, i):
            rows[:, i] = -np.inf
    rows -= rows.max(-1, keepdims=True)
    rows -= np.log(np.exp(rows).sum(-1, keepdims=True))
    nll = -sum(rows[k - 1, ids[k]] for k in range(begin, len(ids)))
    bits = nll / math.log(2) / len(text[middle:].encode())
    started = time.monotonic()
    got = packllm("score", "-m", path, "-p", text, "--context-bytes", len(text[:middle].encode()))[0]
    member = got["members"][0]
    # The last token is here a whole one, there a beginning.
    sheet.add("bits/byte, " + pathlib.Path(path).stem, member["bits_per_byte"], bits, 0.005 * bits, "travel_en")
    return {"model": pathlib.Path(path).stem, "bytes": len(text[middle:].encode()),
            "bits_per_byte": member["bits_per_byte"], "restated": bits,
            "seconds_restated": seconds, "seconds_score": time.monotonic() - started}


def spent():
    """Seconds of processor of this process and of those that it waited for."""
    return sum(os.times()[:4])


def check_questions(paths, n, sheet):
    """Larger models on questions of four options, by transformers: NLL of every option, sim's lambda and the seconds."""
    lines = (SHARED / "data" / "openbookqa.jsonl").read_text(encoding="utf-8").splitlines()[:n]
    items = [json.loads(line) for line in lines]
    theirs, seconds = [{"nll": [], "loss": []} for _ in items], []
    for path in paths:
        model = Transformers(path)
        encode = model.encoder()
        started = spent()
        for item, out in zip(items, theirs):
            nats = []
            for choice in item["choices"]:
                prompt, ids = encode(item["query"]), encode(item["query"] + " " + choice)
                assert ids[:len(prompt)] == prompt, "the option begins inside a token"
                rows = model.logits(ids)
                rows -= rows.max(-1, keepdims=True)
                rows -= np.log(np.exp(rows).sum(-1, keepdims=True))
                each = -rows[np.arange(len(ids) - 1), ids[1:]]
                paused = spent()
                same = model.beginning(ids[-1])
                started += spent() - paused  # finding strings is no part of the method
                beginning = -np.log(np.exp(rows[-2][same]).sum())
                nats.append(each[len(prompt) - 1:-1].sum() + beginning)
                out["loss"] += [4 * each[:len(prompt) - 1].sum() / len(item["query"].encode())] if len(nats) == 1 else []
            out["nll"].append(nats)
        seconds.append(spent() - started)
    with tempfile.TemporaryDirectory(prefix="packllm-check-") as folder:
        import sqlite3
        task, results = pathlib.Path(folder) / "openbookqa.jsonl", pathlib.Path(folder) / "results.db"
        task.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        started = spent()
        pack = [x for path in paths for x in ("-m", path)]
        packllm("eval", task, *pack, "--methods", "canonical,exact,sim,greedy,uniform", "--template", "continue", "--results", results)
        own = spent() - started
        with sqlite3.connect(results) as db:
            found = {name: json.loads(f) for name, f in db.execute("SELECT id, figures FROM items")}
    for item, b in zip(items, theirs):
        a = found[item["id"]]
        for k, path in enumerate(paths):
            what, n_options = pathlib.Path(path).stem, len(item["choices"])
            ours = a["nll"][n_options * k:n_options * (k + 1)]
            for left, right in zip(ours, b["nll"][k], strict=True):
                sheet.add("NLL, " + what, left, right, near(right, **ROUNDED), item["id"])
            sheet.choice("choice, " + what, ours, b["nll"][k], item["id"], **ROUNDED)
        if len(paths) == 2:
            at = len(paths) + 1  # sim's place among the methods
            restated = 1 / (1 + math.exp(b["loss"][0] - b["loss"][1]))
            sheet.add("lambda, sim in bytes", a["weights"][2 * at], restated, ROUNDED_LAMBDA, item["id"])
    return {"models": [pathlib.Path(path).stem for path in paths], "items": len(items), "seconds_restated": seconds, "seconds_eval": own}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--items", type=int, default=20)
    p.add_argument("--gguf", action="append", default=[], type=pathlib.Path)
    p.add_argument("--provider", choices=PROVIDERS, default="numpy")
    p.add_argument("--questions", type=int, default=10, help="of OpenBookQA, for --gguf with transformers")
    p.add_argument("--tell", action="store_true", help="exit with 0 also where something does not agree")
    p.add_argument("--json", action="store_true")
    args = p.parse_args()
    if args.items < 1:
        p.error("--items: 1 or more are wanted")
    if not (SHARED / "models" / TINY["stories260K"]).is_file():
        p.error("no tiny models in %s: set PACKLLM_SHARED" % SHARED)
    sheet = Sheet()
    large = args.provider == "transformers"
    result = {"provider": args.provider, "tiny": check_tiny(args.items, sheet, args.provider),
              "gguf": [] if large else [check_gguf(path, sheet) for path in args.gguf],
              "questions": check_questions(args.gguf, args.questions, sheet) if large and args.gguf else None}
    result.update(compared=sheet.rows, disagree=sheet.wrong)
    if args.json:
        print(json.dumps(result))
    else:
        for what, row in sheet.rows.items():
            print("%-28s %4d compared, largest difference %.2g, %d disagree" % (what, row["compared"], row["largest"], row["disagree"]))
        for line in sheet.wrong[:20]:
            print("differs: " + line)
        tiny = result["tiny"]
        print("exact lambda inside (0.01, 0.99): %d of %d" % (tiny["inside"], tiny["items"]))
        print("%d items: restated %.2f s (each option, each member, whole), packllm eval %.2f s with its start" % (
            tiny["items"], tiny["seconds_restated"], tiny["seconds_eval"]))
        if result["questions"]:
            print("%(items)d questions: processor seconds restated %(seconds_restated)s, packllm eval %(seconds_eval).1f with its start" % result["questions"])
    return 1 if sheet.wrong and not args.tell else 0


if __name__ == "__main__":
    sys.exit(main())
