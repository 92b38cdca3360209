#!/usr/bin/env python3
"""Writes a pack file of 120 members: adapters at several scales over one base, tiny models, and the
two default members. It is what dropping members early is measured with (bench_crowd.py).

    tests/bench/crowd_pack.py MODELS CACHE OUT.ini

MODELS holds *.gguf of tiny models and lora/*.gguf, CACHE is a cache folder with the default pack."""
import pathlib
import sys

MEMBERS = 120
BASE = "SmolLM2-135M-Instruct.Q4_1.gguf"
OTHER = "gemma-3-270m-q4_k_m.gguf"


def members(models, cache):
    """(name, model, lora or None) of each member, MEMBERS of them."""
    out = [("base", cache / "models" / BASE, None), ("gemma", cache / "models" / OTHER, None)]
    out += [(path.stem, path, None) for path in sorted(models.glob("*.gguf"))]
    adapters = sorted((models / "lora").glob("*.gguf"))
    for tenth in range(1, 100):
        for path in adapters:
            if len(out) == MEMBERS:
                return out
            scale = tenth / 10
            out.append((f"{path.stem}-{scale}", cache / "models" / BASE, f"{path}:{scale}"))
    return out


def main():
    models, cache, out = map(pathlib.Path, sys.argv[1:4])
    with open(out, "w", encoding="utf-8") as file:
        for name, model, lora in members(models.resolve(), cache.resolve()):
            file.write(f"[{name}]\nmodel = {model}\n")
            if lora:
                file.write(f"lora = {lora}\n")


if __name__ == "__main__":
    main()
