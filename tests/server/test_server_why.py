"""Goal: packllm.why tells who carried what: the pieces spell the text, the numbers are the members', streams say
what whole replies say; and the page shades the text of the real server by it."""
import math
import os
import pathlib
import shutil
import unittest

from server_support import DREAMS, ONCE, STORIES, XS, Served, events, without_models

GREEDY = {"temperature": 0, "max_tokens": 16, "packllm": {"why": True, "weights": [0.5, 0.5]}}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
try:
    from playwright.sync_api import expect, sync_playwright
    MISSING = None if CHROMIUM else "no chromium was found (Debian: apt-get install chromium)"
except ImportError as error:
    MISSING = f"{error}: pip install playwright"


@without_models
class Why(Served):
    def check(self, pieces, text):
        self.assertEqual("".join(p["text"] for p in pieces), text)
        self.assertGreater(len(pieces), 0)
        for p in pieces:
            self.assertTrue(math.isfinite(p["logprob"]))
            self.assertEqual([m["name"] for m in p["members"]], ["stories260K", "aidreams260K"])
            self.assertEqual([m["weight"] for m in p["members"]], [0.5, 0.5])
            for m in p["members"]:
                self.assertTrue(math.isfinite(m["logprob"]) and m["logprob"] <= 1e-6, m)
                self.assertIsInstance(m["would"], (str, type(None)))

    def test_a_reply(self):
        got = self.server.json("/v1/completions", dict(GREEDY, prompt=ONCE, logprobs=1))
        self.check(got["packllm"]["pieces"], got["choices"][0]["text"])
        self.assertEqual(len(got["packllm"]["pieces"]), 16)  # a token each, all of them ASCII here
        self.assertEqual([p["logprob"] for p in got["packllm"]["pieces"]],
                         got["choices"][0]["logprobs"]["token_logprobs"])
        plain = self.server.json("/v1/completions", dict(GREEDY, prompt=ONCE, packllm={"weights": [0.5, 0.5]}))
        self.assertNotIn("pieces", plain["packllm"])
        self.assertEqual(plain["choices"][0]["text"], got["choices"][0]["text"])

    def test_the_pool_is_of_them(self):
        """A token's log pi is near the mean of the members' (they differ by how the rest of the token is spelled)."""
        got = self.server.json("/v1/completions", dict(GREEDY, prompt=ONCE, max_tokens=40))["packllm"]["pieces"]
        mean = [sum(m["weight"] * m["logprob"] for m in p["members"]) for p in got]
        # Pooled probabilities are normalised, so a piece is at least as likely as the geometric mean.
        self.assertGreater(sum(p["logprob"] - q for p, q in zip(got, mean)), -0.5)

    def test_alone_it_is_the_members_own(self):
        got = self.server.json("/v1/completions", dict(GREEDY, prompt=ONCE, model="stories260K",
                                                       packllm={"why": True}))["packllm"]["pieces"]
        for p in got:
            self.assertEqual([m["weight"] for m in p["members"]], [1.0])
            self.assertEqual(p["members"][0]["would"], p["text"])  # greedy: it wrote what it would

    def test_streams(self):
        for path, body in (("/v1/completions", {"prompt": ONCE}),
                           ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Tell a story."}]})):
            body = dict(GREEDY, **body)
            whole = self.server.json(path, body)
            got = events(self.server.ask(path, dict(body, stream=True))[2])[:-1]
            choice = whole["choices"][0]
            pieces = [p for e in got for p in e.get("packllm", {}).get("pieces", [])]
            self.assertEqual(len(pieces), len(whole["packllm"]["pieces"]))
            for p, q in zip(pieces, whole["packllm"]["pieces"]):
                # The second one found the prompt evaluated: other batches, other rounding.
                self.assertEqual(p["text"], q["text"])
                self.assertAlmostEqual(p["logprob"], q["logprob"], delta=2e-3)
                for m, n in zip(p["members"], q["members"]):
                    self.assertEqual((m["name"], m["would"]), (n["name"], n["would"]))
                    self.assertAlmostEqual(m["weight"], n["weight"], places=4)
                    self.assertAlmostEqual(m["logprob"], n["logprob"], delta=2e-3)
            self.check(whole["packllm"]["pieces"], choice["text"] if "text" in choice else choice["message"]["content"])

    def test_stop_strings_cut_pieces(self):
        for stop in (" girl", "irl n", "ily. S"):
            got = self.server.json("/v1/completions", dict(GREEDY, prompt="Once upon a time", stop=[stop],
                                                           max_tokens=30))
            self.check(got["packllm"]["pieces"], got["choices"][0]["text"])
            got = events(self.server.ask("/v1/completions", dict(GREEDY, prompt="Once upon a time", stop=[stop],
                                                                 max_tokens=30, stream=True))[2])[:-1]
            self.check([p for e in got for p in e.get("packllm", {}).get("pieces", [])],
                       "".join(e["choices"][0]["text"] for e in got))

    def test_bytes_of_characters(self):
        """What is sampled wildly holds tokens that are part of a character; pieces are whole ones."""
        got = self.server.json("/v1/completions", dict(GREEDY, prompt=ONCE, temperature=9, top_k=0, top_p=1, min_p=0,
                                                       max_tokens=120, seed=3, ignore_eos=True))
        self.check(got["packllm"]["pieces"], got["choices"][0]["text"])

    def test_several_choices_and_echo(self):
        got = self.server.json("/v1/completions", dict(GREEDY, prompt=["Once upon a time", ONCE], n=2, temperature=1,
                                                       echo=True, seed=1))
        for choice, told in zip(got["choices"], got["packllm"]["choices"]):
            text = choice["text"][len("Once upon a time" if choice["index"] < 2 else ONCE):]
            self.check(told["pieces"], text)

    def test_it_is_a_boolean(self):
        self.server.json("/v1/completions", {"prompt": "a", "packllm": {"why": 1}}, status=400)


@without_models
@unittest.skipIf(MISSING, MISSING)
class Shaded(Served):
    models = (STORIES, XS, DREAMS)

    def test_the_page(self):
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1200, "height": 800})
            complaints = []
            page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
            page.on("pageerror", lambda e: complaints.append(str(e)))
            page.goto("http://127.0.0.1:%d/" % self.server.port)
            expect(page.locator("#model option")).to_have_count(4)
            page.locator("input[name=mode][value=completion]").check(force=True)
            page.locator("#prompt").fill("Once upon a time, I drift through a neural forest and a little girl")
            page.keyboard.press("Enter")
            expect(page.get_by_role("button", name="Inspect pieces")).to_be_visible(timeout=30000)
            pieces = page.locator(".piece")
            self.assertGreater(pieces.count(), 20)
            self.assertGreater(page.locator(".piece[data-hue]").count(), 0)
            page.locator(".piece[data-hue]").first.click()
            card = page.locator("#card")
            expect(card).to_contain_text("Carried by")
            self.assertEqual(card.locator("tbody tr").count(), 3)
            if os.environ.get("PACKLLM_PAGE_SHOTS"):
                page.screenshot(path=str(pathlib.Path(os.environ["PACKLLM_PAGE_SHOTS"]) / "real.png"))
            self.assertEqual(complaints, [])
            browser.close()


if __name__ == "__main__":
    unittest.main()
