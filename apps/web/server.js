/* server.js - the page as a client of the server's own API, nothing more: requests, streams, keys, the list of
 * models, and what the settings ask for. Second of the page's three scripts. */
"use strict";

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
