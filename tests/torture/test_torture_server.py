"""Goal: requests of mixed kinds, a third of them broken, for minutes: no crash, no wrong answer to the good ones, memory
and descriptors level. Short by itself; `make torture` runs 2,000 requests in five minutes (TORTURE_REQUESTS,
TORTURE_SECONDS), and with SAN=address,undefined or SAN=thread under sanitizers. TORTURE_SEED draws the kinds."""
import collections
import http.client
import json
import os
import pathlib
import random
import socket
import struct
import sys
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "server"))
from server_support import ONCE, Running, events, without_models  # noqa: E402

REQUESTS = int(os.environ.get("TORTURE_REQUESTS", "120"))
SECONDS = float(os.environ.get("TORTURE_SECONDS", "12"))
SEED = int(os.environ.get("TORTURE_SEED", "1"))
CLIENTS, TIMEOUT = 12, 3
# TSan keeps what it knows of all memory and of every thread there ever was: its own growth is not the server's.
GROWTH = 1.12 if "thread" in os.environ.get("TORTURE_SAN", "") else 1.03
MARGIN = 0.15  # nats between the two likeliest tokens, at every step of a question that is asked
TEXTS = ["Once upon a time", ONCE, "The cat sat on the mat and", "One day, a boy named Tim went to the", "Tom and Sue went to the park",
         ONCE + " One day, she", "It was raining, so", "My mother said that we", "There was a big dog. The dog", "The little bird was very",
         ONCE + " Her mom said", "She was happy because", "Lily and Ben were friends. They liked to", "The sun was"]
COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"


def candidates():
    """Good questions; those with margin are told by their tokens."""
    for k, text in enumerate(TEXTS):
        model = ("pack", "stories260K", "pack", "aidreams260K")[k % 4]
        yield COMPLETIONS, {"model": model, "prompt": text, "max_tokens": 12, "temperature": 0, "logprobs": 2}
        yield CHAT, {"model": model, "messages": [{"role": "system", "content": "You tell stories."}, {"role": "user", "content": text}],
                     "max_tokens": 8, "temperature": 0, "logprobs": True, "top_logprobs": 2}
        if k < 8:  # long and alike in front: who comes at the same time takes over what another reads
            yield COMPLETIONS, {"model": "stories260K", "prompt": "A story. " + ONCE * 4 + " " + text, "max_tokens": 6, "temperature": 0,
                                "logprobs": 2}
        if k < 6:
            yield COMPLETIONS, {"model": "stories260K", "prompt": text, "max_tokens": 8, "temperature": 0, "logprobs": 2, "echo": True}
            yield COMPLETIONS, {"prompt": text, "max_tokens": 10, "temperature": 0, "logprobs": 2, "packllm": {"weights": [0.6, 0.4]}}


def clear(reply):
    """No near tie: rows depend on their batch by rounding, which must not be able to turn the choice."""
    margins = []
    for choice in reply["choices"]:
        told = choice["logprobs"]
        if "content" in told:
            tops = [[t["logprob"] for t in one["top_logprobs"]] for one in told["content"]]
        else:
            tops = [list(one.values()) for one in told["top_logprobs"] if one]
        for top in tops:
            best = sorted(top)
            margins.append(best[-1] - best[-2] if len(best) > 1 else 1)
    return bool(margins) and min(margins) > MARGIN


def text_of(path, reply):
    return [c["message"]["content"] if path == CHAT else c["text"] for c in reply["choices"]]


class Watch(threading.Thread):
    """Resident kilobytes, descriptors and threads of the server, by the clock."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.seen, self.over, self.start_at = pid, [], threading.Event(), time.time()

    def now(self):
        status = dict(line.split(":", 1) for line in pathlib.Path("/proc/%d/status" % self.pid).read_text().splitlines() if ":" in line)
        return int(status["VmRSS"].split()[0]), len(os.listdir("/proc/%d/fd" % self.pid)), int(status["Threads"])

    def run(self):
        while not self.over.wait(0.5):
            try:
                self.seen.append((time.time() - self.start_at, *self.now()))
            except (OSError, KeyError):
                return


@without_models
class Torture(unittest.TestCase):
    def setUp(self):
        options = dict(part.split("=", 1) for part in os.environ.get("ASAN_OPTIONS", "").split(":") if "=" in part)
        options.setdefault("quarantine_size_mb", "4")  # else freed memory is kept, and nothing is level
        self.server = Running("--parallel", "4", "--queue", "64", "--timeout", str(TIMEOUT),
                              env={"ASAN_OPTIONS": ":".join("%s=%s" % pair for pair in options.items())})
        self.lock, self.wrong, self.count = threading.Lock(), [], collections.Counter()

    def raw(self, data, reset=False, linger=0.0, half=False, read=0):
        """Sends what it is given, reads some of the answer, leaves."""
        with self.server.socket() as s:
            s.settimeout(60)
            if reset:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            try:
                s.sendall(data)
                if half:
                    s.shutdown(socket.SHUT_WR)
                    while s.recv(4096):
                        pass
                if read:
                    s.recv(read)
                time.sleep(linger)
            except OSError:
                pass

    def posted(self, body, path=COMPLETIONS, length=None):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (path.encode(), len(data) if length is None else length) + data

    # ---- the broken third: each returns what is wrong, or None

    def refused(self, body, *wanted, path=COMPLETIONS):
        status, _, data = self.server.ask(path, body, timeout=120)
        return None if status in wanted and b"error" in data else "%d for %r" % (status, str(body)[:80])

    def broken(self, kind, rng):
        good = {"prompt": ONCE, "max_tokens": 3}
        long = {"prompt": ONCE, "max_tokens": 90, "n": 8, "temperature": 1, "ignore_eos": True, "model": "stories260K"}
        if kind == 0:
            cut = json.dumps(good).encode()
            return self.refused(cut[:rng.randrange(len(cut))], 400)
        if kind == 1:
            field, value = rng.choice([("prompt", 3), ("prompt", {}), ("max_tokens", "x"), ("stop", 3), ("n", []), ("logit_bias", [1]),
                                       ("stream", "yes"), ("model", 7), ("packllm", "x"), ("temperature", "hot")])
            return self.refused(dict(good, **{field: value}), 400)
        if kind == 2:
            field, value = rng.choice([("max_tokens", 1e300), ("max_tokens", -1), ("n", 10 ** 9), ("seed", 10 ** 40), ("temperature", 1e99),
                                       ("logprobs", 2 ** 31), ("top_p", 1e30), ("prompt", [2 ** 31]), ("prompt", [2 ** 60])])
            return self.refused(dict(good, **{field: value}), 400)
        if kind == 3:
            return self.refused(bytes(rng.randrange(256) for _ in range(rng.randrange(1, 300))), 400)
        if kind == 4:
            return self.refused({"prompt": "word " * 600, "max_tokens": 2}, 400)
        if kind == 5:
            return self.refused({"model": "nix", "prompt": "a"}, 404)
        if kind == 6:
            return self.refused({"messages": [{"role": rng.choice(["king", ""]), "content": "a"}]}, 400, path=CHAT)
        if kind == 7:
            return self.refused(b"[" * 50000, 400)
        if kind == 8:  # a slow sender
            with self.server.socket() as s:
                try:
                    s.sendall(self.posted(b" ", length=1000))
                    for _ in range(rng.randrange(2, 30)):
                        s.sendall(b" ")
                        time.sleep(0.2)
                except OSError:
                    pass
            return None
        if kind == 9:
            return self.raw(self.posted(rng.choice([good, long])), half=True)
        if kind == 10:  # half of a request, then half-closed or gone
            data = self.posted(good)
            return self.raw(data[:rng.randrange(1, len(data))], half=rng.random() < 0.5)
        if kind == 11:  # gone while it is read or written
            return self.raw(self.posted(long), reset=rng.random() < 0.5, linger=rng.random() * 0.3)
        if kind == 12:  # gone in the middle of a stream
            return self.raw(self.posted(dict(long, stream=True)), reset=rng.random() < 0.5, read=rng.randrange(1, 2000))
        if kind == 13:
            return self.raw(bytes(rng.randrange(256) for _ in range(rng.randrange(1, 400))) + b"\r\n\r\n", half=True)
        if kind == 14:  # says nothing
            return self.raw(b"", linger=rng.random())
        status = self.server.ask(rng.choice(["/nix", "/v1/completions/..", "/%00", "/v1"]))[0]
        return None if status in (400, 404) else "%d for an unknown path" % status

    BROKEN = 16

    # ---- the good two thirds

    def good(self, kind, rng):
        if kind == 0:
            names = [m["id"] for m in self.server.json("/v1/models")["data"]]
            return None if names == ["pack", "stories260K", "aidreams260K"] else names
        if kind == 1:
            got = self.server.json("/tokenize", {"content": ONCE})
            return None if got == self.tokens else got
        if kind == 2:
            got = self.server.json("/v1/weights", {"prompt": ONCE}, timeout=120)
            near = all(abs(a["weight"] - b["weight"]) < 1e-3 for a, b in zip(got["members"], self.weights["members"]))
            return None if near else got
        path, body, answer = self.questions[rng.randrange(len(self.questions))]
        body = dict(body)
        if rng.random() < 0.5:
            del body["logprobs"]
            body.pop("top_logprobs", None)
            if body.get("echo"):
                body["logprobs"] = 0
        if rng.random() < 0.4:
            status, _, data = self.server.ask(path, dict(body, stream=True), timeout=120)
            got = events(data)
            if status != 200 or got[-1] != "[DONE]":
                return status, data[-300:]
            text = "".join((c["choices"][0]["delta"].get("content") or "") if path == CHAT else c["choices"][0]["text"]
                           for c in got[:-1] if c["choices"])
            texts = [text]
        else:
            texts = text_of(path, self.server.json(path, body, timeout=120))
        return None if texts == answer else {"asked": body, "idle": answer, "now": texts}

    def ask_idle(self):
        self.questions = []
        for path, body in candidates():
            reply = self.server.json(path, body)
            if clear(reply):
                self.questions.append((path, body, text_of(path, reply)))
        self.tokens = self.server.json("/tokenize", {"content": ONCE})
        self.weights = self.server.json("/v1/weights", {"prompt": ONCE})

    def client(self, number):
        while True:
            with self.lock:
                k, self.next = self.next, self.next + 1
            if k >= REQUESTS:
                return
            time.sleep(max(0.0, self.start + k // CLIENTS * CLIENTS * SECONDS / REQUESTS - time.time()))  # all at once
            rng = random.Random(SEED * 1000003 + k)
            bad = k % 3 == 2
            kind = (k // 3) % self.BROKEN if bad else rng.randrange(12)
            try:
                wrong = self.broken(kind, rng) if bad else self.good(kind, rng)
            except (OSError, AssertionError, ValueError, KeyError, IndexError, http.client.HTTPException) as why:
                wrong = "%s: %s" % (type(why).__name__, why)
            with self.lock:
                self.count["broken %d" % kind if bad else "good"] += 1
                if wrong is not None:
                    self.wrong.append((k, "broken" if bad else "good", kind, str(wrong)[:400]))

    def idle(self):
        until = time.time() + 20
        while time.time() < until:
            if self.server.metric("sessions_active") == 0 and self.server.metric("requests_queued") == 0:
                return
            time.sleep(0.05)
        self.fail("work goes on though nobody waits for it")

    def test_mixed(self):
        self.ask_idle()
        self.assertGreater(len(self.questions), 8, "too few questions without near ties")
        self.next, self.start = 0, time.time()
        watch = Watch(self.server.process.pid)
        before = watch.now()
        watch.start()
        threads = [threading.Thread(target=self.client, args=(n,)) for n in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.time() - self.start
        watch.over.set()
        watch.join()
        self.assertIsNone(self.server.process.poll(), self.server.log()[-4000:])
        self.idle()
        time.sleep(TIMEOUT + 1)
        after = watch.now()
        part = [[s for s in watch.seen if low <= s[0] / took < high] for low, high in ((0.2, 0.4), (0.8, 1.01))]
        most = [[max(s[i] for s in p) for i in (1, 2, 3)] for p in part]
        tenths = [max((s[1] for s in watch.seen if k <= 10 * s[0] / took < k + 1), default=0) for k in range(10)]
        print("\nresident KiB at most, by tenths: %s" % tenths, file=sys.stderr)
        print("%d requests in %.0f s, seed %d: %d good, %d broken, %d questions; KiB, descriptors, threads: %s before, %s at most in "
              "the second fifth, %s in the last, %s after"
              % (REQUESTS, took, SEED, self.count["good"], REQUESTS - self.count["good"], len(self.questions), before, tuple(most[0]),
                 tuple(most[1]), after), file=sys.stderr)
        self.assertEqual(self.wrong, [])
        print("%d prompts began with what another one had read" % self.server.metric("prompts_shared_total"), file=sys.stderr)
        if REQUESTS >= 1000:  # a short run has not seen everything once
            self.assertLess(most[1][0], most[0][0] * GROWTH + 2048, "resident memory grows")
        self.assertLessEqual(after[1], before[1], "descriptors are left open")
        self.assertLessEqual(after[2], before[2], "threads are left")
        for path, body, answer in self.questions:
            self.assertEqual(text_of(path, self.server.json(path, body)), answer)
        self.assertEqual(self.server.stop(), 0)

    def tearDown(self):
        self.server.stop()


if __name__ == "__main__":
    unittest.main()
