/* pack.js - what the page knows of a pack: who its members are, their weights, who carried a piece; before
 * that the small tools that all its files use, and the theme. First of the page's three scripts.
 *
 * Text of models, users and servers only ever becomes text nodes; styles are classes, data attributes and
 * custom properties, so `default-src 'self'` is enough. Every field of the server's `packllm` object is
 * optional: what is missing is not shown. Kept: settings, theme and key, in sessionStorage. */
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
