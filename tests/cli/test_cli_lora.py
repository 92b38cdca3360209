"""LoRA members: a zero adapter is its base, a scaled one is not, foreign and damaged ones are refused by name."""
import random
import struct
import unittest

from cli_support import DREAMS, ONCE, STORIES, Program, without_models

F32, STRING, U32 = 6, 8, 4
WIDTH, RANK = 64, 2  # of stories260K


def text(value):
    return struct.pack("<Q", len(value)) + value.encode()


def pair(name="blk.0.attn_q.weight", down=(WIDTH, RANK), up=(RANK, WIDTH), zero=False):
    return [(name + ".lora_a", down, False), (name + ".lora_b", up, zero)]


def adapter(path, tensors, keys=None):
    """A GGUF file of float32 tensors (name, shape, zero) and keys (type, payload)."""
    keys = {"general.type": (STRING, text("adapter")), "general.architecture": (STRING, text("llama")),
            "adapter.type": (STRING, text("lora")), "adapter.lora.alpha": (F32, struct.pack("<f", 4.0)), **(keys or {})}
    keys = {k: v for k, v in keys.items() if v is not None}
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys))
    for key, (kind, payload) in keys.items():
        head += text(key) + struct.pack("<I", kind) + payload
    rng, data = random.Random(1), b""
    for name, shape, zero in tensors:
        head += text(name) + struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", n) for n in shape)
        head += struct.pack("<IQ", 0, len(data))
        count = 1
        for n in shape:
            count *= n
        data += struct.pack("<%df" % count, *(0.0 if zero else rng.gauss(0, 0.3) for _ in range(count)))
        data += b"\0" * (-len(data) % 32)
    path.write_bytes(head + b"\0" * (-len(head) % 32) + data)
    return path


@without_models
class Lora(Program):
    def weigh(self, *members):
        return self.good_json("weigh", "-p", ONCE, *(a for m in members for a in ("-m", m)))["members"]

    def test_zero_is_the_base_and_scale_counts(self):
        zero = adapter(self.folder / "zero.gguf", pair(zero=True))
        real = adapter(self.folder / "real.gguf", pair())
        base, nothing, none, some, more = self.weigh(
            STORIES, "%s,lora=%s" % (STORIES, zero), "%s,lora=%s:0,name=off" % (STORIES, real),
            "%s,lora=%s" % (STORIES, real), "%s,lora=%s:20,name=strong" % (STORIES, real))
        self.assertEqual([m["name"] for m in (nothing, none, some, more)], ["zero", "off", "real", "strong"])
        for same in (nothing, none):
            self.assertAlmostEqual(same["bits_per_byte"], base["bits_per_byte"], places=5)
        self.assertGreater(abs(some["bits_per_byte"] - base["bits_per_byte"]), 1e-4)
        self.assertGreater(more["bits_per_byte"], base["bits_per_byte"] + 0.1)

    def test_a_reply_goes_on_with_the_adapter(self):
        real = adapter(self.folder / "real.gguf", pair())
        spec = "%s,lora=%s:20" % (STORIES, real)
        base = self.good("run", "-p", ONCE, "-n", "20", "--temp", "0", "-m", STORIES)
        other = self.good("run", "-p", ONCE, "-n", "20", "--temp", "0", "-m", spec)
        self.assertNotEqual(base, other)
        self.assertEqual(other, self.good("run", "-p", ONCE, "-n", "20", "--temp", "0", "-m", spec,
                                          "-m", STORIES, "--weights", "fixed:1,0"))

    def test_weights_of_one_file_count_once(self):
        zero = adapter(self.folder / "zero.gguf", pair(zero=True))
        one = self.good_json("weigh", "--memory", "-m", STORIES)
        two = self.good_json("weigh", "--memory", "-m", STORIES, "-m", "%s,lora=%s" % (STORIES, zero))
        self.assertEqual(two["weights"], one["weights"] + 4 * 2 * WIDTH * RANK)

    def test_adapters_that_do_not_fit(self):
        half = pair()[:1]
        cases = {
            "another base": pair("blk.77.attn_q.weight"), "was made for another": pair(down=(32, RANK)),
            "one half only": half, "halves of pairs": [], "is not half of a LoRA pair": [("blk.0.x", (4, 4), False)],
            "token embeddings": pair("token_embd.weight", (512, RANK), (RANK, WIDTH)),
        }
        for i, (words, tensors) in enumerate(cases.items()):
            path = adapter(self.folder / ("a%d.gguf" % i), tensors)
            self.bad(1, "weigh", "-p", ONCE, "-m", "%s,lora=%s,name=bob" % (STORIES, path), says=["bob", str(path), words])
        for words, keys in {"no LoRA adapter": {"general.type": None}, "architecture 'gemma3'":
                            {"general.architecture": (STRING, text("gemma3"))}, "alpha":
                            {"adapter.lora.alpha": (U32, struct.pack("<I", 4))}}.items():
            path = adapter(self.folder / "b.gguf", pair(), keys)
            self.bad(1, "weigh", "-p", ONCE, "-m", "%s,lora=%s" % (STORIES, path), says=words)
        self.bad(1, "weigh", "-p", ONCE, "-m", "%s,lora=%s" % (STORIES, DREAMS), says="no LoRA adapter")
        self.bad(1, "weigh", "-p", ONCE, "-m", "%s,lora=%s" % (STORIES, self.folder / "none.gguf"), says="No such file")
        whole = adapter(self.folder / "c.gguf", pair()).read_bytes()
        for cut in (0, 3, 20, 100, len(whole) // 2, len(whole) - 1):
            (self.folder / "d.gguf").write_bytes(whole[:cut])
            self.bad(1, "weigh", "-p", ONCE, "-m", "%s,lora=%s" % (STORIES, self.folder / "d.gguf"), says="d.gguf")

    def test_settings(self):
        for value in ("", ":2", "x:1e9"):
            self.bad(2, "run", "-p", "x", "-m", "%s,lora=%s" % (STORIES, value), says="FILE:SCALE")


if __name__ == "__main__":
    unittest.main()
