"""page_mock.py - a stand-in for `packllm serve` that the page is tested against, without a model.

It serves apps/web under the strictest content policy and answers the routes that the page uses, in the server's
own shapes. A word in the prompt chooses what happens:

    slow     a piece every 100 ms, 200 of them      code     the second member gets most of the weight
    plain    no `packllm` object at all             fail     an error in the middle of the stream
    break    the connection ends in the middle      refuse   400 with a message
    hostile  text that would be markup              wide     characters of several bytes

By hand: python3 tests/server/page_mock.py 8099
"""
import http.server
import json
import pathlib
import sys
import threading
import time

WEB = pathlib.Path(__file__).resolve().parents[2] / "apps" / "web"
TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8",
         ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
MEMBERS = ("smollm2-135m", "gemma-3-270m")
CONTENT_POLICY = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script><b>bold</b>'
WIDE = "Grüße, 世界! 🦙🦙 done"
WORDS = ("The sky is blue because air scatters short waves of light more than long ones. Blue light comes to the "
         "eye from everywhere, while red light goes straight on.\n\nAt sunset the way through the air is longer, "
         "so most of the blue is gone and what is left looks red.").split(" ")


def has(prompt, word):
    return word in prompt.lower().replace(",", " ").split()


def pieces_of(prompt):
    """(text, log-probabilities by member, what each would have said), the same for the same prompt."""
    if has(prompt, "hostile"):
        texts = ["Look: ", HOSTILE[:20], HOSTILE[20:], " done"]
    elif has(prompt, "slow"):
        texts = [f" {i}" for i in range(200)]
    elif has(prompt, "wide"):
        texts = list(WIDE)
    else:
        texts = [w if i == 0 else " " + w for i, w in enumerate(WORDS)]
    for i, text in enumerate(texts):
        first = -0.05 - 1.7 * ((i * 37 % 11) / 11)
        second = first if i % 3 == 2 else -0.05 - 1.7 * ((i * 53 % 13) / 13)
        would = [text if p > -0.9 else HOSTILE if has(prompt, "hostile") else " a" for p in (first, second)]
        yield text, (first, second), would


def weights_of(prompt):
    first = 0.18 if has(prompt, "code") else 0.417
    tokens = max(1, len(prompt) // 4)
    return [{"name": name, "weight": weight, "bits_per_byte": bits, "perplexity": perplexity, "tokens": tokens}
            for name, weight, bits, perplexity in zip(
                MEMBERS, (first, 1 - first), (1.0889, 0.9751), (35.70, 29.35))]


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def answer(self, status, body, kind="application/json", **headers):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Content-Security-Policy", CONTENT_POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def error(self, status, message, kind="invalid_request_error", **headers):
        self.answer(status, {"error": {"message": message, "type": kind, "param": None, "code": None}}, **headers)

    def refused(self):
        """Loading and keys, as the server has them: not for the page's own files."""
        mock = self.server.mock
        if mock.loading:
            self.error(503, "Loading model", "unavailable_error", Retry_After="1")
        elif mock.key and self.headers.get("Authorization") != "Bearer " + mock.key:
            self.error(401, "This server wants a key: Authorization: Bearer KEY", "authentication_error")
        else:
            return False
        return True

    def do_GET(self):
        name = "index.html" if self.path == "/" else self.path.lstrip("/")
        if name in ("index.html", "pack.js", "server.js", "app.js", "style.css", "icon.svg"):
            self.answer(200, (WEB / name).read_bytes(), TYPES[pathlib.Path(name).suffix])
        elif self.path == "/v1/models":
            if not self.refused():
                self.answer(200, {"object": "list", "data": [
                    {"id": name, "object": "model", "created": 0, "owned_by": "packllm"}
                    for name in ("pack",) + MEMBERS]})
        else:
            self.error(404, "No such route: " + self.path, "not_found_error")

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.refused():
            return
        mock = self.server.mock
        mock.requests.append((self.path, body))
        chat = self.path.endswith("/chat/completions")
        prompt = body["messages"][-1]["content"] if chat else body["prompt"]
        if has(prompt, "refuse"):
            self.error(400, "max_tokens: must be at most 4096, you gave 9000")
            return
        try:
            self.stream(chat, prompt, body)
        except OSError:
            mock.gone.set()

    def stream(self, chat, prompt, body):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        mock = self.server.mock
        plain, count = has(prompt, "plain"), 0
        told = {"space": "bytes", "pool": "log", "weights": "exact", "bits_per_byte": 0.8887,
                "members": weights_of(prompt)}
        if not chat:  # the other shape that the page reads
            told = {"space": "bytes", "objective": 0.616, "weights": weights_of(prompt)}
        self.wfile.write(b": ping\n\n")
        time.sleep(mock.reading)
        if chat:
            self.event(chat, {"role": "assistant", "content": ""}, None)
        if not plain:
            self.event(chat, "", None, told)
        held = [""] * mock.late
        for text, logprobs, would in pieces_of(prompt):
            if count == body.get("max_tokens", 256):
                break
            if count == 8 and has(prompt, "break"):
                return
            if count == 8 and has(prompt, "fail"):
                self.data({"error": {"message": "member 'gemma-3-270m' failed", "type": "server_error"}})
                return
            members = [{"name": m["name"], "weight": m["weight"], "logprob": p, "would": w}
                       for m, p, w in zip(weights_of(prompt), logprobs, would)]
            more = None if plain else {"pieces": [{"text": text, "members": members,
                                                   "logprob": sum(m["weight"] * m["logprob"] for m in members)}]}
            held.append(text)
            self.event(chat, held.pop(0), None, more)
            count += 1
            time.sleep(0.1 if has(prompt, "slow") else mock.pace)
        self.event(chat, "", "length" if count == body.get("max_tokens", 256) else "stop")
        if (body.get("stream_options") or {}).get("include_usage"):
            self.data({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": count},
                       **({} if plain else {"packllm": told})})
        self.wfile.write(b"data: [DONE]\n\n")

    def event(self, chat, text, finish, packllm=None):
        choice = {"index": 0, "finish_reason": finish}
        if chat:
            choice["delta"] = text if isinstance(text, dict) else {"content": text} if text else {}
        else:
            choice["text"] = text
        self.data({"choices": [choice], **({"packllm": packllm} if packllm else {})})

    def data(self, value):
        line = b"data: " + json.dumps(value, allow_nan=False, ensure_ascii=False).encode() + b"\n\n"
        portion = self.server.mock.portion or len(line)
        for at in range(0, len(line), portion):
            self.wfile.write(line[at:at + portion])
            time.sleep(0.0002 if portion < len(line) else 0)


class Mock:
    """The server in a thread; its fields steer it and tell what it saw."""

    def __init__(self, port=0):
        self.key = ""
        self.loading = False
        self.pace = 0.001     # seconds between pieces
        self.reading = 0      # seconds of reading the prompt
        self.portion = 0      # bytes in one write; 0: whole events
        self.late = 0         # pieces by which the text follows them; that many are never sent as text
        self.requests = []    # (path, body)
        self.gone = threading.Event()  # a client left in the middle of a stream
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.server.mock = self
        self.url = "http://127.0.0.1:%d/" % self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


if __name__ == "__main__":
    mock = Mock(int(sys.argv[1]) if len(sys.argv) > 1 else 8099)
    mock.pace = 0.04
    print(mock.url)
    threading.Event().wait()
