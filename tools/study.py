#!/usr/bin/env python3
"""study.py - the study: runs packllm over texts and questions, and writes docs/study.

    tools/study.py [--full | --total SECONDS | --budget a=300,e=60] [--work DIR] [--out DIR]

Parts: a language modelling, b multiple choice, c what the prompt tells (from a and b), d packs that
grow, e ablations, f costs and the independent check. Each part has a budget of seconds. What was measured is kept in the work
folder: the same command goes on where it was stopped, and a part whose budget is spent is not run
again; a greater budget goes on with it. What does not fit is written as "not run in this budget".

Data and tiny models stand in ../shared (or PACKLLM_SHARED), the program in build (or PACKLLM).
Needs NumPy and Matplotlib; without them it makes a virtual environment in the work folder."""
import argparse
import hashlib
import json
import os
import pathlib
import random
import signal
import sqlite3
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHARED = pathlib.Path(os.environ.get("PACKLLM_SHARED", ROOT.parent / "shared")).resolve()
PROGRAM = pathlib.Path(os.environ.get("PACKLLM", ROOT / "build" / "packllm")).resolve()

BUDGETS = {"a": 900, "b": 1000, "d": 800, "e": 700, "f": 200}  # seconds; an hour in all
TEXTS = ["wiki_en", "code_python", "biomed_en", "stories_en", "shakespeare", "math_en", "law_en", "speeches_en",
         "travel_en", "biographies_en", "french", "spanish", "chinese_poetry"]
SETS = ["arc_easy", "openbookqa", "copa", "boolq", "winogrande", "commonsenseqa"]
EXPERTS = ["biomed_en", "code_python", "french", "law_en", "math_en", "shakespeare", "spanish"]
SCALES = [0.5, 1.5, 0.25, 0.75, 1.25, 2, 0.1, 0.4, 0.6, 0.9, 1.1, 1.4, 1.75, 2.5, 0.3, 3]  # of the experts, as further newcomers
PAIR = {"smollm2-135m": None, "gemma-3-270m": None}  # the default pack
GRID = ["fixed:%g/%g" % (k / 10, 1 - k / 10) for k in range(11)]  # of two members: the best with hindsight
TAUS = [0.05, 0.1, 0.25, 0.5, 2, 4]
SHRINKS = [0, 0.3, 3, 10, 30, 100]
SPACES = {"mined+text": ["--align", "mined", "--feed", "text"],
          "mined+translated": ["--align", "mined", "--feed", "translated", "--mass", "paper"],
          "first+text": ["--align", "first", "--feed", "text"]}
FINE = ["--epsilon", "0.0005"]  # texts are read as `packllm score` reads them
LENGTHS = [50, 100, 200, 400, 800, 1600, 4096]
ROUNDS = [5, 15, 30, 60, 90, 120, 150, 200, 250, 300, 400]  # questions of every set, before the next set has more


class Study:
    SPACES = SPACES

    def __init__(self, args):
        self.args = args
        self.work = args.work
        self.work.mkdir(parents=True, exist_ok=True)
        self.spent_file, self.pieces_file = self.work / "spent.json", self.work / "pieces.jsonl"
        self.spent = json.loads(self.spent_file.read_text()) if self.spent_file.exists() else {}
        lines = self.pieces_file.read_text().splitlines() if self.pieces_file.exists() else []
        self.pieces = {p["key"]: p for p in map(json.loads, lines)}
        self.failures = []
        self.members = dict(m.split("=", 1) for m in args.model) if args.model else PAIR

    # ---- running ----

    def budget(self, part):
        return self.args.budgets[part] if part in self.args.parts else 0

    def left(self, part, share=1.0):
        """Seconds left of a part, or of a share of it."""
        pieces = [s for key, s in self.spent.items() if key.split("/")[0] == part]
        return max(0.0, self.budget(part) * share - sum(pieces))

    def run(self, part, piece, arguments, seconds, program=None):
        """(ended, stdout, seconds, MiB): stopped by SIGINT when the seconds are over."""
        command = [*(program or [PROGRAM]), *arguments, *([] if program else ["-t", self.args.threads])]
        command = list(map(str, command))
        started = time.monotonic()
        out, err = self.work / "stdout", self.work / "stderr"
        with open(out, "wb") as o, open(err, "wb") as e:
            child = subprocess.Popen(command, stdout=o, stderr=e, stdin=subprocess.DEVNULL)
            timed, usage = False, None
            try:
                while usage is None:
                    pid, status, used = os.wait4(child.pid, os.WNOHANG)
                    if pid:
                        child.returncode, usage = os.waitstatus_to_exitcode(status), used
                    elif time.monotonic() - started > seconds:
                        late = time.monotonic() - started > seconds + 20
                        child.send_signal(signal.SIGKILL if timed and late else signal.SIGINT)
                        timed = True
                        time.sleep(0.2)
                    time.sleep(0.02)
            finally:
                if usage is None:  # the study itself is being stopped
                    child.kill()
        took = time.monotonic() - started
        self.spent[part + "/" + piece] = self.spent.get(part + "/" + piece, 0) + took
        self.spent_file.write_text(json.dumps(self.spent))
        if child.returncode != 0 and not timed:
            why = (err.read_text(errors="replace").strip().splitlines() or ["exit %d" % child.returncode])[-1]
            print("part %s, %s: %s" % (part, piece, why), flush=True)
            self.failures.append((part, piece, why))
            return False, "", took, 0
        return not timed, out.read_text(), took, usage.ru_maxrss / 1024

    def eval(self, part, piece, files, methods, seconds, members=None, extra=(), limit=None):
        """Runs packllm eval until the seconds are over; the records of what was measured, see records(). With a
        limit, so many questions of each file: a later call with a greater one goes on with the same results."""
        members = self.members if members is None else members
        shape = []
        for name, model in members.items():
            shape += ["-m", "%s,name=%s" % (model, name)] if model else []
        arguments = ["eval", *files, *shape, "--methods", ",".join(methods), *extra]
        results = self.work / ("%s-%s-%s.db" % (part, piece, self.digest(files, arguments[1 + len(files):])))
        done = results.with_suffix(".%d.done" % limit if limit else ".done")
        if not done.exists() and seconds > 1:
            print("part %s, %s: %.0f s" % (part, piece, seconds), flush=True)
            some = ["--limit", limit] if limit else []
            ended, _, _, rss = self.run(part, piece, [*arguments, *some, "--json", "--results", results], seconds)
            if ended:
                done.write_text("%.0f\n" % rss)
        return self.records(results, methods, list(members))

    @staticmethod
    def digest(files, options):
        """Of all that the figures depend on but the models: another command keeps its figures elsewhere."""
        whole = hashlib.sha256(json.dumps([str(o) for o in options]).encode())
        for file in files:
            whole.update(pathlib.Path(file).read_bytes())
        return whole.hexdigest()[:8]

    @staticmethod
    def records(results, methods, members):
        """A dict a question: id, set, gold, bytes of the options, nats[method][option], loss[method] (nats a
        byte of the prompt), weights[method][member], own[method], tokens, reading [member]."""
        if not results.exists():
            return []
        out = []
        with sqlite3.connect("file:%s?mode=ro" % results, uri=True) as db:
            try:
                rows = db.execute("SELECT task, id, figures FROM items").fetchall()
            except sqlite3.OperationalError:
                return []  # stopped before its first question
        for task, name, figures in rows:
            f = json.loads(figures)
            o, n = len(f["bytes"]), len(members)
            out.append({"set": task, "id": name, "gold": f["gold"], "bytes": f["bytes"], "context": f["context"],
                        "nats": {m: f["nll"][k * o:(k + 1) * o] for k, m in enumerate(methods)},
                        "loss": dict(zip(methods, f["loss"])),
                        "weights": {m: dict(zip(members, f["weights"][k * n:(k + 1) * n])) for k, m in enumerate(methods)},
                        "own": dict(zip(methods, f["own"])), "tokens": dict(zip(members, f["tokens"])),
                        "reading": dict(zip(members, f["reading"])), "forward": dict(zip(members, f["forward"])), "seconds": f["seconds"]})
        return out

    def piece(self, part, key, arguments, seconds, files=(), program=None):
        """A command, files behind it, whose JSON is kept; None if it does not fit the seconds."""
        key += "#" + self.digest(files, arguments)
        if key not in self.pieces:
            if seconds <= 1:
                return None
            ended, out, took, rss = self.run(part, key, [*arguments, *files, "--json"], seconds, program)
            if not ended:
                return None
            lines = [json.loads(line) for line in out.splitlines()]
            self.pieces[key] = {"key": key, "result": lines, "seconds": took, "mib": rss}
            with open(self.pieces_file, "a", encoding="utf-8") as file:
                file.write(json.dumps(self.pieces[key]) + "\n")
        return self.pieces[key]

    # ---- texts ----

    def windows(self, name, n, context, scored, first=0.0):
        """(id, context, continuation): n windows, evenly spaced behind the first share of a text, in the order of
        spread_order. Both cuts are at one space between words, where every tokenizer begins a token; in Chinese
        at any character."""
        from study_stats import spread_order
        data = (SHARED / "data" / (name + ".txt")).read_bytes()
        begin, size = int(len(data) * first), context + scored
        spaced = b" " in data[:4000]

        def cut(at):
            def wrong(i):
                if not spaced:
                    return data[i] & 0xc0 == 0x80 or data[i:i + 1].isspace()
                return data[i:i + 1] != b" " or data[i - 1:i].isspace() or data[i + 1:i + 2].isspace()
            while at < len(data) - 1 and (at < 1 or wrong(at)):
                at += 1
            return at
        for k in spread_order(n):
            start = cut(begin + round((len(data) - begin - size - 200) * k / max(1, n - 1)))
            middle = cut(start + context)
            end = cut(middle + scored)
            skip = 1 if spaced else 0
            yield ("%s:%d" % (name, k), data[start + skip:middle].decode(errors="ignore"),
                   data[middle + skip:end].decode(errors="ignore"))

    def write_windows(self, path, windows):
        """A text's window as a question: the continuation is the first option, and the other a full stop, since
        a question has two. Only the first is looked at."""
        with open(path, "w", encoding="utf-8") as file:
            file.write('{"template": "{query}"}\n')
            for name, context, text in windows:
                file.write(json.dumps({"id": name, "query": context, "choices": [text, "."], "gold": 0}) + "\n")
        return path

    def interleaved(self, names, n, *sizes, **more):
        """First window of every text, second of every text, ..."""
        return [w for some in zip(*(list(self.windows(name, n, *sizes, **more)) for name in names)) for w in some]

    def alone(self, kind="member", members=None):
        return ["%s:%s" % (kind, m) for m in (self.members if members is None else members)]

    # ---- parts ----

    def part_a(self):
        a = self.args
        windows = self.interleaved(a.texts, a.windows, a.context, a.scored)
        methods = ["exact", "sim", "greedy", "free", "uniform", "top1", "hedge", "exact:linear", "em", "uniform:linear",
                   "bayes", *self.alone(), *self.alone("canonical"), *(GRID if len(self.members) == 2 else []),
                   *("sim@%g" % t for t in TAUS), *("exact@%g" % s for s in SHRINKS)]
        file = self.write_windows(self.work / "a.jsonl", windows)
        records = self.eval("a", "bytes", [file], methods, self.left("a", 0.65), extra=["--skip-bad", *FINE])
        spaces = {}
        for name, context, text in windows:
            for space, options in SPACES.items():
                whole = self.work / "window.txt"
                whole.write_bytes((context + " " + text).encode())
                shape = [x for n, m in self.members.items() if m for x in ("-m", "%s,name=%s" % (m, n))]
                got = self.piece("a", "%s/%s" % (space, name), ["score", "--context-bytes", len(context.encode()), "--space", "tokens",
                                                                     *options, *shape, "-f"], self.left("a"), [whole])
                if got:
                    spaces.setdefault(space, {})[name] = got["result"][0]["bits_per_byte"]
        return {"methods": methods, "records": records, "spaces": spaces}

    def set_items(self, name, limit, change=None):
        lines = [json.loads(line) for line in (SHARED / "data" / (name + ".jsonl")).read_text(encoding="utf-8").splitlines()]
        lines = [line for line in lines if "id" in line]
        random.Random(17).shuffle(lines)
        return [change(line) if change else line for line in lines[:limit]]

    def write_set(self, path, items):
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(i) + "\n" for i in items), encoding="utf-8")
        return path

    def part_b(self):
        """In rounds, so that the sets are asked evenly whenever the seconds end."""
        a = self.args
        methods = ["exact", "sim", "greedy", "free", "uniform", "uniform:whole", "exact:whole", "top1", "exact:linear", "em",
                   *self.alone(), *self.alone("canonical"), *(GRID if len(self.members) == 2 else []),
                   *("exact@%g" % s for s in (0, 10, 100))]
        files = [self.write_set(self.work / "b" / (name + ".jsonl"), self.set_items(name, a.items)) for name in a.sets]
        records = []
        for limit in [*(n for n in ROUNDS if n < a.items), a.items]:
            records = self.eval("b", "questions", files, methods, self.left("b"), extra=["--skip-bad"], limit=limit)
        return {"methods": methods, "records": records}

    def part_d(self):
        """Packs in the order in which their members join; windows from the last 15 % of each expert's text."""
        a = self.args
        tiny = {p.stem: p for p in sorted((SHARED / "models").glob("*.gguf"))}
        base = {"smollm2-135m": "smollm2-135m"}
        for name in EXPERTS:
            base["expert-" + name] = "smollm2-135m,lora=%s" % (SHARED / "models" / "lora" / (name + ".gguf"))
        order = dict(base, **{"gemma-3-270m": "gemma-3-270m"})
        order.update(("%s-x%g" % (name, scale), "%s:%g" % (base["expert-" + name], scale)) for scale in SCALES for name in EXPERTS)
        if a.model:
            order = dict(self.members, **tiny)
        packs = [dict(list(order.items())[:k]) for k in a.growth]
        texts = EXPERTS if not a.model else ["stories_en"]
        windows = self.interleaved(texts, a.growth_windows, a.growth_context, a.growth_scored, first=0.85)
        file = self.write_windows(self.work / "d.jsonl", windows)
        out = {}
        for k, members in enumerate(packs):
            methods = ["exact", "exact@0", "sim", "uniform", "top1", "em", *self.alone(members=members)]
            cost = sum(len(p) for p in packs[k:])
            out[len(members)] = {"methods": methods, "members": list(members),
                                 "records": self.eval("d", "pack%d" % len(members), [file], methods,
                                                      self.left("d") * len(members) / cost, members,
                                                      ["--skip-bad", "-c", "1024"])}
        return out

    def part_e(self):
        a = self.args
        methods = ["exact", "exact@0", "sim", "greedy", "uniform", "top1", *self.alone(), *self.alone("canonical")]
        texts = a.texts[:6]
        longest = max(a.lengths)
        windows = []
        for name, context, text in self.interleaved(texts, a.windows, longest, a.scored // 2):
            for length in a.lengths:
                data = context.encode()[-length:]
                at = 0 if length >= longest or b" " not in data else data.index(b" ") + 1
                windows.append(("%s/%d" % (name, length), data[at:].decode(errors="ignore"), text))
        file = self.write_windows(self.work / "e.jsonl", windows)
        out = {"length": self.eval("e", "length", [file], methods, self.left("e", 0.4), extra=["--skip-bad"])}
        quick = ["exact", "sim", "uniform", "top1", *self.alone()]
        sets = a.sets[:2]
        filler = (SHARED / "data" / "french.txt").read_text(encoding="utf-8")[2000:2000 + a.filler]
        filler = filler[filler.index(" ") + 1:filler.rindex(" ")]
        jobs = [("irrelevant", s, lambda i: dict(i, query=filler + "\n\nQuestion: " + i["query"] + "\nAnswer:"), ["--template", "{query}"])
                for s in sets]
        jobs += [("plain", s, lambda i: dict(i, query="Question: " + i["query"] + "\nAnswer:"), ["--template", "{query}"]) for s in sets]
        jobs += [("shots%d" % n, sets[0], None, ["--shots", n]) for n in a.shots]
        for k, (what, name, change, extra) in enumerate(jobs):
            file = self.write_set(self.work / ("e-" + what) / (name + ".jsonl"), self.set_items(name, a.ablation_items, change))
            out.setdefault(what, []).extend(self.eval("e", "%s-%s" % (what, name), [file], quick,
                                                      self.left("e") / (len(jobs) - k), extra=[*extra, "--skip-bad"]))
        return out

    def part_f(self):
        shape = [x for n, m in self.members.items() if m for x in ("-m", "%s,name=%s" % (m, n))]
        tool = ["-B", ROOT / "tools" / "independent_check.py"]
        check, a = [sys.executable, *tool], self.args
        return {"transformers": a.transformers and self.piece(
                    "f", "transformers", ["--provider", "transformers", "--tell", "--items", 4, "--questions", max(1, a.check_items // 2),
                                          *(x for path in a.transformers[1:] for x in ("--gguf", path))],
                    self.left("f"), program=[a.transformers[0], *tool]),
                "check": self.piece("f", "check", ["--items", 2 * self.args.check_items, *self.args.check], self.left("f"), program=check),
                "bench": self.piece("f", "bench", ["bench", *shape, *self.args.bench], self.left("f"))}


def need_packages(work):
    """Goes on under a Python that has NumPy and Matplotlib, if need be one made here."""
    try:
        import matplotlib, numpy  # noqa: F401, E401
        return
    except ImportError:
        home = work / "venv"
    if os.environ.get("PACKLLM_STUDY_VENV"):
        sys.exit("study: %s has no NumPy and Matplotlib; delete it to have it made anew" % home)
    if not (home / "done").exists():
        print("making %s with NumPy and Matplotlib from PyPI" % home, flush=True)
        made = subprocess.run([sys.executable, "-m", "venv", home]).returncode == 0
        if not made or subprocess.run([home / "bin" / "pip", "install", "-q", "numpy", "matplotlib"]).returncode != 0:
            sys.exit("study: needs NumPy and Matplotlib (Debian: python3-numpy, python3-matplotlib; or a network for pip)")
        (home / "done").write_text("")
    python = str(home / "bin" / "python")
    os.execve(python, [python, *sys.argv], dict(os.environ, PACKLLM_STUDY_VENV="1"))


def arguments():
    whole = lambda text: [int(x) for x in text.split(",")]  # noqa: E731
    words = lambda text: text.split(",")  # noqa: E731
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--full", action="store_true", help="no limits of time")
    p.add_argument("--total", type=float, help="seconds in all, shared as the budgets are")
    p.add_argument("--budget", default="", help="seconds of some parts: a=300,e=60")
    p.add_argument("--parts", default="abdef", help="parts to run; the others are read from the work folder")
    p.add_argument("--work", type=pathlib.Path, default=ROOT / "build" / "study")
    p.add_argument("--out", type=pathlib.Path, default=ROOT / "docs" / "study")
    p.add_argument("--threads", type=int, default=0)
    p.add_argument("--model", action="append", help="NAME=PATH: another pack than the default one")
    p.add_argument("--texts", type=words, default=TEXTS)
    p.add_argument("--sets", type=words, default=SETS)
    p.add_argument("--windows", type=int, default=20, help="places a text")
    p.add_argument("--context", type=int, default=800)
    p.add_argument("--scored", type=int, default=1600)
    p.add_argument("--items", type=int, default=500, help="questions a set")
    p.add_argument("--ablation-items", type=int, help="questions a set in part e; else as many")
    p.add_argument("--lengths", type=whole, default=LENGTHS, help="bytes of prompt")
    p.add_argument("--filler", type=int, default=600, help="bytes of irrelevant text before a question")
    p.add_argument("--shots", type=whole, default=[0, 2, 5])
    p.add_argument("--growth", type=whole, help="members of the growing packs; from 10 on the experts at other scales (1,2,4,8,9; with "
                   "--full also 121, of which a window takes minutes)")
    p.add_argument("--growth-windows", type=int, default=5)
    p.add_argument("--growth-context", type=int, default=400)
    p.add_argument("--growth-scored", type=int, default=800)
    p.add_argument("--bench", type=words, default=[], help="options for packllm bench")
    p.add_argument("--check", type=words, default=[], help="options for tools/independent_check.py")
    p.add_argument("--transformers", type=words, help="PYTHON,GGUF,...: one that has torch, transformers, gguf and accelerate, and the "
                   "members' files")
    p.add_argument("--check-items", type=int, default=10, help="its items of either kind")
    p.add_argument("--no-page", action="store_true", help="measure only")
    a = p.parse_args()
    a.ablation_items = a.ablation_items or a.items
    a.budgets = dict(BUDGETS)
    if a.total is not None:
        a.budgets = {k: v * a.total / sum(BUDGETS.values()) for k, v in BUDGETS.items()}
    for one in filter(None, a.budget.split(",")):
        part, _, seconds = one.partition("=")
        if part not in BUDGETS or not seconds.replace(".", "").isdigit():
            p.error("--budget %s: PART=SECONDS is wanted, a part of %s" % (one, ", ".join(BUDGETS)))
        a.budgets[part] = float(seconds)
    a.growth = a.growth or [1, 2, 4, 8, 9, *([121] if a.full else [])]
    if a.full:
        a.budgets = dict.fromkeys(BUDGETS, 1e9)
    a.work, a.out = a.work.resolve(), a.out.resolve()
    return a


def main():
    args = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    args.work.mkdir(parents=True, exist_ok=True)
    if not PROGRAM.is_file():
        sys.exit("study: %s is not there: `make` builds it" % PROGRAM)
    if not (SHARED / "data").is_dir():
        sys.exit("study: no data in %s: set PACKLLM_SHARED" % SHARED)
    need_packages(args.work)
    study = Study(args)
    for part in "abdef":
        spent = sum(s for key, s in study.spent.items() if key.split("/")[0] == part)
        print("part %s: budget %s, spent %.0f s" % (part, "none" if args.full else "%.0f s" % args.budgets[part], spent), flush=True)
    results = {part: getattr(study, "part_" + part)() for part in "abdef"}
    if not args.no_page:
        import study_page
        study_page.write(study, results)
    if study.failures:
        sys.exit("study: %d pieces failed, see above" % len(study.failures))


if __name__ == "__main__":
    main()
