/* app.js - what a person sees and does: turns, the card of a piece, the composer. Last of the page's scripts. */
"use strict";

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
