"""Goal: what is wrong is refused with its own status and one clear message, and the security rules hold."""
import http.client
import json
import os
import socket
import struct
import subprocess
import tempfile
import threading
import time
import unittest

from server_support import DREAMS, ONCE, PROGRAM, STORIES, Running, Served, events, without_models


@without_models
class Bodies(Served):
    args = ("--parallel", "1", "--queue", "2", "--timeout", "2")

    def refused(self, status, body, *words, path="/v1/completions", **more):
        got, headers, data = self.server.ask(path, body, **more)
        self.assertEqual(got, status, data)
        error = json.loads(data)["error"]
        self.assertLessEqual({"message", "type", "param", "code"}, set(error))
        for word in words:
            self.assertIn(word, error["message"])
        return error, headers

    def test_fields(self):
        good = {"prompt": "Once upon a time", "max_tokens": 1}
        for field, value in (("prompt", 3), ("prompt", {}), ("prompt", ""), ("prompt", []), ("prompt", [""]),
                             ("prompt", [1.5]), ("prompt", [-1]), ("prompt", [99999]), ("prompt", ["a"] * 300),
                             ("max_tokens", -1), ("max_tokens", 1e30), ("max_tokens", "3"), ("max_tokens", 1.5),
                             ("temperature", -1), ("temperature", 1e9), ("top_p", 2), ("min_p", -0.1), ("n", 0),
                             ("n", 1000), ("logprobs", 1000), ("stop", [""]), ("stop", ["a"] * 100),
                             ("stop", "x" * 10000), ("stop", 3), ("stream", 1), ("seed", "a"), ("logit_bias", {"a": 1}),
                             ("logit_bias", {"5": 1e9}), ("logit_bias", {"99999": 1}), ("model", 3),
                             ("response_format", {"type": "nix"}), ("packllm", 3)):
            error, _ = self.refused(400, dict(good, **{field: value}))
            self.assertTrue(error["param"] in (field, None) or field in error["param"], (field, error))
        for inner in ({"weights": [1]}, {"weights": []}, {"weights": {}}, {"weights": [1e300, 1]}, {"weights": [0, 0]}, {"weights": [-1, 2]}, {"weights": {"nix": 1}},
                      {"members": []}, {"members": ["nix"]}, {"context_tokens": -1}):
            self.refused(400, dict(good, packllm=inner))
        self.server.json("/v1/completions", dict(good, unheard_of={"of": 1}))
        self.refused(400, {"max_tokens": 1}, "prompt")

    def test_bodies(self):
        self.refused(400, b"", "not JSON")
        self.refused(400, b"{\"prompt\": NaN}", "not JSON")
        self.refused(400, b"{\"prompt\": \"\xff\"}", "not JSON")
        self.refused(400, b"{\"max_tokens\": " + b"9" * 400 + b"}", "not JSON")
        self.refused(400, b"[1]", "object")
        self.refused(400, b"[" * 100000, "inside each other")
        self.refused(413, b" " * (9 << 20), "at most")
        self.refused(404, {"model": "nix", "prompt": "a"}, "pack, stories260K, aidreams260K")
        self.refused(404, {"model": "pack@wnix", "prompt": "a"}, "/v1/weights")
        self.refused(404, {"model": "../stories260K.gguf", "prompt": "a"})

    def test_routes(self):
        for path in ("/nix", "/%00", "/metrics%00", "/v1/models%00x", "/v1/models/", "//", "/v1/models%2f"):
            self.refused(404, None, path=path)
        self.assertEqual(self.server.ask("/health?a=%00")[0], 200)
        for path, method in (("/v1/completions", "POST"), ("/health", "GET"), ("/v1/models/pack", "GET")):
            _, headers = self.refused(405, None, method, path=path, method="DELETE")
            self.assertEqual(headers["Allow"], method)
        self.refused(404, None, "nix", "pack, stories260K", path="/v1/models/nix")
        self.refused(501, {}, path="/v1/embeddings")

    def test_large_heads(self):
        """An address or headers beyond the 64 KiB of a connection, and a body in chunks beyond its cap."""
        self.assertEqual(self.server.ask("/" + "a" * 100000)[0], 414)
        headers = {"X-%d" % k: "a" * 30000 for k in range(4)}
        self.assertEqual(self.server.ask("/health", headers=headers)[0], 431)
        chunks = b"".join(b"%x\r\n%s\r\n" % (1 << 16, b" " * (1 << 16)) for _ in range(140)) + b"0\r\n\r\n"
        with self.server.socket() as s:
            s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)
            self.assertIn(b" 413 ", s.recv(4096))
        for lengths in (b"Content-Length: 3\r\nContent-Length: 30", b"Content-Length: 3\r\nTransfer-Encoding: chunked"):
            with self.server.socket() as s:
                s.sendall(b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\n" + lengths + b"\r\n\r\n2\r\n{}\r\n0\r\n\r\n")
                got = b""
                try:
                    while part := s.recv(4096):  # and it ends
                        got += part
                except ConnectionError:
                    pass
            self.assertIn(b" 400 ", got[:20])

    def test_context(self):
        error, _ = self.refused(400, {"prompt": "word " * 500})
        self.assertEqual(error["type"], "exceed_context_size_error")
        self.assertEqual(error["n_ctx"], 128)
        self.assertGreater(error["n_prompt_tokens"], 128)

    def test_context_of_whom(self):
        """Both numbers, of the member that is too short: the display member's context holds 512."""
        here = "Once upon a time " * 25
        chat = {"messages": [{"role": "user", "content": here}], "max_tokens": 1}
        for path, body in (("/v1/completions", {"prompt": here, "max_tokens": 1}), ("/v1/chat/completions", chat)):
            error, _ = self.refused(400, body, "aidreams260K", "128", path=path)
            self.assertEqual((error["type"], error["code"]), ("exceed_context_size_error", "context_length_exceeded"))
            self.assertEqual(error["n_ctx"], 128)
            self.assertGreater(error["n_prompt_tokens"], 128)
            self.assertIn(str(error["n_prompt_tokens"]), error["message"])
            self.server.json(path, dict(body, model="stories260K"))  # which has room
        error, _ = self.refused(400, dict(chat, model="stories260K", messages=[
            {"role": "user", "content": "word " * 500}]), "stories260K", path="/v1/chat/completions")
        self.assertEqual((error["n_ctx"], error["param"]), (512, "messages"))
        self.assertGreater(error["n_prompt_tokens"], 512)

    def test_what_nothing_satisfies(self):
        for schema in ({"type": "string", "minLength": 5, "maxLength": 2}, {"enum": []},
                       {"allOf": [{"type": "string"}, {"type": "number"}]}):
            kind = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
            error, _ = self.refused(400, {"prompt": "a", "response_format": kind}, "nothing satisfies it")
            self.assertEqual(error["param"], "response_format")
            self.refused(400, {"prompt": "a", "response_format": kind, "stream": True}, "nothing satisfies it")

    def test_stops_and_limits(self):
        good = {"prompt": "Once upon a time", "max_tokens": 1}
        self.server.json("/v1/completions", dict(good, stop=[]))
        self.refused(400, dict(good, stop=""), "empty")
        self.refused(400, dict(good, stop=["a"] * 10000), "10000", "64")
        self.refused(400, dict(good, stop="x" * 10000), "10000", "1024")
        self.refused(400, dict(good, max_tokens=-1), "max_tokens")
        self.refused(400, dict(good, logprobs=21), "20")
        for field, value in (("logit_bias", {"99999": 1}), ("grammar", "root ::= ("), ("grammar", "a" * 70000)):
            error, _ = self.refused(400, dict(good, **{field: value}))
            self.assertEqual(error["param"], field)
        schema = {"type": "json_schema", "json_schema": {"schema": {"description": "a" * 70000}}}
        self.refused(400, dict(good, response_format=schema), "65536")
        chat = {"messages": [{"role": "user", "content": "a"}], "logprobs": True, "top_logprobs": 21}
        self.refused(400, chat, "20", path="/v1/chat/completions")

    def test_chats(self):
        chat = "/v1/chat/completions"
        self.refused(400, {"messages": []}, path=chat)
        for message, param, says in (("a", "messages[1]", "role and content"), ({"role": "user"}, "messages[1].content", "text parts"),
                                     ({"content": "a"}, "messages[1].role", "string"),
                                     ({"role": "king", "content": "a"}, "messages[1].role", "king"),
                                     ({"role": "user", "content": [3]}, "messages[1].content", "part 0"),
                                     ({"role": "user", "content": [{"type": "text"}]}, "messages[1].content", '"text"')):
            error, _ = self.refused(400, {"messages": [{"role": "system", "content": "a"}, message]}, says, path=chat)
            self.assertEqual(error["param"], param)
        self.refused(400, {"messages": [{"role": "user", "content": "a"}], "response_format": "json"}, "object", path=chat)
        self.refused(400, {"messages": [{"role": "assistant", "content": "a"}]}, "user", path=chat)
        picture = [{"type": "image_url", "image_url": {"url": "x"}}]
        self.refused(400, {"messages": [{"role": "user", "content": picture}]}, "only text", path=chat)

    def test_small_routes(self):
        for path in ("/tokenize", "/detokenize"):
            self.refused(400, [], "object", path=path)
        error, _ = self.refused(400, {"tokens": [99999]}, "99999", path="/detokenize")
        self.assertEqual(error["param"], "tokens")
        self.refused(400, {"prompt": ["a", "b"]}, "2 texts", path="/v1/weights")

    def test_hosts_and_origins(self):
        self.refused(403, None, path="/v1/models", headers={"Host": "evil.example:80"})
        self.refused(403, None, path="/v1/models", headers={"Origin": "http://evil.example"})
        self.refused(403, None, path="/v1/models", headers={"Origin": "null"})
        here = "127.0.0.1:%d" % self.server.port
        self.assertEqual(self.server.ask("/v1/models", headers={"Origin": "http://" + here})[0], 200)
        self.assertEqual(self.server.ask("/v1/models", headers={"Host": "localhost:1"})[0], 200)
        self.assertNotIn("Access-Control-Allow-Origin", self.server.ask("/v1/models")[1])

    def test_slow_senders(self):
        start = time.time()
        with self.server.socket() as s:
            s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n")
            try:
                for _ in range(40):  # a header every now and then keeps an idle timeout from striking
                    s.sendall(b"X: y\r\n")
                    time.sleep(0.2)
            except OSError:
                pass
        self.assertLess(time.time() - start, 6)

    def test_slow_bodies(self):
        """A body that drips, or that never comes whole, is not waited for longer than --timeout."""
        start = time.time()
        with self.server.socket() as s:
            s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")
            try:
                for _ in range(40):
                    s.sendall(b" ")
                    time.sleep(0.2)
            except OSError:
                pass
        self.assertLess(time.time() - start, 6)
        self.assertEqual(self.server.ask("/health")[0], 200)

    def test_silent_connections(self):
        """More of them than are let in cannot keep others out, nor disturb who is being answered."""
        long = {"prompt": ONCE, "max_tokens": 300, "ignore_eos": True, "model": "stories260K", "stream": True}
        got, silent = [], []
        thread = threading.Thread(target=lambda: got.append(self.server.ask("/v1/completions", long)[2]))
        thread.start()
        try:
            for count in (200, 200):
                for _ in range(count):
                    s = socket.socket()
                    s.setblocking(False)
                    s.connect_ex(("127.0.0.1", self.server.port))
                    silent.append(s)
                for _ in range(5):
                    start = time.time()
                    self.assertEqual(self.server.ask("/health", timeout=10)[0], 200)
                    self.assertLess(time.time() - start, 1.8)  # --timeout, which ends them in any case, is 2
            kept = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
            for _ in range(3):  # one that goes on asking is not among them
                kept.request("GET", "/health")
                self.assertEqual(kept.getresponse().read(), b'{"status":"ok"}')
                time.sleep(0.1)
            kept.close()
        finally:
            for s in silent:
                s.close()
            thread.join()
        self.assertEqual(events(got[0])[-1], "[DONE]")

    def test_slow_readers(self):
        """A client that does not read its stream is let go after --timeout, and its work ends."""
        body = {"prompt": ["Once upon a time"] * 8, "n": 16, "max_tokens": 300, "logprobs": 20, "ignore_eos": True, "temperature": 1,
                "model": "stories260K", "stream": True}
        data = json.dumps(body).encode()
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.connect(("127.0.0.1", self.server.port))
            s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
            time.sleep(1)
            self.left_alone(20)
            s.settimeout(20)
            got = b""
            try:
                while part := s.recv(1 << 16):
                    got += part
            except ConnectionError:
                pass
        self.assertIn(b"data: ", got)
        self.assertNotIn(b"[DONE]", got)

    def test_half_closed(self):
        """A client that ends its own direction has left, whole request or not: its work stops, nothing is kept."""
        data = json.dumps({"prompt": ONCE, "max_tokens": 100, "n": 16, "temperature": 1, "ignore_eos": True,
                           "model": "stories260K"}).encode()
        head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(data)
        for sent in (head[:20], head, head + data[:10], head + data):
            with self.server.socket() as s:
                s.sendall(sent)
                s.shutdown(socket.SHUT_WR)
                s.settimeout(10)
                try:
                    while s.recv(4096):
                        pass
                except ConnectionError:
                    pass
        self.left_alone()

    def test_reset_connections(self):
        """A connection that is broken off, not closed, ends its work as well."""
        data = json.dumps({"prompt": ONCE, "max_tokens": 200, "n": 16, "temperature": 1, "ignore_eos": True,
                           "model": "stories260K"}).encode()
        s = self.server.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
        time.sleep(0.2)
        s.close()
        self.left_alone()

    def test_a_full_queue(self):
        long = {"prompt": ONCE, "max_tokens": 200, "n": 16, "temperature": 1, "ignore_eos": True, "model": "stories260K"}
        held = []
        for _ in range(3):
            s = self.server.socket()
            data = json.dumps(long).encode()
            s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
            held.append(s)
            time.sleep(0.1)
        _, headers = self.refused(429, {"prompt": "a"})
        self.assertEqual(headers["Retry-After"], "1")
        for s in held:
            s.close()
        self.left_alone()

    def test_who_waits_and_leaves(self):
        """Regression: a request whose client left kept its place in the queue until a worker came to it."""
        # All choices of a prompt of 512 bytes and more are one worker's, one after the other.
        body = {"prompt": ONCE * 7, "max_tokens": 250, "n": 16, "temperature": 1, "ignore_eos": True, "model": "stories260K"}
        data = json.dumps(body).encode()
        asked = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(data) + data
        with self.server.socket() as first:
            first.sendall(asked)
            until = time.time() + 5
            while self.server.metric("sessions_active") == 0 and time.time() < until:
                time.sleep(0.01)
            for _ in range(3):
                waiting = [self.server.socket() for _ in range(2)]
                for s in waiting:
                    s.sendall(asked)
                until = time.time() + 5
                while self.server.metric("requests_queued") < 2 and time.time() < until:
                    time.sleep(0.01)
                self.assertEqual(self.server.metric("requests_queued"), 2)
                for s in waiting:
                    s.close()
                until = time.time() + 2
                while self.server.metric("requests_queued") > 0 and time.time() < until:
                    time.sleep(0.01)
                self.assertEqual(self.server.metric("requests_queued"), 0)
            self.assertEqual(self.server.metric("sessions_active"), 1, "the first one should still be at work")
        self.left_alone()

    def left_alone(self, seconds=3):
        until = time.time() + seconds
        while time.time() < until:
            if self.server.metric("sessions_active") == 0 and self.server.metric("requests_queued") == 0:
                return
            time.sleep(0.02)
        self.fail("work goes on though nobody waits for it")

    def test_clients_that_leave(self):
        for stream in (True, False):
            before = self.server.metric("requests_cancelled_total")
            data = json.dumps({"prompt": ONCE, "max_tokens": 400, "n": 16, "stream": stream, "temperature": 1,
                               "ignore_eos": True, "model": "stories260K"}).encode()
            with self.server.socket() as s:
                s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
                time.sleep(0.2)
                self.assertGreater(self.server.metric("sessions_active"), 0)
            start = time.time()
            self.left_alone()
            self.assertLess(time.time() - start, 1.0)
            self.assertLessEqual(before, self.server.metric("requests_cancelled_total"))

    def test_pings_while_it_waits(self):
        ids = self.server.json("/tokenize", {"prompt": ONCE})["tokens"]
        # All choices of a prompt of 512 bytes and more are one worker's, one after the other.
        data = json.dumps({"prompt": ONCE * 7, "max_tokens": 250, "temperature": 1, "ignore_eos": True, "top_k": 0, "n": 8,
                           "model": "stories260K", "logprobs": 20}).encode()
        server = Running("--parallel", "1")
        self.addCleanup(server.stop)
        with server.socket() as first:
            first.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
            time.sleep(0.1)
            start = time.time()
            status, _, got = server.ask("/v1/completions", {"prompt": ids, "max_tokens": 2, "stream": True})
            if time.time() - start < 0.6:
                self.skipTest("the first request was written too fast for the second to wait")
        self.assertEqual(status, 200)
        self.assertEqual(events(got)[-1], "[DONE]")
        self.assertIn(b": ping\n\n", got)

    def test_the_log_holds_no_prompt(self):
        self.server.json("/v1/completions", {"prompt": "Zanzibar " + ONCE, "max_tokens": 1})
        self.server.ask("/%1b[31m%0anix")
        log = self.server.log()
        self.assertNotIn("Zanzibar", log)
        self.assertNotIn("\x1b", log)
        self.assertIn("req-", log)


@without_models
class Keys(unittest.TestCase):
    def failed(self, code, *args, says=()):
        done = subprocess.run([PROGRAM, "serve", "-m", STORIES, *args], capture_output=True, timeout=30)
        error = done.stderr.decode()
        self.assertEqual(done.returncode, code, error)
        self.assertEqual(len([line for line in error.splitlines() if line.startswith("packllm: error: ")]), 1, error)
        for word in says:
            self.assertIn(word, error)

    def test_a_key_is_asked_for(self):
        server = Running(env={"PACKLLM_API_KEY": "sesame"}, models=(STORIES,))
        try:
            for headers in ({}, {"Authorization": "Bearer sesam"}, {"Authorization": "Bearer sesamee"},
                            {"Authorization": "Bearer "}, {"Authorization": "sesame"}):
                status, reply, data = server.ask("/v1/models", headers=headers)
                self.assertEqual((status, json.loads(data)["error"]["type"]), (401, "authentication_error"))
                self.assertEqual(reply["WWW-Authenticate"], "Bearer")
                self.assertEqual(server.ask("/metrics", headers=headers)[0], 401)
                self.assertEqual(server.ask("/nix", headers=headers)[0], 401)
            self.assertEqual(server.ask("/v1/models", headers={"Authorization": "Bearer sesame"})[0], 200)
            self.assertEqual(server.ask("/health")[0], 200)
            self.assertEqual(server.ask("/")[0], 200)
            self.assertNotIn("sesam", server.log())
        finally:
            self.assertEqual(server.stop(), 0)

    def test_others_need_a_key(self):
        self.failed(2, "--host", "0.0.0.0", says=("--host 0.0.0.0", "--api-key-file"))
        self.failed(1, "--host", "no.such.host.invalid", "--api-key", "k", says=("--host",))
        self.failed(2, "--api-key", "a b", says=("--api-key",))

    def test_key_files(self):
        with tempfile.NamedTemporaryFile("w", suffix=".key") as file:
            file.write("sesame\n")
            file.flush()
            os.chmod(file.name, 0o644)
            self.failed(1, "--api-key-file", file.name, says=(file.name, "chmod 600"))
            os.chmod(file.name, 0o600)
            server = Running("--api-key-file", file.name, models=(STORIES,))
            self.assertEqual(server.ask("/props", headers={"Authorization": "Bearer sesame"})[0], 200)
            self.assertEqual(server.stop(), 0)
            file.truncate(0)
            self.failed(1, "--api-key-file", file.name, says=("empty",))
        self.failed(1, "--api-key-file", "/nonexistent", says=("/nonexistent",))

    def test_two_servers_on_one_port(self):
        server = Running(models=(STORIES,))
        try:
            self.failed(1, "--port", str(server.port), says=(str(server.port), "another server", "--port"))
            self.assertEqual(server.ask("/health")[0], 200)
        finally:
            self.assertEqual(server.stop(), 0)

    def test_two_on_one_port(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            self.failed(1, "--port", str(port), says=(str(port), "in use", "--port"))


@without_models
class Stopping(unittest.TestCase):
    def test_what_runs_is_finished(self):
        server = Running()
        got = []
        thread = threading.Thread(target=lambda: got.append(server.ask(
            "/v1/completions", {"prompt": ONCE, "max_tokens": 30, "stream": True, "ignore_eos": True})))
        thread.start()
        until = time.time() + 10
        while server.metric("sessions_active") == 0 and time.time() < until:
            time.sleep(0.005)
        start = time.time()
        self.assertEqual(server.stop(), 0)
        self.assertLess(time.time() - start, 9)
        thread.join()
        self.assertEqual(events(got[0][2])[-1], "[DONE]")

    def test_loading_is_said(self):
        server = Running(models=(STORIES, DREAMS))
        try:
            self.assertRegex(server.log(), "listening on http://127.0.0.1:[0-9]+\nready")
        finally:
            server.stop()

    def test_while_it_loads(self):
        """Until the members are there: 503 "Loading model", but the page."""
        server = Running(models=["%s,name=m%d" % (STORIES, k) for k in range(60)], ready=False)
        seen = 0
        try:
            while True:
                page = server.ask("/")[0]
                got = [server.ask(*ask) for ask in (("/v1/completions", {"prompt": "a", "max_tokens": 1}), ("/health",))]
                self.assertEqual(page, 200)
                if got[1][0] == 200:
                    break
                for status, headers, data in got:
                    self.assertEqual((status, headers["Retry-After"], json.loads(data)["error"]["message"]), (503, "1", "Loading model"))
                seen += 1
            server.wait("ready")
        finally:
            self.assertEqual(server.stop(), 0)
        if seen == 0:
            self.skipTest("the members were loaded before anybody could ask")


if __name__ == "__main__":
    unittest.main()
