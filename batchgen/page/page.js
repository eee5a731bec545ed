"use strict";

// The gallery. All text goes into the page as text, and every address that becomes a link was made by batchgen:
// nothing of a ledger is ever read as markup.

const $ = (id) => document.getElementById(id);
const AT_A_TIME = 200; // cards
const AT_ONCE = 16; // cards that are made before the page is shown again; the others follow, so many at a time
const NAMES_A_LINE = 400;
const LONG = 320; // letters of a message of which not all is shown at first
const live = JSON.parse(document.querySelector('meta[name="batchgen-live"]')?.content ?? "null");
const count = new Intl.NumberFormat("en-US");
const dollars = new Intl.NumberFormat("en-US", { style: "currency", currency: "USD" });
const clock = new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const UNSEEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\uffa0]/gu;
// What ledgers and people call the kinds of takes.
const ALIASES = { downloaded: "done", rejected: "refused", succeeded: "coming", submitted: "running", submitting: "running", pending: "waiting", unusable: "picture", abandoned: "given-up" };
const WORST = ["unknown", "failed", "refused", "picture", "gone", "retry", "waiting", "coming", "running", "given-up", "done"];

let data; // as columns.py makes it
let jobs = []; // {manifest, job, takes}
let found = []; // {job, takes}: what the filter leaves, in order
let made = 0; // cards of these
let playing = null; // {figure, video}
let choices = new Map(); // name of a take -> {verdict, note}, of a page from disk

// -- data -------------------------------------------------------------------------------------------------------------

async function unpacked(base64) {
  const bytes = Uint8Array.fromBase64 ? Uint8Array.fromBase64(base64) : Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

function read(packed) {
  data = packed;
  const { columns, texts, manifests, more } = data;
  for (const name of data.differences) {
    let value = 0;
    columns[name] = columns[name].map((difference) => (value += difference));
  }
  const text = (number) => (number ? texts[number - 1] : "");
  const kinds = Object.keys(data.kinds);
  const byName = new Map();
  columns.job.forEach((job, place) => {
    const manifest = manifests[columns.manifest[place] - 1];
    const number = columns.take[place];
    const take = {
      manifest, job, take: number, place,
      name: `${manifest}/${job}` + (number > 1 ? `@${number}` : ""),
      kind: kinds[columns.kind[place]],
      at: columns.at[place],
      seconds: columns.seconds[place],
      prompt: text(columns.prompt[place]),
      mode: text(columns.mode[place]),
      length: columns.length[place],
      sound: columns.sound[place] === 1,
      micros: columns.micros[place],
      image: text(columns.image[place]),
      thumb: columns.thumb[place],
      lacks: text(columns.lacks[place]),
      clip: text(columns.clip[place]),
      ...more[place],
    };
    const key = JSON.stringify([manifest, job]);
    if (!byName.has(key)) byName.set(key, { manifest, job, takes: [] });
    byName.get(key).takes.push(take);
  });
  jobs = [...byName.values()];
  for (const one of jobs) one.takes.sort((a, b) => a.take - b.take);
}

function address(pattern, job) {
  const quoted = () => encodeURIComponent(job).replace(/[!'()*]/g, (letter) => "%" + letter.charCodeAt(0).toString(16).toUpperCase()).replaceAll("%2F", "/");
  return pattern.includes("*") ? pattern.replace("*", quoted) : pattern;
}

const sourceOf = (take) => (/^https?:\/\//i.test(take.image) ? take.image : address(take.image, take.job));
const thumbOf = (take) => (take.thumb ? `${data.thumbnails}${take.thumb}.jpg` : "");
const shown = (text) => text.replace(UNSEEN, (letter) => (letter === "\n" || letter === "\u200d" || letter === "\u200c" ? letter : [...new Array(letter.length)].map((_, at) => "\\u" + letter.charCodeAt(at).toString(16).padStart(4, "0")).join("")));
const judged = (take) => choices.get(take.name) ?? (take.verdict ? { verdict: take.verdict, note: take.note ?? "" } : null);
const nightOf = (take) => new Date((take.at - 43200) * 1000).toISOString().slice(0, 10);

// -- filter -----------------------------------------------------------------------------------------------------------

function wanted(query) {
  const tests = [];
  for (const [, minus, field, sign, quoted, word] of query.matchAll(/(-?)(?:([a-z]+)(:|(?=[<>])))?(?:"([^"]*)"?|(\S+))/gi)) {
    const value = (quoted ?? word).toLowerCase();
    const test = (field && fieldTest(field.toLowerCase(), value)) || textTest((field ? field.toLowerCase() + (sign || "") : "") + value);
    tests.push(minus ? (take) => !test(take) : test);
  }
  return (take) => tests.every((test) => test(take));
}

function textTest(value) {
  return (take) => {
    take.text ??= [take.name, take.prompt, take.message, take.code, take.id, take.task, take.note].filter(Boolean).join("\n").toLowerCase();
    return take.text.includes(value);
  };
}

function fieldTest(field, value) {
  const kind = ALIASES[value] ?? value;
  switch (field) {
    case "state": return (take) => take.kind === kind || data.kinds[take.kind] === kind;
    case "manifest": return (take) => take.manifest.toLowerCase() === value || (value.endsWith("*") && take.manifest.toLowerCase().startsWith(value.slice(0, -1)));
    case "job": return (take) => take.job.toLowerCase().includes(value);
    case "take": return numberTest(value, (take) => take.take);
    case "cost": return numberTest(value, (take) => take.micros / 1e6);
    case "length": return numberTest(value, (take) => take.length);
    case "mode": return (take) => take.mode === value;
    case "sound": return (take) => take.sound === (value === "on");
    case "night": return (take) => nightOf(take) === value;
    case "cause": return (take) => take.cause === value;
    case "risk": return (take) => (value === "any" ? Boolean(take.risk || take.changed) : value === "changed" ? Boolean(take.changed) : take.risk === value);
    case "verdict": return (take) => (judged(take)?.verdict ?? (take.clip ? "none" : "")) === value;
    default: return null;
  }
}

function numberTest(text, of) {
  const match = /^(<=|>=|<|>|=)?\$?(\d+(?:\.\d*)?|\.\d+)$/.exec(text);
  if (!match) return () => false;
  const value = Number(match[2]);
  switch (match[1]) {
    case "<": return (take) => of(take) < value;
    case ">": return (take) => of(take) > value;
    case "<=": return (take) => of(take) <= value;
    case ">=": return (take) => of(take) >= value;
    default: return (take) => of(take) === value;
  }
}

const last = (entry, of) => entry.takes.reduce((most, take) => Math.max(most, of(take)), -Infinity);
const ORDERS = {
  newest: (a, b) => last(b, (take) => take.at) - last(a, (take) => take.at) || b.takes[0].place - a.takes[0].place,
  oldest: (a, b) => last(a, (take) => take.at) - last(b, (take) => take.at) || a.takes[0].place - b.takes[0].place,
  name: (() => { const collator = new Intl.Collator("en", { numeric: true }); return (a, b) => collator.compare(a.job.manifest, b.job.manifest) || collator.compare(a.job.job, b.job.job); })(),
  cost: (a, b) => last(b, (take) => take.micros) - last(a, (take) => take.micros),
  slowest: (a, b) => last(b, (take) => take.seconds) - last(a, (take) => take.seconds),
  problems: (a, b) => last(b, (take) => -WORST.indexOf(take.kind)) - last(a, (take) => -WORST.indexOf(take.kind)) || ORDERS.newest(a, b),
};

function apply() {
  const fits = wanted($("query").value);
  found = [];
  for (const job of jobs) {
    const takes = job.takes.filter(fits);
    if (takes.length) found.push({ job, takes });
  }
  found.sort(ORDERS[$("sort").value]);
  stop();
  $("cards").replaceChildren();
  made = 0;
  showMore(AT_ONCE);
  followUp();
  tell();
}

let scheduled = 0;

function followUp() {
  clearTimeout(scheduled);
  scheduled = setTimeout(() => {
    showMore(Math.min(AT_ONCE, AT_A_TIME - made));
    if (made < Math.min(AT_A_TIME, found.length)) followUp();
  });
}

function tell() {
  let takes = 0, micros = 0, done = 0;
  for (const entry of found) for (const take of entry.takes) { takes += 1; micros += take.micros; done += take.kind === "done"; }
  $("count").textContent = `${count.format(takes)} ${takes === 1 ? "take" : "takes"} of ${count.format(found.length)} ${found.length === 1 ? "job" : "jobs"}, ${count.format(done)} done, ${dollars.format(micros / 1e6)}`;
  $("nothing").hidden = found.length > 0 || !jobs.length;
  for (const chip of $("chips").children) chip.setAttribute("aria-pressed", String(tokens().includes(chip.dataset.token)));
}

const tokens = () => $("query").value.split(/\s+/).filter(Boolean);

function chips() {
  const counts = new Map();
  const add = (token, label, kind) => { const one = counts.get(token) ?? { label, kind, count: 0 }; one.count += 1; counts.set(token, one); };
  for (const job of jobs) for (const take of job.takes) add(`state:${take.kind}`, data.kinds[take.kind], take.kind);
  const listed = [...counts].sort(([, a], [, b]) => Object.keys(data.kinds).indexOf(a.kind) - Object.keys(data.kinds).indexOf(b.kind));
  for (const verdict of ["keep", "retake", "none"]) {
    const of = jobs.reduce((sum, job) => sum + job.takes.filter(fieldTest("verdict", verdict)).length, 0);
    if (of) listed.push([`verdict:${verdict}`, { label: verdict === "none" ? "not judged" : verdict, kind: verdict, count: of }]);
  }
  $("chips").replaceChildren(...listed.map(([token, one]) => {
    const chip = document.createElement("button");
    chip.type = "button";
    chip.className = `chip ${one.kind}`;
    chip.dataset.token = token;
    chip.append(one.label, " ", Object.assign(document.createElement("span"), { className: "times", textContent: count.format(one.count) }));
    chip.addEventListener("click", () => toggle(token));
    return chip;
  }));
}

function toggle(token) {
  const now = tokens();
  const field = token.slice(0, token.indexOf(":") + 1);
  const others = now.filter((one) => !one.startsWith(field));
  set([...others, ...(now.includes(token) ? [] : [token])].join(" "));
}

function set(query) {
  $("query").value = query;
  remember();
  apply();
}

function remember() {
  const state = new URLSearchParams();
  if ($("query").value) state.set("q", $("query").value);
  if ($("sort").value !== "newest") state.set("sort", $("sort").value);
  const hash = state.toString().replaceAll("%3A", ":");
  history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
}

function recall() {
  const state = new URLSearchParams(location.hash.slice(1));
  if (location.hash.length > 1 && !state.has("q") && !state.has("sort")) return false; // a place on the page
  $("query").value = state.get("q") ?? "";
  $("sort").value = state.get("sort") in ORDERS ? state.get("sort") : "newest";
  return true;
}

// -- cards ------------------------------------------------------------------------------------------------------------

function showMore(number) {
  const cards = document.createDocumentFragment();
  const until = Math.min(made + number, found.length);
  for (; made < until; made += 1) cards.append(card(found[made], made));
  $("cards").append(cards);
  const left = found.length - made;
  $("more-line").hidden = left === 0;
  $("more").textContent = `Show ${count.format(Math.min(left, AT_A_TIME))} more of ${count.format(left)}`;
}

function card({ job, takes }, place) {
  const node = $("card").content.firstElementChild.cloneNode(true);
  const newest = takes[takes.length - 1];
  const same = takes.every((take) => take.prompt === newest.prompt);
  const first = source(newest, job, same);
  const title = first.querySelector("h3");
  title.id = `card-${place}`;
  node.dataset.place = place;
  node.setAttribute("aria-labelledby", title.id);
  node.classList.toggle("several", takes.length > 1);
  node.classList.toggle("many", takes.length > 2);
  node.querySelector(".frames").append(first, ...takes.map((take, number) => frame(take, number, takes.length > 1, same)));
  return node;
}

function source(take, job, same) {
  const node = $("source").content.firstElementChild.cloneNode(true);
  const isolated = (text, className) => Object.assign(document.createElement("bdi"), { textContent: shown(text), className });
  node.querySelector("h3").append(isolated(job.manifest, "manifest"), isolated(job.job, "job"));
  node.querySelector(".prompt").textContent = same ? shown(take.prompt) : "";
  const box = node.querySelector(".box");
  const address = sourceOf(take);
  const thumb = thumbOf(take);
  let inside = box;
  if (address) {
    inside = Object.assign(document.createElement("a"), { href: address, target: "_blank", rel: "noopener noreferrer" });
    inside.setAttribute("aria-label", `Source picture of ${shown(take.name)}, in full`);
    box.append(inside);
  }
  if (thumb) inside.append(picture(thumb, address ? "" : `Source picture of ${shown(take.name)}`));
  else inside.append(Object.assign(document.createElement("span"), { className: "none", textContent: /^https?:/i.test(take.image) ? "picture at its address" : take.lacks ? shown(take.lacks) : take.image ? "no thumbnail" : "no picture here" }));
  return node;
}

function picture(address, alt) {
  const image = document.createElement("img");
  image.loading = "lazy";
  image.decoding = "async";
  image.alt = alt;
  image.src = address;
  return image;
}

function frame(take, number, several, same) {
  const node = $("frame").content.firstElementChild.cloneNode(true);
  const part = (name) => node.querySelector(`.${name}`);
  node.dataset.number = number;
  node.take = take;
  fill(take, part("box"));
  part("state").textContent = (several || take.take > 1 ? `Take ${take.take} · ` : "") + data.kinds[take.kind];
  part("state").classList.add(take.kind);
  part("facts").textContent = [take.mode, take.length ? `${take.length} s` : "", take.sound ? "sound" : "", take.micros ? dollars.format(take.micros / 1e6) : "", clock.format(take.at * 1000)].filter(Boolean).join(" · ");
  part("facts").title = take.seconds >= 0 ? `The task took ${duration(take.seconds)}` : "";
  const notes = [];
  if (!same && take.prompt) notes.push(take.prompt);
  if (take.later) notes.push("A later task for this take did not bring a clip:");
  if (take.message) notes.push(take.message + (take.code && !take.code.startsWith("failed") ? ` [${take.code}]` : ""));
  if (take.tasks > 1) notes.push(`${take.tasks} tasks, ${take.failed} failed`);
  if (take.changed) notes.push(`Changed: ${take.changed}`);
  if (take.risk === "picture") notes.push("The source picture has changed since.");
  if (take.kind === "unknown" && take.id) notes.push(take.id);
  if (take.ordered) notes.push(`Take ${take.ordered} is ordered`);
  if (take.moved) notes.push(`Its job was renamed: another take was ordered as ${take.moved}`);
  part("message").textContent = shown(notes.join("\n"));
  part("message").hidden = !notes.length;
  if (notes.join("\n").length > LONG) {
    part("message").classList.add("long");
    part("whole").hidden = false;
    part("whole").setAttribute("aria-label", `Show all that is said of ${shown(take.name)}`);
    part("whole").addEventListener("click", () => { part("message").classList.remove("long"); part("whole").remove(); });
  }
  const judge = part("judge");
  if (take.clip || take.verdict) {
    part("keep").addEventListener("click", () => choose(node, "keep"));
    part("retake").addEventListener("click", () => choose(node, "retake"));
    part("keep").setAttribute("aria-label", `Keep ${shown(take.name)}`);
    part("retake").setAttribute("aria-label", `Retake ${shown(take.name)}`);
    part("wish").setAttribute("aria-label", `What should be different in the next take of ${shown(take.job)}`);
    part("wish").addEventListener("change", (event) => decide(node, "retake", event.target.value.trim()));
    mark(node);
  } else judge.remove();
  return node;
}

const duration = (seconds) => (seconds < 100 ? `${seconds} s` : `${Math.round(seconds / 60)} min`);

function fill(take, box) {
  const thumb = thumbOf(take);
  if (!take.clip) {
        box.replaceChildren(Object.assign(document.createElement("span"), { className: "none", textContent: take.risk === "missing" ? "not on this disk" : "no clip" }));
    return;
  }
  const button = document.createElement("button");
  button.type = "button";
  button.className = "play";
  button.setAttribute("aria-label", `Play ${shown(take.name)}`);
  if (thumb) button.append(picture(thumb, ""));
  button.append(Object.assign(document.createElement("span"), { className: "triangle", ariaHidden: "true" }));
  button.addEventListener("click", () => play(box.closest("figure")));
  box.replaceChildren(button);
}

// -- clips: one at a time, loaded when it is asked for ---------------------------------------------------------------

function play(figure) {
  if (playing?.figure === figure) {
    if (playing.video.paused) playing.video.play().catch(() => {});
    else playing.video.pause();
    return;
  }
  stop();
  const { take } = figure;
  if (!take.clip) return;
  const box = figure.querySelector(".box");
  const focused = box.contains(document.activeElement);
  const video = Object.assign(document.createElement("video"), { controls: true, loop: true, playsInline: true, preload: "auto" });
  video.setAttribute("aria-label", `Clip of ${shown(take.name)}`);
  video.addEventListener("error", () => {
    if (playing?.video === video) playing = null;
    const link = Object.assign(document.createElement("a"), { href: address(take.clip, take.job), textContent: "This browser can't play it here: open the file", className: "none" });
    box.replaceChildren(link);
  });
  video.src = address(take.clip, take.job);
  box.replaceChildren(video);
  playing = { figure, video };
  if (focused) video.focus();
  video.play().catch(() => {}); // stopped before it began, or its error is shown
}

function stop() {
  if (!playing) return;
  const { figure, video } = playing;
  playing = null;
  const focused = document.activeElement === video;
  video.pause();
  video.removeAttribute("src");
  video.load();
  fill(figure.take, figure.querySelector(".box"));
  if (focused) figure.querySelector(".play").focus();
  catchUp();
}

// -- verdicts ---------------------------------------------------------------------------------------------------------

function choose(figure, verdict) {
  const now = judged(figure.take);
  decide(figure, now?.verdict === verdict ? null : verdict, verdict === "retake" ? (now?.note ?? "") : "");
}

async function decide(figure, verdict, note) {
  const { take } = figure;
  if (live) {
    const before = { verdict: take.verdict, note: take.note };
    Object.assign(take, { verdict: verdict ?? undefined, note });
    mark(figure);
    try {
      const body = JSON.stringify({ external_task_id: take.id, manifest: take.manifest, job_id: take.job, take: take.take, verdict, note });
      const answer = await fetch(live.verdicts, { method: "POST", headers: { "Content-Type": "application/json", "X-Batchgen-Token": live.token }, body });
      if (!answer.ok) throw new Error((await answer.text()) || answer.statusText);
      trouble("");
      said = "";
      orders();
    } catch (error) {
      Object.assign(take, before);
      mark(figure);
      trouble(`The verdict on ${take.name} was not written: ${error.message}`);
    }
  } else {
    if (verdict) choices.set(take.name, { verdict, note, manifest: take.manifest });
    else choices.delete(take.name);
    keepChoices();
    mark(figure);
    tray();
  }
  take.text = undefined;
}

function mark(figure) {
  const now = judged(figure.take);
  const wish = figure.querySelector(".wish");
  if (!wish) return;
  for (const verdict of ["keep", "retake"]) figure.querySelector(`.${verdict}`).setAttribute("aria-pressed", String(now?.verdict === verdict));
  figure.classList.toggle("kept", now?.verdict === "keep");
  figure.classList.toggle("again", now?.verdict === "retake");
  wish.hidden = now?.verdict !== "retake";
  if (document.activeElement !== wish) wish.value = now?.note ?? "";
}

// -- orders, of a page from a server: a verdict costs nothing, an order does --------------------------------------------

function marked() {
  const newest = jobs.map((job) => job.takes[job.takes.length - 1]);
  return newest.filter((take) => judged(take)?.verdict === "retake" && !take.ordered && !take.moved);
}

let said = ""; // what became of the last orders

function orders() {
  if (!live) return;
  const takes = marked();
  const cost = takes.reduce((sum, take) => sum + take.micros / (take.tasks ?? 1), 0) / 1e6;
  const many = `${count.format(takes.length)} ${takes.length === 1 ? "clip is" : "clips are"} marked to take again`;
  $("orders").hidden = !takes.length && !said;
  document.body.classList.toggle("has-tray", !$("orders").hidden);
  $("orders-text").textContent = [said, takes.length ? `${many}. Nothing of that is ordered or paid yet.` : ""].filter(Boolean).join(" ");
  $("order").hidden = !takes.length;
  $("order").textContent = `Order ${takes.length === 1 ? "1 take" : `${count.format(takes.length)} takes`}, about ${dollars.format(cost)}`;
}

async function order() {
  const wanted = marked().map((take) => ({ manifest: take.manifest, job_id: take.job, note: judged(take)?.note ?? "" }));
  $("order").disabled = true;
  try {
    const answer = await own(live.orders, { method: "POST", body: JSON.stringify({ jobs: wanted }) }, { "Content-Type": "application/json" });
    if (!answer.ok) throw new Error((await answer.text()) || answer.statusText);
    const { ordered, refused } = await answer.json();
    const of = new Map(ordered.map((one) => [JSON.stringify([one.manifest, one.job_id]), one.take]));
    for (const take of marked()) take.ordered = of.get(JSON.stringify([take.manifest, take.job]));
    const others = refused.map((one) => `${one.manifest}/${one.job_id}: ${one.reason}.`);
    const them = ordered.length === 1 ? "it" : "them";
    const then = data.rehearsal
      ? `, in the ledger of a rehearsal: no run makes or pays ${them}`
      : `: the next run that begins makes and pays ${them}; until then, batchgen retake --withdraw JOB takes one back`;
    said = `${count.format(ordered.length)} ordered${then}. ${shown(others.join(" "))}`.trim();
    orders();
    trouble("");
  } catch (error) {
    trouble(`Nothing was ordered: ${error.message}`);
  } finally {
    $("order").disabled = false;
  }
}

const STORE = `batchgen ${location.pathname}`;

function keepChoices() {
  try { sessionStorage.setItem(STORE, JSON.stringify([...choices])); } catch { /* they last as long as the page */ }
}

function recallChoices() {
  try { choices = new Map(JSON.parse(sessionStorage.getItem(STORE) ?? "[]")); } catch { choices = new Map(); }
}

function tray() {
  $("tray").hidden = choices.size === 0;
  document.body.classList.toggle("has-tray", choices.size > 0);
  if (!choices.size) return;
  const of = (verdict) => [...choices.values()].filter((one) => one.verdict === verdict).length;
  const parts = [];
  if (of("keep")) parts.push(`${count.format(of("keep"))} to keep`);
  if (of("retake")) parts.push(`${count.format(of("retake"))} to take again`);
  $("tray-count").textContent = `${parts.join(", ")}: run this where the ledger is`;
  const lines = commandLines();
  $("command").value = lines.join("\n");
  $("command").rows = Math.min(lines.length, 4);
}

function commandLines() {
  const lines = [];
  const groups = new Map(); // the line's beginning -> names
  for (const [name, { verdict, note }] of choices) {
    const begin = data.commands[verdict] + (note ? ` --note ${quoted(note)}` : "");
    groups.set(begin, [...(groups.get(begin) ?? []), name]);
  }
  for (const [begin, names] of groups) {
    for (let at = 0; at < names.length; at += NAMES_A_LINE) {
      const some = names.slice(at, at + NAMES_A_LINE);
      lines.push(`${begin} ${some.some((name) => name.startsWith("-")) ? "-- " : ""}${some.map(quoted).join(" ")}`);
    }
  }
  return lines;
}

// One word for a shell. What can't be seen is escaped as bytes, as bash, zsh and ksh read them.
function quoted(text) {
  if (text.length && /^[A-Za-z0-9@%+=:,./_-]+$/.test(text)) return text;
  if (!text.replaceAll(" ", "").match(/[\p{C}\p{Z}]/u)) return `'${text.replaceAll("'", `'"'"'`)}'`;
  const bytes = (letter) => {
    const code = letter.charCodeAt(0);
    if (letter.length === 1 && code >= 0xdc80 && code <= 0xdcff) return [code - 0xdc00]; // a byte of a file's name
    return [...new TextEncoder().encode(letter)];
  };
  return `$'${[...text].map((letter) => (/^[\p{L}\p{N}]$/u.test(letter) ? letter : bytes(letter).map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join(""))).join("")}'`;
}

function trouble(text) {
  $("broken").textContent = shown(text);
  $("broken").hidden = !text;
}

// -- keys -------------------------------------------------------------------------------------------------------------

function current() {
  return document.activeElement?.closest?.(".card") ?? null;
}

function chosen(node) {
  const figures = [...node.querySelectorAll("figure.clip")];
  return figures.find((figure) => figure.classList.contains("chosen")) ?? figures.find((figure) => figure.take.clip) ?? figures[0];
}

function focus(node) {
  if (!node) return;
  node.focus({ preventScroll: true });
  node.scrollIntoView({ block: "nearest" });
}

function step(key) {
  const cards = $("cards");
  const node = current();
  if (!node) return focus(cards.firstElementChild);
  if (key === "ArrowRight") {
    if (!node.nextElementSibling) showMore(AT_A_TIME);
    return focus(node.nextElementSibling);
  }
  if (key === "ArrowLeft") return focus(node.previousElementSibling);
  if (key === "Home") return focus(cards.firstElementChild);
  if (key === "End") return focus(cards.lastElementChild);
  const down = key === "ArrowDown";
  const here = node.getBoundingClientRect();
  const middle = here.left + here.width / 2;
  let best = null, row = null;
  if (down && !node.nextElementSibling) showMore(AT_A_TIME);
  for (let other = node; (other = down ? other.nextElementSibling : other.previousElementSibling);) {
    const there = other.getBoundingClientRect();
    if (down ? there.top <= here.top + 1 : there.top >= here.top - 1) continue;
    row ??= there.top;
    if (Math.abs(there.top - row) > 1) break;
    const distance = Math.abs(there.left + there.width / 2 - middle);
    if (!best || distance < best.distance) best = { distance, other };
  }
  focus(best?.other);
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const target = event.target;
  const writing = target.matches?.("input, textarea, select");
  if (event.key === "Escape") {
    if (playing) stop();
    else if (target.classList.contains("wish")) focus(target.closest(".card"));
    else if (target === $("query") && target.value) set("");
    else document.activeElement?.blur?.();
    return;
  }
  if (writing) {
    if (event.key === "Enter" && target.classList.contains("wish")) { focus(target.closest(".card")); event.preventDefault(); }
    if (event.key === "ArrowDown" && target === $("query")) { step("Home"); focus($("cards").firstElementChild); event.preventDefault(); }
    return;
  }
  if (event.key === "/") { event.preventDefault(); $("query").focus(); $("query").select(); return; }
  if (event.key === "?") { event.preventDefault(); help(); return; }
  const node = current();
  const arrow = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"].includes(event.key);
  if (arrow && (node || target === document.body) && target.tagName !== "VIDEO" && (node || event.key.startsWith("Arrow"))) {
    if (!node && !event.key.match(/Right|Left/)) return; // the page scrolls
    event.preventDefault();
    step(event.key);
    return;
  }
  if (!node) return;
  const figure = chosen(node);
  if ((event.key === "Enter" || event.key === " ") && target === node) { event.preventDefault(); if (figure) play(figure); }
  else if (/^[1-9]$/.test(event.key)) {
    const figures = [...node.querySelectorAll("figure.clip")];
    const wantedTake = figures.find((one) => one.take.take === Number(event.key));
    if (wantedTake) for (const one of figures) one.classList.toggle("chosen", one === wantedTake);
  } else if (figure?.querySelector(".judge")) {
    if (event.key === "k") choose(figure, "keep");
    else if (event.key === "r") choose(figure, "retake");
    else if (event.key === "n") {
      if (judged(figure.take)?.verdict !== "retake") choose(figure, "retake");
      figure.querySelector(".wish").focus();
      event.preventDefault();
    }
  }
}

function help() {
  const open = $("grammar").hidden;
  $("grammar").hidden = !open;
  $("help-button").setAttribute("aria-expanded", String(open));
}

// -- live -------------------------------------------------------------------------------------------------------------

const own = (path, more = {}, headers = {}) => fetch(path, { ...more, headers: { ...headers, "X-Batchgen-Token": live.token } });

async function renew() {
  const [overview, fresh] = await Promise.all([own(live.overview).then((answer) => answer.text()), own(live.data).then((answer) => answer.json())]);
  const parsed = new DOMParser().parseFromString(overview, "text/html"); // from this page's own server, which escapes
  $("overview").replaceChildren(...parsed.body.childNodes);
  behind = Boolean(playing) || Boolean(document.activeElement?.classList.contains("wish"));
  if (behind) return; // the cards are made anew, and with them the clip that plays or the note that is being written
  const here = found[current()?.dataset.place]?.job;
  read(fresh);
  orders();
  chips();
  const cards = made;
  apply();
  const place = here ? found.findIndex(({ job }) => job.manifest === here.manifest && job.job === here.job) : -1;
  showMore(Math.max(cards, place + 1) - made);
  $("cards").children[place]?.focus({ preventScroll: true });
}

let behind = false; // news is held back
let due = 0;

function changed() {
  due ||= setTimeout(() => { due = 0; renew().catch(() => {}); }, 700);
}

function catchUp() {
  if (behind) changed();
}

async function follow() {
  for (let wait = 500; ; wait = Math.min(wait * 2, 15000)) {
    try {
      const answer = await own(live.events);
      const lines = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { value, done } = await lines.read();
        if (done) break;
        wait = 500;
        trouble("");
        const parts = (rest + value).split("\n");
        rest = parts.pop();
        if (parts.some((line) => /^event: *changed/.test(line))) changed();
      }
    } catch { /* it is tried again */ }
    trouble("The server of this page has gone; it is tried again.");
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

// -- start ------------------------------------------------------------------------------------------------------------

async function begin() {
  read(await unpacked($("data").textContent));
  if (!live) recallChoices();
  chips();
  recall();
  apply();
  tray();
  orders();
  $("order").addEventListener("click", order);
  $("bar").addEventListener("submit", (event) => event.preventDefault());
  $("query").addEventListener("input", () => { remember(); apply(); });
  $("sort").addEventListener("change", () => { remember(); apply(); });
  $("more").addEventListener("click", () => {
    const next = made;
    showMore(AT_A_TIME);
    focus($("cards").children[next]);
  });
  $("clear").addEventListener("click", () => { set(""); $("query").focus(); });
  $("help-button").addEventListener("click", help);
  $("forget").addEventListener("click", () => {
    choices.clear();
    keepChoices();
    tray();
    for (const figure of document.querySelectorAll("figure.clip")) mark(figure);
  });
  $("copy").addEventListener("click", async () => {
    $("command").select();
    try { await navigator.clipboard.writeText($("command").value); } catch { document.execCommand("copy"); }
    $("copy").textContent = "Copied";
    setTimeout(() => { $("copy").textContent = "Copy the command"; }, 1500);
  });
  addEventListener("hashchange", () => {
    if (!recall()) return;
    apply();
    $("gallery").scrollIntoView({ block: "start" });
  });
  document.addEventListener("keydown", onKey);
  document.documentElement.dataset.ready = Math.ceil(performance.now());
  if (live) {
    $("cards").addEventListener("focusout", catchUp);
    follow();
  }
}

begin().catch((error) => trouble(`This page can't show its clips here: ${error.message}. A browser of 2023 or newer can.`));
