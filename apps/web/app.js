/* app.js - the page of `packllm serve`: a client of the server's own API, nothing more.
 *
 * Text of models, users and servers only ever becomes text nodes; styles are classes, data attributes and
 * custom properties, so `default-src 'self'` is enough. Every field of the server's `packllm` object is
 * optional: what is missing is not shown. Kept: settings, theme and key, in sessionStorage.
 *
 * One file longer than others, since a page that asks for three files starts at once; its parts:
 * tools, theme, members, shading, weights, server, models, settings, turns, card, composer. */
"use strict";

/* ---- small tools ---- */

const $ = (id) => document.getElementById(id);
const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

/* Ends early when the signal does. */
const sleep = (seconds, signal) => new Promise((resolve) => {
    setTimeout(resolve, seconds * 1000);
    signal?.addEventListener("abort", resolve);
});

/* An element with properties (and data-*, aria-* attributes) and children; strings become text nodes. */
function make(tag, properties, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(properties || {})) {
        if (name.startsWith("data-") || name.startsWith("aria-") || name === "role") {
            element.setAttribute(name, value);
        } else {
            element[name] = value;
        }
    }
    element.append(...children);
    return element;
}

function percent(share) {
    const p = share * 100;
    const digits = p >= 99.95 || p === 0 ? 0 : p >= 0.1 ? 1 : p >= 0.001 ? 3 : 0;
    return p > 0 && p < 0.001 ? "< 0.001\u00a0%" : p.toFixed(digits) + "\u00a0%";
}

/* Most weights are shares. Those of dexperts and free need not be. */
function weightText(weight) {
    return !isNumber(weight) ? "–" : weight >= 0 && weight <= 1 ? percent(weight) : weight.toFixed(2);
}

function figure(value, digits) {
    return !isNumber(value) ? "–" : value >= 10000 ? value.toPrecision(3) : value.toFixed(digits);
}

function signed(value) {
    const text = Math.abs(value).toFixed(2);
    return text === "0.00" ? text : (value < 0 ? "−" : "+") + text;
}

/* White space that a reader could not see. */
function visible(text) {
    return text.replace(/\n/g, "↵").replace(/\t/g, "⇥").replace(/^ +| +$/g, (run) => "␣".repeat(run.length));
}

/* sessionStorage may be forbidden; the page then forgets sooner. */
const store = {
    get(name) {
        try {
            return sessionStorage.getItem("packllm." + name);
        } catch {
            return null;
        }
    },
    set(name, value) {
        try {
            if (value) {
                sessionStorage.setItem("packllm." + name, value);
            } else {
                sessionStorage.removeItem("packllm." + name);
            }
        } catch {
            /* nothing is kept, nothing is lost */
        }
    },
};

const state = {
    key: store.get("key") || "",
    theme: store.get("theme") || "auto",
    settings: {},    /* name of a field -> its text */
    members: [],     /* names in the order they were seen: hue, underline and letter follow from it */
    turns: [],       /* {mode, model, asked, reply, node, ...} */
    running: null,   /* AbortController of the request under way */
    inspected: null, /* {turn, index} of the piece whose card is open */
};

/* ---- theme: before the first paint ---- */

const darkWanted = window.matchMedia("(prefers-color-scheme: dark)");

function showTheme() {
    const dark = state.theme === "dark" || (state.theme === "auto" && darkWanted.matches);
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    if ($("theme")) {
        $("theme").textContent = "Theme: " + state.theme;
    }
}

function nextTheme() {
    const order = darkWanted.matches ? ["auto", "light", "dark"] : ["auto", "dark", "light"];
    state.theme = order[(order.indexOf(state.theme) + 1) % order.length];
    store.set("theme", state.theme);
    showTheme();
}

showTheme();
darkWanted.addEventListener("change", showTheme);

/* ---- members: a hue, an underline and a letter each ---- */

const HUES = 6;
const LINES = 5; /* no common divisor: 30 members differ in hue or underline */

function memberIndex(name) {
    let index = state.members.indexOf(name);
    if (index < 0) {
        index = state.members.push(name) - 1;
    }
    return index;
}

function dress(element, name) {
    const index = memberIndex(name);
    element.dataset.hue = index % HUES;
    element.dataset.line = index % LINES;
    return element;
}

function letterOf(name) {
    const index = memberIndex(name);
    return String.fromCharCode(65 + (index % 26)) + (index >= 26 ? Math.floor(index / 26) : "");
}

const chip = (name) => dress(make("span", { className: "letter" }, letterOf(name)), name);

function share(element, value) {
    element.style.setProperty("--share", String(Math.min(1, Math.max(0, value || 0))));
    return element;
}

/* Bars side by side, one a member: the same elements each time, so that they move. */
function showStack(stack, weights) {
    weights.forEach((member, i) => {
        const bar = stack.children[i] || stack.appendChild(make("span"));
        share(dress(bar, member.name), member.weight).hidden = !(member.weight > 0);
    });
    while (stack.children.length > weights.length) {
        stack.lastChild.remove();
    }
}

/* ---- shading ---- */

const LEAD = 0.05;  /* nats by which the largest pull must lead the next */
const SMALL = 0.01; /* of the largest weight: members below it are left out */

/* The pull of a member on a piece: weight x (its log-probability - the weighted mean). The mean of the pool is
 * what the fused score would be if all agreed, so the pulls say who moved it, and sum to 0 where weights sum
 * to 1. A linear pool is moved by probabilities: weight x (p / mean - 1). A member that has nearly all the
 * weight writes alone: the others are left out. */
function judge(piece, pool) {
    const largest = Math.max(...piece.members.map((m) => Math.abs(m.weight) || 0));
    const known = piece.members.filter((m) => isNumber(m.logprob) && isNumber(m.weight) &&
        m.weight !== 0 && Math.abs(m.weight) >= SMALL * largest);
    if (known.length < 2) {
        return { carrier: known.length === 1 ? known[0].name : null, pulls: new Map() };
    }
    const linear = pool === "linear";
    const score = (m) => (linear ? Math.exp(m.logprob) : m.logprob);
    const total = known.reduce((sum, m) => sum + m.weight, 0);
    const even = Math.abs(total) < 1e-9;
    const mean = known.reduce((sum, m) => sum + (even ? 1 / known.length : m.weight / total) * score(m), 0);
    const pull = (m) => m.weight * (linear ? score(m) / (mean || 1) - 1 : score(m) - mean);
    const pulls = new Map(known.map((m) => [m.name, pull(m)]));
    const [first, second] = [...pulls].sort((a, b) => b[1] - a[1]);
    return { carrier: first[1] - second[1] >= LEAD ? first[0] : null, pulls };
}

/* A member of a piece as the server told it, its weight taken from the prompt's where it is missing. */
function readPiece(raw, weights) {
    const members = (Array.isArray(raw.members) ? raw.members : []).map((m, i) => {
        const name = String(m.name ?? (weights && weights[i] && weights[i].name) ?? "member " + (i + 1));
        const known = weights && weights.find((w) => w.name === name);
        return { name, weight: m.weight ?? (known && known.weight), logprob: m.logprob, would: m.would ?? m.first };
    });
    return { text: String(raw.text ?? ""), logprob: raw.logprob, members };
}

/* ---- weights: the panel, and the strip of a reply ---- */

function readWeights(told) {
    const list = Array.isArray(told.weights) ? told.weights : Array.isArray(told.members) ? told.members : [];
    return list.filter((m) => m && typeof m === "object" && m.name !== undefined)
        .map((m) => ({ ...m, name: String(m.name) }));
}

function showWeights(weights, told) {
    const bars = $("bars");
    weights.forEach((member, i) => {
        let row = bars.children[i];
        if (!row || row.dataset.name !== member.name) {
            const name = make("div", { className: "name" }, chip(member.name), make("span", {}, member.name),
                make("span", { className: "value" }));
            const fill = share(dress(make("div", { className: "fill" }), member.name), 0);
            const fresh = make("li", { "data-name": member.name }, name,
                make("div", { className: "track", "aria-hidden": "true" }, fill));
            if (row) {
                row.replaceWith(fresh);
            } else {
                bars.append(fresh);
            }
            row = fresh;
            void row.offsetWidth; /* laid out at 0, so that the first weight moves too */
        }
        row.querySelector(".value").textContent = weightText(member.weight);
        share(row.querySelector(".fill"), member.weight);
    });
    while (bars.children.length > weights.length) {
        bars.lastChild.remove();
    }
    showStack($("panel-stack"), weights);
    const known = weights.some((m) => isNumber(m.weight));
    const parts = ["For the last prompt"];
    if (isNumber(told.bits_per_byte)) {
        parts.push("pack " + told.bits_per_byte.toFixed(3) + " bits/byte");
    } else if (isNumber(told.objective)) {
        parts.push("pack " + (told.objective / Math.LN2).toFixed(3) + " bits/byte");
    }
    if (told.space) {
        parts.push("fused in " + told.space);
    }
    $("weights-for").textContent = known ? parts.join(" · ") : "They appear with the first prompt.";
    showFigures(weights);
}

function showFigures(weights) {
    const rows = weights.filter((m) => isNumber(m.bits_per_byte) || isNumber(m.perplexity)).map((m) =>
        make("tr", {}, make("th", { scope: "row", title: m.name }, chip(m.name), m.name),
            make("td", {}, isNumber(m.tokens) ? String(m.tokens) : "–"), make("td", {}, figure(m.perplexity, 2)),
            make("td", {}, figure(m.bits_per_byte, 3)), make("td", {}, weightText(m.weight))));
    $("figures").tBodies[0].replaceChildren(...rows);
    $("table-scroll").hidden = rows.length === 0;
}

function showStrip(turn) {
    const told = turn.weights.filter((m) => isNumber(m.weight));
    showStack(turn.stack, told);
    turn.stack.hidden = told.length < 2;
    const large = [...told].sort((a, b) => Math.abs(b.weight) - Math.abs(a.weight)).slice(0, 8);
    const shown = told.filter((m) => large.includes(m) && Math.abs(m.weight) >= 0.005);
    turn.chips.replaceChildren(...shown.map((m) =>
        make("li", {}, chip(m.name), m.name + " " + weightText(m.weight))));
    if (told.length > shown.length) {
        turn.chips.append(make("li", {}, told.length - shown.length + " more"));
    }
}

/* ---- talking to the server ---- */

class ServerError extends Error {
    constructor(status, message, retryAfter) {
        super(message);
        this.status = status;
        this.retryAfter = retryAfter;
        this.loading = status === 503 && /loading/i.test(message);
    }
}

/* What went wrong on the way: fetch has no words of its own that help. */
class LostError extends Error {}

async function failure(response) {
    const text = await response.text().catch(() => "");
    let message = text.trim().slice(0, 500);
    try {
        const error = JSON.parse(text).error;
        message = String(error.message ?? error);
    } catch {
        /* not the API's own error: the text as it came */
    }
    const seconds = Number(response.headers.get("Retry-After"));
    return new ServerError(response.status, message || "The server answered with status " + response.status + ".",
        seconds > 0 ? Math.min(seconds, 30) : 1);
}

/* One request; waits while models load, asks for the key when the server wants one. */
async function call(path, body, signal) {
    for (;;) {
        const headers = body ? { "Content-Type": "application/json" } : {};
        if (state.key) {
            headers.Authorization = "Bearer " + state.key;
        }
        let response;
        try {
            response = await fetch(path, {
                method: body ? "POST" : "GET", headers, signal, cache: "no-store",
                body: body ? JSON.stringify(body) : undefined,
            });
        } catch (error) {
            throw error.name === "AbortError" ? error : new LostError("No connection to the server.");
        }
        if (response.ok) {
            notice("");
            return response;
        }
        const error = await failure(response);
        if (error.loading) {
            notice("The models are loading. The page goes on by itself.");
            await sleep(error.retryAfter, signal);
            signal?.throwIfAborted();
        } else if (error.status !== 401 || !(await askKey(error.message))) {
            throw error;
        }
    }
}

/* The data of a server-sent event stream, one JSON value after the other. */
async function* events(response) {
    const reader = response.body.getReader();
    const decoder = new TextDecoder();
    let rest = "";
    let data = [];
    for (;;) {
        const { done, value } = await reader.read();
        rest += done ? decoder.decode() + "\n\n" : decoder.decode(value, { stream: true });
        const lines = rest.split(/\r?\n/);
        rest = lines.pop();
        for (const line of lines) {
            if (line.startsWith("data:")) {
                data.push(line.slice(line[5] === " " ? 6 : 5));
            } else if (line === "" && data.length > 0) {
                const text = data.join("\n");
                data = [];
                if (text === "[DONE]") {
                    return;
                }
                yield JSON.parse(text);
            }
        }
        if (done) {
            return;
        }
    }
}

function notice(text, bad) {
    const box = $("notice");
    if (box.textContent !== text) {
        box.textContent = text;
    }
    box.classList.toggle("bad", Boolean(bad));
    box.hidden = !text;
}

let asking = null;

/* True once a key was given. Requests that fail together ask once. */
function askKey(message) {
    asking = asking || new Promise((resolve) => {
        const dialog = $("ask-key");
        $("key-message").textContent = message;
        $("key").value = "";
        dialog.returnValue = "";
        dialog.showModal();
        $("key").focus();
        dialog.addEventListener("close", () => {
            asking = null;
            if (dialog.returnValue === "given" && $("key").value) {
                setKey($("key").value);
                resolve(true);
            } else {
                resolve(false);
            }
        }, { once: true });
    });
    return asking;
}

function setKey(key) {
    state.key = key;
    store.set("key", key);
}

/* ---- models ---- */

/* The pack is the model that the server marks, else the first one. */
function isPack(model, place) {
    const kind = model.packllm && (model.packllm.kind ?? model.packllm.type);
    return kind !== undefined ? kind === "pack" : place === 0;
}

function showModels(list) {
    const select = $("model");
    const kept = store.get("model");
    const packs = make("optgroup", { label: "Together" });
    const alone = make("optgroup", { label: "One member alone" });
    list.forEach((model, i) => {
        const pack = isPack(model, i);
        (pack ? packs : alone).append(make("option", { value: model.id, selected: model.id === kept },
            pack && model.id !== "pack" ? model.id + " (pack)" : model.id));
        if (!pack) {
            memberIndex(model.id);
        }
    });
    select.replaceChildren(...[packs, alone].filter((group) => group.children.length > 0));
    select.disabled = false;
    if (state.turns.length === 0) {
        showWeights(state.members.map((name) => ({ name })), {});
    }
}

/* Until it answers: the page is of use only with a server behind it. */
async function loadModels() {
    for (let wait = 1; ; wait = Math.min(wait * 2, 10)) {
        try {
            const told = await (await call("v1/models")).json();
            showModels((Array.isArray(told.data) ? told.data : []).filter((m) => m && typeof m.id === "string"));
            return;
        } catch (error) {
            if (error instanceof ServerError && error.status < 500) {
                notice(error.message, true);
                return;
            }
            notice(error.message + " Trying again.", true);
            await sleep(wait);
        }
    }
}

/* ---- settings ---- */

const NUMBERS = ["temperature", "top_p", "min_p", "top_k", "max_tokens", "seed"];
const DEFAULTS = { max_tokens: "256" };
const fields = () => [...$("settings").querySelectorAll("[name]")];

function fillSettings() {
    for (const field of fields()) {
        field.value = field.name === "key" ? state.key : state.settings[field.name] ?? "";
    }
}

function readSettings() {
    for (const field of fields()) {
        if (field.validity.valid && field.name === "key") {
            setKey(field.value);
        } else if (field.validity.valid) {
            state.settings[field.name] = field.value;
        }
    }
    store.set("settings", JSON.stringify(state.settings));
}

function loadSettings() {
    try {
        state.settings = { ...DEFAULTS, ...JSON.parse(store.get("settings") || "{}") };
    } catch {
        state.settings = { ...DEFAULTS };
    }
}

function requestOf(turn) {
    const body = { stream: true, stream_options: { include_usage: true }, packllm: { why: true } };
    if (turn.model) {
        body.model = turn.model;
    }
    for (const name of NUMBERS) {
        if (state.settings[name]) {
            body[name] = Number(state.settings[name]);
        }
    }
    const stop = (state.settings.stop || "").split("\n").filter(Boolean);
    if (stop.length > 0) {
        body.stop = stop;
    }
    if (turn.mode === "completion") {
        return { path: "v1/completions", body: { ...body, prompt: turn.asked } };
    }
    body.messages = state.settings.system ? [{ role: "system", content: state.settings.system }] : [];
    for (const earlier of state.turns) {
        if (earlier === turn) {
            break;
        }
        if (earlier.mode === "chat" && earlier.reply) {
            body.messages.push({ role: "user", content: earlier.asked },
                { role: "assistant", content: earlier.reply });
        }
    }
    body.messages.push({ role: "user", content: turn.asked });
    return { path: "v1/chat/completions", body };
}

/* ---- a turn ---- */

function addTurn(mode, asked) {
    const turn = { mode, asked, model: $("model").value };
    turn.output = make("div", { className: "text", dir: "auto" });
    turn.stack = make("div", { className: "stack", hidden: true, "aria-hidden": "true" });
    turn.chips = make("ul", { className: "chips" });
    turn.about = make("div", { className: "about" });
    turn.replyNode = make("div", { className: "reply" },
        make("div", { className: "speaking" }, make("h3", {}, turn.model || "Reply"), turn.chips),
        turn.stack, turn.output, turn.about);
    turn.node = make("article", { className: "turn", "aria-label": "Turn " + (state.turns.length + 1) });
    if (mode === "chat") {
        turn.node.append(make("div", { className: "said" }, make("h3", { className: "hidden-text" }, "You"),
            make("div", { className: "text", dir: "auto" }, asked)));
    }
    turn.node.append(turn.replyNode);
    turn.output.addEventListener("click", (event) => pieceClicked(turn, event));
    turn.output.addEventListener("keydown", (event) => pieceKey(turn, event));
    state.turns.push(turn);
    $("empty").hidden = true;
    $("log").append(turn.node);
    return turn;
}

function clearTurn(turn) {
    Object.assign(turn, { reply: "", shown: 0, queue: [], pieces: [], weights: [], told: {}, usage: null,
        finish: null });
    turn.tail = document.createTextNode("");
    turn.output.replaceChildren();
    if (turn.mode === "completion") {
        turn.output.append(make("span", { className: "given" }, turn.asked));
    }
    turn.waiting = make("span", { className: "waiting" },
        turn.mode === "completion" ? " Reading the prompt" : "Reading the prompt");
    turn.output.append(turn.tail, turn.waiting);
    turn.about.replaceChildren();
    turn.replyNode.querySelector(".failed")?.remove();
    turn.stack.hidden = true;
    turn.chips.replaceChildren();
}

/* The text is what the deltas say; pieces are laid over it as far as they spell the same. A delta without
 * pieces, or pieces that come later or run ahead (a stop string may take text back), are all right. */
function layPieces(turn, finished) {
    while (turn.queue.length > 0) {
        const piece = turn.queue[0];
        const left = turn.reply.slice(turn.shown);
        if (!left.startsWith(piece.text)) {
            if (!piece.text.startsWith(left)) {
                turn.queue.length = 0; /* they part ways: the rest is plain */
                break;
            }
            if (!finished || left === "") {
                break;
            }
            piece.text = left; /* the end was cut off */
        }
        turn.queue.shift();
        if (piece.text !== "") {
            turn.shown += piece.text.length;
            addPiece(turn, piece);
        }
    }
    turn.tail.data = turn.reply.slice(turn.shown);
}

function addPiece(turn, piece) {
    const word = piece.text.trimStart() || piece.text;
    const node = make("span", { className: "piece", "data-piece": turn.pieces.length },
        make("span", { className: "gap" }, piece.text.slice(0, piece.text.length - word.length)),
        make("span", { className: "word" }, word));
    piece.verdict = judge(piece, turn.told.pool);
    const { carrier } = piece.verdict;
    if (carrier !== null) {
        dress(node, carrier);
        /* The space before a word is marked only inside a run of one member. */
        node.classList.toggle("joined", turn.pieces.at(-1)?.verdict.carrier === carrier);
    }
    piece.node = node;
    turn.pieces.push(piece);
    turn.output.insertBefore(node, turn.tail);
    $("plain-note").hidden = $("plain-note").hidden && piece.verdict.pulls.size === 0;
}

function takeChunk(turn, chunk) {
    if (chunk.error) {
        throw new ServerError(0, String(chunk.error.message ?? chunk.error), 1);
    }
    const told = chunk.packllm && typeof chunk.packllm === "object" ? chunk.packllm : {};
    const weights = readWeights(told);
    if (weights.length > 0) {
        turn.weights = weights;
        turn.told = { ...turn.told, ...told };
        showStrip(turn);
        showWeights(weights, turn.told);
    }
    turn.usage = chunk.usage || turn.usage;
    const choice = (chunk.choices || [])[0];
    const text = choice ? (choice.delta || choice.message || {}).content ?? choice.text ?? "" : "";
    const follow = nearEnd();
    if (choice && choice.finish_reason) {
        turn.finish = choice.finish_reason;
    }
    turn.reply += text;
    for (const raw of Array.isArray(told.pieces) ? told.pieces : []) {
        turn.queue.push(readPiece(raw, turn.weights));
    }
    if (text !== "") {
        turn.waiting.remove();
    }
    layPieces(turn, false);
    if (follow) {
        toEnd();
    }
}

async function runTurn(turn) {
    const controller = new AbortController();
    closeCard();
    clearTurn(turn);
    setRunning(controller);
    toEnd();
    const begun = performance.now();
    let error = null;
    try {
        const { path, body } = requestOf(turn);
        const response = await call(path, body, controller.signal);
        if ((response.headers.get("Content-Type") || "").includes("json")) {
            takeChunk(turn, await response.json());
        } else {
            for await (const chunk of events(response)) {
                takeChunk(turn, chunk);
            }
        }
        if (turn.finish === null) {
            throw new LostError("The connection ended before the reply did.");
        }
    } catch (thrown) {
        error = thrown;
    }
    if (error && !(error instanceof ServerError) && !(error instanceof LostError) && error.name !== "AbortError") {
        error = new LostError(error instanceof SyntaxError ? "The server sent something that is not JSON." :
            "The connection was lost.");
    }
    setRunning(null);
    layPieces(turn, true);
    finishTurn(turn, error, (performance.now() - begun) / 1000);
}

const ENDS = { stop: "", length: "length limit reached", content_filter: "filtered" };

function finishTurn(turn, error, seconds) {
    const stopped = error !== null && error.name === "AbortError";
    const follow = nearEnd();
    turn.waiting.remove();
    const facts = [];
    const tokens = turn.usage && isNumber(turn.usage.completion_tokens) ? turn.usage.completion_tokens : null;
    if (tokens !== null) {
        facts.push(tokens + (tokens === 1 ? " token" : " tokens"));
    }
    facts.push(seconds.toFixed(1) + "\u00a0s");
    if (stopped) {
        facts.push("stopped");
        notice("");
    } else if (turn.finish && (ENDS[turn.finish] ?? turn.finish)) {
        facts.push(ENDS[turn.finish] ?? turn.finish);
    }
    if (turn.pieces.some((piece) => piece.members.length > 0)) {
        const inspect = make("button", { type: "button", className: "quiet" }, "Inspect pieces");
        inspect.addEventListener("click", () => inspectPieces(turn));
        turn.inspect = inspect;
        turn.about.append(inspect);
    }
    const again = make("button", { type: "button", className: "quiet" }, "Try again");
    again.addEventListener("click", () => tryAgain(turn));
    turn.about.append(again, make("span", { className: "small" }, facts.join(" · ")));
    if (error && !stopped) {
        turn.about.before(make("p", { className: "failed", role: "alert" }, error.message));
    }
    for (const other of state.turns) {
        /* Asking anew in the middle would change what the later ones answered. */
        [...other.about.children].filter((b) => b.textContent === "Try again")
            .forEach((b) => { b.hidden = other !== state.turns[state.turns.length - 1]; });
    }
    $("live").textContent = stopped ? "Stopped." : error ? "" : "Reply: " + turn.reply;
    if (follow) {
        toEnd();
    }
}

function tryAgain(turn) {
    if (!state.running) {
        $("prompt").focus();
        runTurn(turn);
    }
}

function setRunning(controller) {
    state.running = controller;
    const inside = document.activeElement === $("send") || document.activeElement === $("stop");
    $("send").hidden = controller !== null;
    $("stop").hidden = controller === null;
    $("log").setAttribute("aria-busy", String(controller !== null));
    if (inside) {
        $(controller ? "stop" : "prompt").focus();
    }
}

function nearEnd() {
    return window.innerHeight + window.scrollY > document.documentElement.scrollHeight - 160;
}

function toEnd() {
    window.scrollTo({ top: document.documentElement.scrollHeight, behavior: "instant" });
}

/* ---- the card of a piece ---- */

const PIECES_HINT = "Left and right arrows go from piece to piece, Enter opens, Escape leaves.";

/* Pieces are plain text, so that a screen reader reads prose; while inspected they are buttons. */
function inspectPieces(turn) {
    for (const piece of turn.pieces) {
        piece.node.setAttribute("role", "button");
        piece.node.tabIndex = -1;
    }
    turn.output.setAttribute("role", "group");
    turn.output.setAttribute("aria-label", "Pieces. " + PIECES_HINT);
    focusPiece(turn, 0);
}

function leavePieces(turn) {
    for (const piece of turn.pieces) {
        piece.node.removeAttribute("role");
        piece.node.removeAttribute("tabindex");
    }
    turn.output.removeAttribute("role");
    turn.output.removeAttribute("aria-label");
    turn.inspect?.focus();
}

function focusPiece(turn, index) {
    const piece = turn.pieces[index];
    if (piece) {
        for (const other of turn.pieces) {
            if (other.node.tabIndex === 0 && other !== piece) {
                other.node.tabIndex = -1;
            }
        }
        piece.node.tabIndex = 0;
        piece.node.focus();
    }
}

function pieceKey(turn, event) {
    const node = event.target.closest(".piece");
    if (!node) {
        return;
    }
    const index = Number(node.dataset.piece);
    const moves = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: turn.pieces.length - 1 };
    if (event.key in moves) {
        focusPiece(turn, moves[event.key]);
    } else if (event.key === "Enter" || event.key === " ") {
        openCard(turn, index, true);
    } else if (event.key === "Escape") {
        leavePieces(turn);
    } else {
        return;
    }
    event.preventDefault();
    event.stopPropagation();
}

function pieceClicked(turn, event) {
    const node = event.target.closest(".piece");
    if (node && window.getSelection().isCollapsed) {
        event.stopPropagation();
        openCard(turn, Number(node.dataset.piece), node.hasAttribute("role"));
    }
}

function cardTable(piece) {
    const head = ["Member", "Weight", "Probability", "Pull", "Its choice"];
    const pulled = (m) => piece.verdict.pulls.get(m.name) ?? -Infinity;
    const sorted = [...piece.members].sort((a, b) => pulled(b) - pulled(a) || 0);
    const rows = sorted.map((m) => {
        const pull = piece.verdict.pulls.get(m.name);
        return make("tr", {}, make("th", { scope: "row", title: m.name }, chip(m.name),
            make("span", { className: "full" }, m.name)), make("td", {}, weightText(m.weight)),
            make("td", { title: isNumber(m.logprob) ? "log-probability " + m.logprob.toFixed(3) + " nats" : "" },
                isNumber(m.logprob) ? percent(Math.exp(m.logprob)) : "–"),
            make("td", {}, isNumber(pull) ? signed(pull) : "–"),
            make("td", {}, m.would === undefined || m.would === null ? "–" : visible(String(m.would))));
    });
    return make("div", { className: "scroll" }, make("table", {},
        make("thead", {}, make("tr", {}, ...head.map((text) => make("th", { scope: "col" }, text)))),
        make("tbody", {}, ...rows)));
}

function verdictOf(piece) {
    const { carrier, pulls } = piece.verdict;
    const pack = isNumber(piece.logprob) ? " The pack gave it " + percent(Math.exp(piece.logprob)) + "." : "";
    if (carrier === null) {
        return (pulls.size > 0 ? "Shared: no member made the difference." : "Nothing is known about it.") + pack;
    }
    return (pulls.size > 0 ? "Carried by " : "Written by ") + carrier + "." + pack;
}

function openCard(turn, index, fromKeys) {
    closeCard();
    const piece = turn.pieces[index];
    const title = make("h4", { id: "card-title" }, "“" + visible(piece.text) + "”");
    const close = make("button", { type: "button", className: "quiet" }, "Close");
    const verdict = make("p", { className: "small verdict", id: "card-verdict" }, verdictOf(piece));
    const card = make("div", { id: "card", role: "dialog", tabIndex: -1, "aria-labelledby": "card-title",
        "aria-describedby": "card-verdict" }, make("div", { className: "head" }, title, close), verdict);
    if (piece.members.length > 0) {
        card.append(cardTable(piece));
    }
    close.addEventListener("click", () => closeCard(true));
    card.addEventListener("keydown", (event) => cardKey(event));
    state.inspected = { turn, index, fromKeys };
    piece.node.classList.add("open");
    turn.replyNode.append(card);
    placeCard(card, piece.node, turn.replyNode);
    card.focus({ preventScroll: true });
    card.scrollIntoView({ block: "nearest" });
}

/* Under the piece's last line, inside the column. */
function placeCard(card, node, frame) {
    const lines = node.getClientRects();
    const last = lines[lines.length - 1];
    const outer = frame.getBoundingClientRect();
    const left = Math.min(last.left - outer.left, outer.width - card.offsetWidth);
    card.style.setProperty("left", Math.max(0, left) + "px");
    const top = last.bottom - outer.top + 8;
    card.style.setProperty("top", top + "px");
    /* Below the last reply there is nothing that it could cover. */
    if (frame.parentNode === $("log").lastChild) {
        frame.style.setProperty("min-height", top + card.offsetHeight + "px");
    }
}

function cardKey(event) {
    const { turn, index, fromKeys } = state.inspected;
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (event.key === "Escape") {
        closeCard(true);
    } else if (step && turn.pieces[index + step]) {
        openCard(turn, index + step, fromKeys);
    } else {
        return;
    }
    event.preventDefault();
    event.stopPropagation();
}

function closeCard(refocus) {
    if (!state.inspected) {
        return;
    }
    const { turn, index, fromKeys } = state.inspected;
    state.inspected = null;
    $("card")?.remove();
    turn.pieces[index]?.node.classList.remove("open");
    turn.replyNode.style.removeProperty("min-height");
    if (refocus && fromKeys) {
        focusPiece(turn, index);
    } else if (refocus) {
        turn.inspect?.focus({ preventScroll: true });
    }
}

/* ---- the composer ---- */

const mode = () => document.querySelector("input[name=mode]:checked").value;

function showMode() {
    const chat = mode() === "chat";
    $("prompt-label").textContent = chat ? "Your message" : "Text to continue";
    $("prompt").placeholder = chat ? "Write a message" : "Write the beginning of a text";
    store.set("mode", mode());
}

function fitPrompt() {
    const prompt = $("prompt");
    prompt.style.setProperty("height", "auto");
    prompt.style.setProperty("height", prompt.scrollHeight + 2 + "px");
}

function submit() {
    const asked = $("prompt").value;
    if (state.running || asked.trim() === "") {
        return;
    }
    $("prompt").value = "";
    fitPrompt();
    runTurn(addTurn(mode(), asked));
}

function startAnew() {
    state.running?.abort();
    closeCard();
    state.turns = [];
    $("log").replaceChildren();
    $("empty").hidden = false;
    $("prompt").focus();
    window.scrollTo({ top: 0, behavior: "instant" });
}

function listen() {
    $("composer").addEventListener("submit", (event) => {
        event.preventDefault();
        submit();
    });
    $("prompt").addEventListener("input", fitPrompt);
    $("prompt").addEventListener("keydown", (event) => {
        if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
            event.preventDefault();
            submit();
        }
    });
    $("stop").addEventListener("click", () => state.running?.abort());
    document.addEventListener("keydown", (event) => {
        if (event.key === "Escape" && state.running && !document.querySelector("dialog[open]")) {
            state.running.abort();
        }
    });
    document.addEventListener("click", (event) => {
        if (!event.target.closest("#card")) {
            closeCard(false);
        }
    });
    window.addEventListener("resize", () => closeCard(false));
    for (const example of document.querySelectorAll(".example")) {
        example.addEventListener("click", () => {
            $("prompt").value = example.textContent;
            $("prompt").focus();
            submit();
        });
    }
    for (const radio of document.querySelectorAll("input[name=mode]")) {
        radio.checked = radio.value === (store.get("mode") || "chat");
        radio.addEventListener("change", showMode);
    }
    $("model").addEventListener("change", () => store.set("model", $("model").value));
    $("new").addEventListener("click", startAnew);
    $("theme").addEventListener("click", nextTheme);
    $("open-settings").addEventListener("click", () => {
        fillSettings();
        $("settings").showModal();
    });
    $("settings").addEventListener("close", readSettings);
    $("no-key").addEventListener("click", () => $("ask-key").close());
    $("reset").addEventListener("click", () => {
        state.settings = { ...DEFAULTS };
        fillSettings();
    });
}

/* Open beside the text, folded above it. */
function placePanel() {
    const wide = window.matchMedia("(min-width: 60rem)");
    const place = () => { $("panel").open = wide.matches; };
    place();
    wide.addEventListener("change", place);
}

document.addEventListener("DOMContentLoaded", () => {
    loadSettings();
    showTheme();
    placePanel();
    listen();
    showMode();
    loadModels();
    $("prompt").focus({ preventScroll: true });
});
