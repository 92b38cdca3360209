#!/usr/bin/env python3
"""Measures what a long prompt that is being read costs others: seconds until the first text of a short request, beside
it and on an idle server, in turns. The default pack, one thread.

    PACKLLM=build/packllm tests/bench/bench_first_byte.py [ROUNDS [AFTER]]

The short requests of round k begin k * AFTER seconds (1) after the long one: 40 is where the ends of its tokens are read."""
import http.client
import json
import os
import pathlib
import random
import statistics
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "server"))
from server_support import Running  # noqa: E402

CACHE = os.environ.get("PACKLLM_CACHE", os.path.expanduser("~/.cache/packllm"))
LONG, SHORT, SHORTS, PAUSE = 14000, 120, 4, 0.3  # bytes, bytes, requests, seconds
LONG_TEXT = (ROOT / "docs" / "design.md").read_text()
SHORT_TEXT = (ROOT / "README.md").read_text() + (ROOT / "CONTRIBUTING.md").read_text()


class Bench:
    def __init__(self, server):
        self.server, self.at, self.rng = server, 0, random.Random(1)

    def cpu(self):
        """Seconds of processor time that the server has had."""
        fields = pathlib.Path("/proc/%d/stat" % self.server.process.pid).read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def ask(self, **body):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=600)
        connection.request("POST", "/v1/completions", json.dumps(dict(body, temperature=0, stream=True)).encode())
        return connection

    def short(self):
        """Seconds until the first text, by the clock and of the server. Another prompt each time: nothing is there already."""
        self.at = (self.at + 997) % (len(SHORT_TEXT) - SHORT)
        time.sleep(self.rng.random() * PAUSE)
        start, cpu, found = time.time(), self.cpu(), None
        connection = self.ask(prompt=SHORT_TEXT[self.at:self.at + SHORT], max_tokens=4, ignore_eos=True)
        for line in connection.getresponse():
            if found is None and line.startswith(b"data: {") and json.loads(line[6:])["choices"][0]["text"]:
                found = time.time() - start, self.cpu() - cpu
        connection.close()
        return found

    def shorts(self):
        return [self.short() for _ in range(SHORTS)]


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    after = float(sys.argv[2]) if len(sys.argv) > 2 else 1
    server = Running("--cache", CACHE, "--parallel", "4", models=())
    bench = Bench(server)
    try:
        bench.shorts()
        for k in range(rounds):
            idle = bench.shorts()
            reading = bench.ask(prompt=LONG_TEXT[k * 61:k * 61 + LONG], max_tokens=1)
            time.sleep(after * (k + 1))
            beside = bench.shorts()
            reading.close()
            bench.shorts()  # what the long one left in its slot is attended to until another takes it
            for what, place in ("clock", 0), ("processor", 1):
                one, two = (statistics.median(found[place] for found in all) for all in (idle, beside))
                print("%s: idle %.2f s, beside a long prompt %.2f s: %.2f x" % (what, one, two, two / one), flush=True)
    finally:
        server.stop()


if __name__ == "__main__":
    main()
