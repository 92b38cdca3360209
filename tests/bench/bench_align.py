#!/usr/bin/env python3
"""bench_align.py - `packllm align` (mined) against RapidFuzz's cdist on the same tokens in the same run, with as many
threads: the same map, and how many times faster. Needs rapidfuzz and numpy.

    bench_align.py [--threads N] [--rows N] A B [A B ...]

A and B are what the command takes. --rows: RapidFuzz computes a sample of so many rows, and its time is scaled up.
Only tokens of A that have no equal one in B are given to RapidFuzz. Our time is the whole map's, cache off.
Leaves with 1 where a token of B is not the nearest, or not the lowest of the nearest."""
import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time

import numpy
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist

PROGRAM = os.environ.get("PACKLLM", "build/packllm")
CHUNK = 128


def align(folder, threads, a, b):
    """The result, the map {id: (id, distance)}, and A's tokens [(id, bytes)]."""
    dump, text = os.path.join(folder, "map"), os.path.join(folder, "bytes")
    done = subprocess.run([PROGRAM, "align", a, b, "--json", "--worst", "0", "-t", str(threads), "--dump", dump,
                           "--dump-bytes", text], check=True, stdout=subprocess.PIPE)
    with open(dump) as lines:
        rows = [tuple(map(int, line.split("\t"))) for line in lines]
    with open(text) as lines:
        tokens = [(int(i), bytes.fromhex(hex)) for i, hex in (line.split("\t") for line in lines)]
    return json.loads(done.stdout), {i: (j, d) for i, j, d in rows}, tokens


def compare(args, a, b):
    # A cache of its own, so that every map is made; models are still found by name.
    with tempfile.TemporaryDirectory() as folder:
        cache = os.environ.get("PACKLLM_CACHE") or os.path.join(
            os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "packllm")
        if os.path.isdir(os.path.join(cache, "models")):
            os.symlink(os.path.join(cache, "models"), os.path.join(folder, "models"))
        os.environ["PACKLLM_CACHE"] = folder
        try:
            member = align(folder, args.threads, b, a)[2]
            result, found, reference = align(folder, args.threads, a, b)
        finally:
            os.environ["PACKLLM_CACHE"] = cache
    equal, words, ids = {x for _, x in member}, [x for _, x in member], [i for i, _ in member]
    rows = [(i, x) for i, x in reference if x not in equal]
    sample = rows if args.rows == 0 else random.Random(1).sample(rows, min(args.rows, len(rows)))
    seconds, wrong = 0.0, 0
    for at in range(0, len(sample), CHUNK):
        part = sample[at:at + CHUNK]
        start = time.perf_counter()
        table = cdist([x for _, x in part], words, scorer=Levenshtein.distance, dtype=numpy.uint16,
                      workers=args.threads)
        best = table.argmin(axis=1)  # the first of equal ones: the lowest id
        seconds += time.perf_counter() - start
        for (i, x), row, k in zip(part, table, best):
            if found[i] != (ids[k], int(row[k])):
                wrong += 1
                print("  %r (%d): %s, but %s" % (x, i, found[i], (ids[k], int(row[k]))))
    seconds *= len(rows) / max(1, len(sample))
    print("%s -> %s: %d of %d without equal; packllm %.3f s, RapidFuzz %.3f s%s, ratio %.1f; %d of %d differ" % (
        result["reference"], result["member"], len(rows), len(reference), result["seconds"], seconds,
        "" if len(sample) == len(rows) else " (scaled)", seconds / result["seconds"], wrong, len(sample)), flush=True)
    return wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("pairs", nargs="+")
    args = parser.parse_args()
    if len(args.pairs) % 2 != 0:
        parser.error("vocabularies come in pairs")
    pairs = zip(args.pairs[::2], args.pairs[1::2])
    return 1 if sum(compare(args, a, b) for a, b in pairs) else 0


if __name__ == "__main__":
    sys.exit(main())
