"""The page of `packllm serve` in a headless browser, against page_mock.py: what a person sees, clicks and types.

Needs Chromium (Debian: chromium) and from PyPI playwright and axe-playwright-python; without them it is skipped.
PACKLLM_PAGE_SHOTS=FOLDER keeps screenshots of every state, in light and dark, narrow and wide.
"""
import math
import os
import pathlib
import re
import shutil
import sys
import time
import unittest

import page_mock

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
try:
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import expect, sync_playwright
    MISSING = None if CHROMIUM else "no chromium was found (Debian: apt-get install chromium)"
except ImportError as error:
    MISSING = f"{error}: pip install playwright axe-playwright-python"

SHOTS = os.environ.get("PACKLLM_PAGE_SHOTS")
SIZES = ((360, 740), (1440, 900))
LEAD = 0.05


def carrier_of(members):
    """The rule of the page, stated again: the largest weight x (logprob - weighted mean), if it leads by LEAD."""
    mean = sum(w * p for _, w, p in members) / sum(w for _, w, _ in members)
    pulls = sorted(((w * (p - mean), name) for name, w, p in members), reverse=True)
    return pulls[0][1] if pulls[0][0] - pulls[1][0] >= LEAD else None


class Page(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.playwright = sync_playwright().start()
        cls.addClassCleanup(cls.playwright.stop)
        cls.browser = cls.playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        cls.addClassCleanup(cls.browser.close)

    def setUp(self):
        self.mock = page_mock.Mock()
        self.addCleanup(lambda: self.mock.close())
        self.complaints = []
        self.open()

    def tearDown(self):
        self.assertEqual(self.complaints, [])

    def open(self, width=1440, height=900, scheme="light", wait=True):
        """A fresh browser profile on the page. What the browser complains about fails the test."""
        context = self.browser.new_context(color_scheme=scheme, viewport={"width": width, "height": height},
                                           reduced_motion="reduce")
        self.addCleanup(context.close)
        self.page = context.new_page()
        self.page.set_default_timeout(10000)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        # A refused or lost request is what some tests are about; policy and script errors never are.
        self.page.on("console", lambda said: said.type in ("error", "warning") and not said.text.startswith(
            "Failed to load resource") and self.complaints.append(said.text))
        self.page.goto(self.mock.url)
        if wait:
            self.page.wait_for_selector("#model:enabled")

    def ask(self, text):
        """Sends a message and waits until its reply is finished."""
        before = self.page.locator(".turn").count()
        self.page.fill("#prompt", text)
        self.page.keyboard.press("Enter")
        turn = self.page.locator(".turn").nth(before)
        turn.locator(".about .small").wait_for()
        return turn

    def style(self, selector, name):
        return self.page.locator(selector).first.evaluate("(e, name) => getComputedStyle(e)[name]", name)

    def stored(self):
        return self.page.evaluate("() => ({session: {...sessionStorage}, local: {...localStorage}, "
                                  "cookie: document.cookie})")

    # ---- what the page is made of ----

    def test_assets_are_small_and_ask_nobody(self):
        total = 0
        for name in ("index.html", "pack.js", "server.js", "app.js", "style.css", "icon.svg"):
            text = (page_mock.WEB / name).read_text()
            total += len(text.encode())
            text = text.replace('xmlns="http://www.w3.org/2000/svg"', "")  # a name, nothing is fetched
            self.assertIsNone(re.search(r"https?://|//[a-z]+\.[a-z]|@import|url\(", text), name)
            self.assertIsNone(re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", text), name)
        self.assertLessEqual(total, 150 * 1024)
        html = (page_mock.WEB / "index.html").read_text()
        self.assertIsNone(re.search(r"<style|\sstyle=|\son[a-z]+=|<script>", html))

    def test_usable_within_a_second(self):
        best = math.inf
        for _ in range(3):
            began = time.monotonic()
            self.page.goto(self.mock.url)
            self.page.wait_for_selector("#model:enabled")
            expect(self.page.locator("#prompt")).to_be_focused()
            best = min(best, time.monotonic() - began)
        self.assertLess(best, 1)

    # ---- a conversation ----

    def test_chat_shows_text_weights_and_figures(self):
        turn = self.ask("Why is the sky blue?")
        text = turn.locator(".reply .text").inner_text()
        self.assertEqual(text, " ".join(page_mock.WORDS))
        path, body = self.mock.requests[-1]
        self.assertEqual(path, "/v1/chat/completions")
        self.assertEqual(body["messages"], [{"role": "user", "content": "Why is the sky blue?"}])
        self.assertEqual((body["model"], body["stream"], body["packllm"]), ("pack", True, {"why": True}))
        self.assertEqual(turn.locator(".chips li").all_inner_texts(),
                         ["A\nsmollm2-135m 41.7\u00a0%", "B\ngemma-3-270m 58.3\u00a0%"])
        self.assertEqual(self.page.locator("#bars .value").all_inner_texts(), ["41.7\u00a0%", "58.3\u00a0%"])
        row = self.page.locator("#figures tbody tr").first
        self.assertEqual(row.locator("td").all_inner_texts(), ["5", "35.70", "1.089", "41.7\u00a0%"])
        expect(self.page.locator("#live")).to_have_text("Reply: " + text, use_inner_text=False)
        self.assertIn("%d tokens" % len(page_mock.WORDS), turn.locator(".about").inner_text())

    def test_the_conversation_goes_along(self):
        self.ask("First.")
        self.ask("Second.")
        messages = self.mock.requests[-1][1]["messages"]
        self.assertEqual([m["role"] for m in messages], ["user", "assistant", "user"])
        self.page.click("#new")
        self.assertTrue(self.page.is_visible("#empty"))
        self.ask("Third.")
        self.assertEqual(len(self.mock.requests[-1][1]["messages"]), 1)

    def test_bars_move_with_each_prompt(self):
        widths = []
        for prompt in ("Hello.", "Some code, please."):
            self.ask(prompt)
            widths.append(self.page.locator(".bars .fill").evaluate_all("all => all.map(e => e.offsetWidth)"))
        self.assertAlmostEqual(widths[0][0] / widths[0][1], 0.417 / 0.583, delta=0.02)
        self.assertAlmostEqual(widths[1][0] / widths[1][1], 0.18 / 0.82, delta=0.02)
        chips = self.page.locator(".turn").nth(0).locator(".chips").inner_text()
        self.assertIn("41.7", chips)  # a reply keeps the weights that it was written with

    def test_examples_send(self):
        example = self.page.locator(".example").nth(1)
        text = example.inner_text()
        example.click()
        self.page.locator(".turn .about .small").wait_for()
        self.assertEqual(self.mock.requests[-1][1]["messages"][0]["content"], text)

    def test_plain_completion(self):
        self.page.get_by_text("Complete", exact=True).click()
        turn = self.ask("Once upon")
        path, body = self.mock.requests[-1]
        self.assertEqual((path, body["prompt"]), ("/v1/completions", "Once upon"))
        self.assertNotIn("messages", body)
        self.assertTrue(turn.locator(".reply .text").inner_text().startswith("Once uponThe sky"))
        self.assertEqual(self.page.locator("#bars .value").all_inner_texts(), ["41.7\u00a0%", "58.3\u00a0%"])

    def test_a_member_alone(self):
        self.page.select_option("#model", "gemma-3-270m")
        self.ask("Hello.")
        self.assertEqual(self.mock.requests[-1][1]["model"], "gemma-3-270m")

    def test_a_server_that_says_nothing_of_members(self):
        turn = self.ask("plain text")
        self.assertEqual(turn.locator(".reply .text").inner_text(), " ".join(page_mock.WORDS))
        self.assertEqual(turn.get_by_role("button", name="Inspect pieces").count(), 0)

    def test_bytes_arrive_in_any_portions(self):
        self.mock.portion = 3  # characters and events are cut anywhere
        turn = self.ask("wide characters")
        self.assertEqual(turn.locator(".reply .text").inner_text(), page_mock.WIDE)
        self.assertEqual(turn.locator(".piece").all_inner_texts(), list(page_mock.WIDE))

    def test_pieces_may_run_ahead_of_the_text(self):
        self.mock.late = 2  # as when a stop string could still take text back; in the end it does
        turn = self.ask("wide characters")
        self.assertEqual(turn.locator(".reply .text").inner_text(), page_mock.WIDE[:-2])
        self.assertEqual("".join(turn.locator(".piece").all_inner_texts()), page_mock.WIDE[:-2])

    # ---- who said what ----

    def test_shading_follows_the_rule(self):
        turn = self.ask("Why is the sky blue?")
        seen = turn.locator(".piece").evaluate_all(
            "all => all.map(e => [e.textContent, e.dataset.hue ?? null, e.dataset.line ?? null])")
        weights = [m["weight"] for m in page_mock.weights_of("")]
        told = list(page_mock.pieces_of("Why is the sky blue?"))
        self.assertEqual(len(seen), len(told))
        kinds = set()
        for (text, hue, line), (piece, logprobs, _) in zip(seen, told):
            carrier = carrier_of(list(zip(page_mock.MEMBERS, weights, logprobs)))
            wanted = None if carrier is None else str(page_mock.MEMBERS.index(carrier))
            self.assertEqual((text, hue, line), (piece, wanted, wanted))
            kinds.add(wanted)
        self.assertEqual(kinds, {None, "0", "1"})
        lines = [self.style(f".piece[data-hue='{i}'] .word", "textDecorationStyle") for i in (0, 1)]
        self.assertEqual(lines, ["solid", "dotted"])

    def test_shading_at_the_edges(self):
        judge = "([members, pool]) => judge({members: members.map(([name, weight, logprob]) => " \
                "({name, weight, logprob}))}, pool).carrier"
        for members, pool, wanted in (
                ([["a", 0.5, -1], ["b", 0.5, -1]], "log", None),            # agreed
                ([["a", 0.5, -1], ["b", 0.5, -1.09]], "log", None),         # the lead is 0.045
                ([["a", 0.5, -1], ["b", 0.5, -1.11]], "log", "a"),          # 0.055
                ([["a", 0.9, -2], ["b", 0.1, -1]], "log", "b"),             # lighter, but it raised the piece
                ([["a", 0.999, -2], ["b", 0.001, -1]], "log", "a"),         # as good as alone
                ([["a", 1, -2], ["b", 0, None]], "log", "a"),               # alone
                ([["a", 0.4, -1], ["b", 0.4, -1], ["c", 0.2, -5]], "log", None),  # two of three
                ([["a", 0.5, -0.1], ["b", 0.5, -9]], "linear", "a"),
                ([["a", 1, -2], ["b", 0.5, -1], ["c", -0.5, -4]], "log", "c"),  # it pushed away from less
                ([["a", None, -2], ["b", None, -1]], "log", None),          # nothing is known
                ([], "log", None)):
            self.assertEqual(self.page.evaluate(judge, [members, pool]), wanted, members)

    def test_a_click_on_a_piece_opens_its_figures(self):
        turn = self.ask("Why is the sky blue?")
        told = list(page_mock.pieces_of("Why is the sky blue?"))
        for index in (0, 2, 7):
            turn.locator(".piece").nth(index).click()
            card = self.page.get_by_role("dialog")
            rows = card.locator("tbody tr")
            for name, weight, logprob, would in zip(page_mock.MEMBERS, ("41.7", "58.3"), *told[index][1:]):
                row = rows.filter(has_text=name)
                cells = row.locator("td").all_inner_texts()
                self.assertEqual(cells[0], weight + "\u00a0%")
                self.assertEqual(cells[1], "%.1f\u00a0%%" % (100 * math.exp(logprob)))
                self.assertEqual(cells[3], would.replace(" ", "␣"))
            said = card.locator(".verdict").inner_text()
            carrier = carrier_of(list(zip(page_mock.MEMBERS, (0.417, 0.583), told[index][1])))
            self.assertIn("Shared" if carrier is None else "Carried by " + carrier, said)
        self.page.mouse.click(5, 500)
        self.assertEqual(self.page.get_by_role("dialog").count(), 0)

    def test_text_of_models_and_users_is_never_markup(self):
        turn = self.ask("hostile " + page_mock.HOSTILE)
        self.assertEqual(turn.locator(".reply .text").inner_text(), "Look: " + page_mock.HOSTILE + " done")
        self.assertIn(page_mock.HOSTILE, turn.locator(".said").inner_text())
        turn.locator(".piece").nth(1).click()
        self.page.get_by_role("dialog").wait_for()
        self.assertEqual(self.page.locator("main :is(img, script, b)").count(), 0)
        self.assertIsNone(self.page.evaluate("() => window.hacked ?? null"))

    # ---- keyboard ----

    def press_until(self, key, role_or_selector, most=30):
        for _ in range(most):
            self.page.keyboard.press(key)
            if self.page.evaluate("s => document.activeElement.matches(s)", role_or_selector):
                return
        self.fail(f"{key} did not lead to {role_or_selector}")

    def test_keyboard_only(self):
        keys = self.page.keyboard
        expect(self.page.locator("#prompt")).to_be_focused()
        keys.type("one")
        keys.press("Shift+Enter")
        keys.type("two")
        keys.press("Enter")
        self.page.locator(".turn .about .small").wait_for()
        self.assertEqual(self.mock.requests[-1][1]["messages"][0]["content"], "one\ntwo")
        expect(self.page.locator("#prompt")).to_be_focused()
        self.press_until("Shift+Tab", ".about button")
        while self.page.evaluate("() => document.activeElement.textContent") != "Inspect pieces":
            keys.press("Shift+Tab")
        keys.press("Enter")
        keys.press("ArrowRight")
        keys.press("ArrowRight")
        pieces = self.page.locator(".piece")
        expect(pieces.nth(2)).to_be_focused()
        keys.press("Enter")
        card = self.page.get_by_role("dialog")
        expect(card).to_be_focused()
        expect(card).to_have_accessible_name("“␣is”")
        keys.press("ArrowLeft")
        expect(self.page.get_by_role("dialog")).to_have_accessible_name("“␣sky”")
        keys.press("Escape")
        expect(pieces.nth(1)).to_be_focused()
        keys.press("Escape")
        expect(self.page.get_by_role("button", name="Inspect pieces")).to_be_focused()
        self.press_until("Shift+Tab", "#open-settings")
        keys.press("Enter")
        self.assertTrue(self.page.is_visible("#settings"))
        keys.press("Escape")
        expect(self.page.locator("#open-settings")).to_be_focused()

    def test_escape_and_the_stop_button_by_keyboard(self):
        for way in ("Escape", "Stop"):
            self.page.fill("#prompt", "slow " + way)
            self.page.keyboard.press("Enter")
            self.page.locator(".turn:last-child .piece").first.wait_for()
            if way == "Stop":
                self.press_until("Tab", "#stop")
                self.page.keyboard.press("Enter")
                expect(self.page.locator("#prompt")).to_be_focused()
            else:
                self.page.keyboard.press("Escape")
            self.page.locator(".turn:last-child .about .small").wait_for()

    # ---- stop, errors, keys ----

    def test_stop_ends_the_request_and_keeps_the_text(self):
        self.page.fill("#prompt", "slow")
        self.page.keyboard.press("Enter")
        self.page.locator(".piece").nth(3).wait_for()
        self.page.click("#stop")
        self.assertTrue(self.mock.gone.wait(2), "the server still had its client")
        about = self.page.locator(".turn .about .small")
        self.assertIn("stopped", about.inner_text())
        text = self.page.locator(".reply .text").inner_text()
        self.ask("Go on.")
        self.assertEqual(self.mock.requests[-1][1]["messages"][1], {"role": "assistant", "content": text})

    def test_stop_while_the_prompt_is_read(self):
        self.mock.reading = 3
        self.page.fill("#prompt", "hello")
        self.page.keyboard.press("Enter")
        self.page.get_by_text("Reading the prompt").wait_for()
        self.page.click("#stop")
        expect(self.page.locator(".about .small")).to_contain_text("stopped", timeout=1000)

    def test_the_servers_message_is_shown(self):
        turn = self.ask("refuse this")
        self.assertEqual(turn.get_by_role("alert").inner_text(), "max_tokens: must be at most 4096, you gave 9000")

    def test_an_error_in_the_middle_keeps_what_came(self):
        turn = self.ask("fail")
        self.assertEqual(turn.get_by_role("alert").inner_text(), "member 'gemma-3-270m' failed")
        self.assertEqual(turn.locator(".reply .text").inner_text(), " ".join(page_mock.WORDS[:8]))

    def test_a_connection_that_breaks(self):
        turn = self.ask("break")
        self.assertIn("connection", turn.get_by_role("alert").inner_text())
        self.assertEqual(turn.locator(".reply .text").inner_text(), " ".join(page_mock.WORDS[:8]))

    def test_a_server_that_went_away_and_came_back(self):
        port = self.mock.server.server_address[1]
        self.mock.close()
        turn = self.ask("hello")
        self.assertEqual(turn.get_by_role("alert").inner_text(), "No connection to the server.")
        self.mock = page_mock.Mock(port)
        turn.get_by_role("button", name="Try again").click()
        expect(turn.locator(".reply .text")).to_have_text(" ".join(page_mock.WORDS), use_inner_text=True)
        self.assertEqual(turn.get_by_role("alert").count(), 0)

    def test_waits_while_models_load(self):
        self.mock.loading = True
        self.open(wait=False)
        notice = self.page.locator("#notice")
        expect(notice).to_contain_text("loading")
        self.mock.loading = False
        self.page.wait_for_selector("#model:enabled")
        expect(notice).to_be_hidden()
        self.mock.loading = True
        self.page.fill("#prompt", "hello")
        self.page.keyboard.press("Enter")
        expect(notice).to_contain_text("loading")
        self.mock.loading = False
        self.page.locator(".turn .about .small").wait_for()
        self.assertEqual(self.page.get_by_role("alert").count(), 0)

    def test_asks_for_the_key(self):
        self.mock.key = "secret"
        self.open(wait=False)
        dialog = self.page.get_by_role("dialog")
        expect(dialog).to_contain_text("This server wants a key")
        for key in ("wrong", "secret"):
            self.page.fill("#key", key)
            self.page.keyboard.press("Enter")
        self.page.wait_for_selector("#model:enabled")
        self.ask("hello")
        stored = self.stored()
        self.assertEqual(stored["session"]["packllm.key"], "secret")
        self.assertEqual((stored["local"], stored["cookie"]), ({}, ""))
        self.open(wait=False)  # another profile knows nothing of it
        expect(self.page.get_by_role("dialog")).to_be_visible()
        self.page.keyboard.press("Escape")
        expect(self.page.locator("#notice")).to_contain_text("wants a key")

    # ---- settings ----

    def test_settings_go_into_requests_and_stay_in_the_tab(self):
        given = {"temperature": "0", "top_p": "0.9", "min_p": "0.1", "top_k": "7", "max_tokens": "5", "seed": "42",
                 "stop": "END\n###", "system": "Be brief."}
        self.page.click("#open-settings")
        for name, value in given.items():
            self.page.fill("#s-" + name, value)
        self.page.get_by_role("button", name="Done").click()
        turn = self.ask("Hello.")
        body = self.mock.requests[-1][1]
        for name in ("temperature", "top_p", "min_p", "top_k", "max_tokens", "seed"):
            self.assertEqual(body[name], float(given[name]))
        self.assertEqual(body["stop"], ["END", "###"])
        self.assertEqual(body["messages"][0], {"role": "system", "content": "Be brief."})
        self.assertIn("length limit", turn.locator(".about").inner_text())
        self.page.reload()
        self.page.wait_for_selector("#model:enabled")
        self.page.click("#open-settings")
        self.assertEqual({name: self.page.input_value("#s-" + name) for name in given}, given)
        self.page.fill("#s-top_p", "7")
        self.page.get_by_role("button", name="Done").click()
        self.assertTrue(self.page.is_visible("#settings"), "7 is no top p")
        self.page.fill("#s-top_p", "")
        self.page.get_by_role("button", name="Done").click()
        self.ask("Hello.")
        self.assertNotIn("top_p", self.mock.requests[-1][1])
        self.assertEqual((self.stored()["local"], self.stored()["cookie"]), ({}, ""))

    def test_theme_follows_the_system_and_the_switch(self):
        papers = {}
        for scheme in ("light", "dark"):
            self.open(scheme=scheme)
            papers[scheme] = self.style("body", "backgroundColor")
        self.assertNotEqual(papers["light"], papers["dark"])
        self.page.get_by_role("button", name="Theme: auto").click()
        self.assertEqual(self.style("body", "backgroundColor"), papers["light"])
        self.page.reload()
        self.assertEqual(self.style("body", "backgroundColor"), papers["light"])

    # ---- every state in every shape ----

    def states(self):
        """Walks through the page; stops at each state worth a look."""
        yield "empty"
        self.page.fill("#prompt", "slow")
        self.page.keyboard.press("Enter")
        self.page.locator(".piece").nth(2).wait_for()
        yield "writing"
        self.page.click("#stop")
        self.page.locator(".turn .about .small").wait_for()
        self.page.click("#new")
        self.ask("Why is the sky blue?")
        yield "reply"
        self.ask("Some code, please; with_a_very_long_word_" + 30 * "that_never_ends_")
        self.page.locator(".turn:last-child .piece").nth(5).click()
        yield "card"
        self.page.keyboard.press("Escape")
        self.ask("refuse")
        self.page.get_by_role("button", name="Inspect pieces").last.click()
        self.page.locator(".explain summary").evaluate("e => { e.parentNode.open = true; "
                                                       "e.closest('#panel').open = true; }")
        yield "panel"
        self.page.click("#open-settings")
        yield "settings"
        self.page.keyboard.press("Escape")

    def test_every_state_fits_and_follows_the_rules_of_accessibility(self):
        axe = Axe()
        for scheme in ("light", "dark"):
            for width, height in SIZES:
                self.open(width, height, scheme)
                for state in self.states():
                    with self.subTest(scheme=scheme, width=width, state=state):
                        wide = self.page.evaluate("() => document.documentElement.scrollWidth")
                        self.assertLessEqual(wide, width)
                        cut = self.page.locator(".scroll:visible").evaluate_all(
                            "all => all.filter(e => e.scrollWidth > e.clientWidth).length")
                        self.assertEqual(cut, 0, "a table is wider than its place")
                        found = axe.run(self.page).response["violations"]
                        self.assertEqual([(v["id"], [n["html"][:120] for n in v["nodes"]]) for v in found], [])
                    if SHOTS:
                        pathlib.Path(SHOTS).mkdir(parents=True, exist_ok=True)
                        self.page.screenshot(path=f"{SHOTS}/{scheme}-{width}-{state}.png")


if __name__ == "__main__":
    if MISSING:
        print("skipped:", MISSING)
        sys.exit(77)
    unittest.main()
