// What the pages do beside htmx: live parts, times that go on, keys, the two looks. Every page can be read, and every
// action taken, without it.
"use strict";

const byId = (id) => document.getElementById(id);

// ---- The two looks: the choice goes into a cookie, so that the server draws the next page in it from the start.

const themeButton = byId("theme");
const isDark = () => document.documentElement.dataset.theme
    ? document.documentElement.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
themeButton.hidden = false;
themeButton.addEventListener("click", () => {
    const theme = isDark() ? "light" : "dark";
    document.documentElement.dataset.theme = theme;
    document.cookie = `labrun_theme=${theme}; Path=/; Max-Age=31536000; SameSite=Lax`;
});

// ---- Times that go on.

function span(seconds) {
    const two = (number) => String(number).padStart(2, "0");
    const [minutes, hours, days] = [60, 3600, 86400].map((unit) => Math.floor(seconds / unit));
    if (seconds < 60) return `${seconds} s`;
    if (hours < 1) return `${minutes} min ${two(seconds % 60)} s`;
    if (hours < 48) return `${hours} h ${two(minutes % 60)} min`;
    return `${days} d ${two(hours % 24)} h`;
}

function ago(seconds) {
    if (seconds < 10) return "just now";
    if (seconds < 60) return `${seconds} s ago`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
    if (seconds < 2 * 86400) return `${Math.floor(seconds / 3600)} h ago`;
    return `${Math.floor(seconds / 86400)} d ago`;
}

function put(element, text) {
    if (element.textContent !== text) element.textContent = text;
}

function tick() {
    const since = (time) => Math.max(0, Math.floor((Date.now() - Date.parse(time)) / 1000));
    for (const time of document.querySelectorAll("time[data-ago]")) put(time, ago(since(time.dateTime)));
    for (const element of document.querySelectorAll("[data-since]")) put(element, span(since(element.dataset.since)));
}
setInterval(tick, 1000);

// ---- Keys: `/` goes to the filter, Escape leaves it.

document.addEventListener("keydown", (event) => {
    const target = event.target;
    const isTyping = target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));
    const box = document.querySelector("[data-slash]");
    if (event.key === "/" && box && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
        event.preventDefault();
        box.focus();
        box.select();
    }
    if (event.key === "Escape" && target === box && !box.value) box.blur();
    if (event.key === "Escape") for (const menu of document.querySelectorAll(".menu[open]")) menu.open = false;
});
document.addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll(".menu[open]")) if (!menu.contains(event.target)) menu.open = false;
    if (event.target.closest("[data-dismiss]")) byId("notice").replaceChildren();
    if (event.target.closest("[data-close]")) {
        event.preventDefault();
        byId("dialog").close();
    }
});

// ---- Live parts. An element with `data-live` names a stream; each message holds elements that take the place of those
// with their ids. What the reader has chosen, opened or focused stays so.

let stream = null;
let streamOf = null;
// How far the log was read, so that a new stream goes on from there.
let place = null;

function replace(html) {
    const parsed = document.createElement("template");
    parsed.innerHTML = html;
    // A list of its own: the children are live, and each that takes its place leaves them.
    for (const fresh of [...parsed.content.children]) {
        const old = byId(fresh.id);
        if (!old || old.outerHTML === fresh.outerHTML) continue;
        // An output that is there keeps its preview.
        for (const kept of fresh.querySelectorAll("[data-keep]")) {
            const there = byId(kept.id);
            if (there) kept.replaceWith(there);
        }
        const picked = old.querySelector("input[name=job]");
        if (picked) fresh.querySelector("input[name=job]").checked = picked.checked;
        const focused = old.contains(document.activeElement) ? [...old.querySelectorAll("a, button, input, summary")].indexOf(document.activeElement) : -1;
        const opened = [...old.querySelectorAll("details")].map((details) => details.open);
        fresh.querySelectorAll("details").forEach((details, place) => { if (opened[place]) details.open = true; });
        old.replaceWith(fresh);
        htmx.process(fresh);
        if (focused >= 0) fresh.querySelectorAll("a, button, input, summary")[focused]?.focus();
    }
}

function follow() {
    const element = document.querySelector("[data-live]");
    // A page that nobody sees needs no stream, and browsers open only a few connections to a server.
    const source = document.hidden ? null : element?.dataset.live || null;
    if (source === streamOf) return;
    stream?.close();
    [stream, streamOf] = [null, source];
    if (!source) return;
    place ??= element.dataset.place ?? null;
    stream = new EventSource(place ? `${source}?place=${place}` : source);
    stream.addEventListener("part", (event) => replace(event.data));
    stream.addEventListener("news", (event) => news(Number(event.data)));
    stream.addEventListener("log", (event) => {
        place = event.lastEventId;
        appendLog(JSON.parse(event.data));
    });
    stream.addEventListener("over", () => stream.close());
    stream.addEventListener("error", () => {
        // The browser tries again by itself, unless the server has said no.
        if (stream?.readyState === EventSource.CLOSED) {
            const told = document.createElement("p");
            told.className = "problem";
            told.textContent = "This page is no longer live; you may have been logged out. ";
            const link = document.createElement("a");
            link.href = location.href;
            link.textContent = "Load it again";
            told.append(link);
            byId("notice").replaceChildren(told);
        }
    });
}

document.addEventListener("visibilitychange", follow);

// ---- New jobs: shown at once, unless somebody is about to act on what is there.

// The least time between two reloads of the table, in milliseconds.
const RELOAD_EVERY_MS = 2000;

let newJobs = 0;
let reloaded = 0;
let reloading = null;

function news(count) {
    newJobs += count;
    reloading ??= setTimeout(showNews, Math.max(0, reloaded + RELOAD_EVERY_MS - Date.now()));
}

function showNews() {
    reloading = null;
    const jobs = byId("jobs");
    if (!jobs) return;
    const isBusy = jobs.querySelector("input[name=job]:checked") || byId("dialog")?.open || jobs.contains(document.activeElement) || scrollY > 200;
    if (!isBusy) {
        reloadJobs();
        return;
    }
    const link = byId("news").firstElementChild;
    link.textContent = newJobs === 1 ? "Show 1 new job" : `Show ${newJobs} new jobs`;
    byId("news").hidden = false;
}

function reloadJobs() {
    newJobs = 0;
    reloaded = Date.now();
    htmx.ajax("GET", byId("jobs").dataset.href, {target: "#jobs", swap: "outerHTML"});
}

// ---- The log: appended to, and followed while its end is in sight.

const LOG_CHARS_MAX = 1 << 20;

function appendLog(text) {
    const log = byId("log");
    if (!log) return;
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    log.append(text);
    while (log.textContent.length > LOG_CHARS_MAX && log.childNodes.length > 1) log.firstChild.remove();
    byId("log-empty")?.remove();
    if (atEnd) log.scrollTop = log.scrollHeight;
}

// ---- Choosing jobs.

function showPicked() {
    const actions = byId("actions");
    if (!actions) return;
    const form = actions.closest("form");
    const count = form.querySelectorAll("input[name=job]:checked").length;
    const all = form.elements.all.checked;
    for (const button of actions.querySelectorAll("button")) button.disabled = !count && !all;
    put(byId("picked"), all ? "All that pass the filter:" : count ? `${count} chosen:` : "Choose jobs to act on them:");
    const head = form.querySelector("[data-pick-all]");
    const boxes = form.querySelectorAll("input[name=job]").length;
    head.checked = count > 0 && count === boxes;
    head.indeterminate = count > 0 && count < boxes;
}
document.addEventListener("change", (event) => {
    if (event.target.matches("[data-pick-all]")) {
        for (const box of event.target.form.querySelectorAll("input[name=job]")) box.checked = event.target.checked;
    }
    showPicked();
});

// ---- Filters kept as links, in this browser.

const LINKS = "labrun.links";

function savedLinks() {
    try {
        const saved = JSON.parse(localStorage.getItem(LINKS) ?? "[]");
        return saved.filter(({name, q}) => typeof name === "string" && typeof q === "string");
    } catch {
        return [];
    }
}

function showLinks() {
    const nav = byId("links");
    if (!nav) return;
    const here = new URLSearchParams(location.search).get("q") ?? "";
    for (const own of nav.querySelectorAll("[data-own]")) own.remove();
    for (const {name, q} of savedLinks()) {
        const link = document.createElement("a");
        link.href = `/jobs?q=${encodeURIComponent(q)}`;
        link.textContent = name;
        link.dataset.own = "";
        nav.append(link);
    }
    for (const link of nav.children) {
        const q = new URLSearchParams(new URL(link.href).search).get("q") ?? "";
        if (q === here) link.setAttribute("aria-current", "true");
        else link.removeAttribute("aria-current");
    }
    const save = byId("save-link");
    save.hidden = !here;
    put(save, savedLinks().some(({q}) => q === here) ? "Forget" : "Save");
}
byId("save-link")?.addEventListener("click", () => {
    const q = new URLSearchParams(location.search).get("q") ?? "";
    const links = savedLinks();
    const at = links.findIndex((link) => link.q === q);
    if (at >= 0) links.splice(at, 1);
    else {
        const name = prompt("A name for this filter", q)?.trim();
        if (!name) return;
        links.push({name: name.slice(0, 60), q});
    }
    localStorage.setItem(LINKS, JSON.stringify(links));
    showLinks();
});

// ---- After every change of the page.

function settle() {
    follow();
    showPicked();
    showLinks();
    tick();
}
document.addEventListener("htmx:afterSettle", (event) => {
    if (event.detail.target?.id === "dialog" && byId("dialog").childElementCount && !byId("dialog").open) byId("dialog").showModal();
    settle();
});
document.addEventListener("labrun:done", () => {
    byId("dialog")?.close();
    if (byId("jobs")) {
        reloadJobs();
        return;
    }
    // A new stream begins with all that can change.
    streamOf = null;
    follow();
});
document.addEventListener("htmx:sendError", () => {
    const told = document.createElement("p");
    told.className = "problem";
    told.textContent = "labrun does not answer. Is it running?";
    byId("notice").replaceChildren(told);
});
const log = byId("log");
if (log) log.scrollTop = log.scrollHeight;
settle();
