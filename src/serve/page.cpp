#include "serve/page.h"

namespace ov::serve {

// clang-format off
const char page[] = R"html(<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Ask a picture</title>
<style>
:root { color-scheme: light dark; --back: #fafaf7; --front: #1c1c1a; --soft: #6b6b66; --line: #d8d8d2;
  --card: #fff; --accent: 26 115 90; }
@media (prefers-color-scheme: dark) {
  :root { --back: #161615; --front: #ecece6; --soft: #9d9d96; --line: #3a3a37; --card: #20201e;
    --accent: 98 200 165; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 46rem; min-height: 100dvh; padding: 1rem; display: flex; flex-direction: column;
  gap: 1rem; background: var(--back); color: var(--front); font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.1rem; margin: 0; display: flex; justify-content: space-between; gap: 1rem; }
h1 small { font-weight: normal; color: var(--soft); overflow: hidden; text-overflow: ellipsis; }
#drop { border: 2px dashed var(--line); border-radius: .75rem; min-height: 8rem; display: grid; place-items: center;
  color: var(--soft); cursor: pointer; text-align: center; padding: .5rem; }
#drop.over, #drop:focus-visible { border-color: rgb(var(--accent)); outline: none; }
#drop img { max-width: 100%; max-height: 40dvh; border-radius: .4rem; image-rendering: auto; display: block; }
#talk { display: flex; flex-direction: column; gap: .75rem; flex: 1; }
.turn { background: var(--card); border: 1px solid var(--line); border-radius: .75rem; padding: .6rem .8rem;
  white-space: pre-wrap; overflow-wrap: anywhere; }
.turn.user { align-self: flex-end; background: rgb(var(--accent) / .14); border-color: transparent; max-width: 85%; }
.turn .token { border-radius: .2rem; cursor: pointer; border-bottom: 2px solid transparent; }
.turn .token.open { outline: 2px solid rgb(var(--accent)); }
.note { color: var(--soft); font-size: .85rem; margin-top: .4rem; white-space: normal; }
.error { color: #c0392b; }
table { border-collapse: collapse; margin-top: .5rem; font-size: .85rem; width: 100%; white-space: normal; }
td { padding: .1rem .4rem .1rem 0; }
td:first-child { white-space: pre; font-family: ui-monospace, monospace; }
td .bar { display: block; height: .6rem; min-width: 1px; border-radius: .2rem; background: rgb(var(--accent)); }
td:nth-child(2) { width: 60%; }
td:last-child { white-space: nowrap; padding-right: 0; }
figure { position: relative; margin: .5rem 0 0; width: fit-content; line-height: 0; }
figure img { min-height: 9rem; max-width: 100%; max-height: 40dvh; border-radius: .4rem; }
figure canvas { position: absolute; inset: 0; width: 100%; height: 100%; border-radius: .4rem; }
form { position: sticky; bottom: 0; background: var(--back); padding: .5rem 0; display: flex; gap: .5rem;
  align-items: end; }
textarea { flex: 1; min-height: 2.75rem; max-height: 30dvh; resize: none; font: inherit; }
textarea, input, button { border: 1px solid var(--line); border-radius: .6rem; padding: .6rem .8rem; font: inherit;
  background: var(--card); color: inherit; }
button { min-height: 2.75rem; cursor: pointer; }
#send { background: rgb(var(--accent)); border-color: transparent; color: var(--back); font-weight: 600; }
#key { width: 100%; }
[hidden] { display: none !important; }
</style>
<h1><span>Ask a picture</span><small id="model"></small></h1>
<input id="key" type="password" placeholder="API key of this server" autocomplete="off" hidden>
<div id="drop" tabindex="0" role="button" aria-label="picture">Drop a picture, paste one, or tap to choose</div>
<input id="file" type="file" accept="image/*" hidden>
<div id="talk" aria-live="polite"></div>
<form id="ask">
  <button type="button" id="clear" title="forget all turns">New</button>
  <textarea id="text" rows="1" placeholder="What is in the picture?" aria-label="question" autofocus></textarea>
  <button id="send">Ask</button>
</form>
<script>
"use strict";
const at = id => document.getElementById(id);
let messages = [], picture = "", running = null;

const headers = () => ({"Content-Type": "application/json",
  ...(at("key").value && {Authorization: "Bearer " + at("key").value})});
const add = (parent, tag, name, text) => {
  const e = document.createElement(tag);
  e.className = name || "";
  if (text !== undefined) e.textContent = text;
  return parent.appendChild(e);
};

async function look() {
  const reply = await fetch("v1/models", {headers: headers()});
  at("key").hidden = reply.status !== 401 && !at("key").value;
  if (reply.ok) at("model").textContent = (await reply.json()).data[0].id;
}
at("key").onchange = look;
look();

function show(file) {
  if (!file || !file.type.startsWith("image/")) return;
  const reader = new FileReader();
  reader.onload = () => {
    running?.abort();  // what it would add belongs to the old picture
    picture = reader.result;
    messages = [];
    at("talk").replaceChildren();
    const image = document.createElement("img");
    image.alt = file.name;
    image.src = picture;
    at("drop").replaceChildren(image);
    at("text").focus();
  };
  reader.readAsDataURL(file);
}
at("file").onchange = () => show(at("file").files[0]);
at("drop").onclick = () => at("file").click();
at("drop").onkeydown = e => {
  if (e.key === "Enter" || e.key === " ") { e.preventDefault(); at("file").click(); }
};
document.ondragover = e => { e.preventDefault(); at("drop").classList.add("over"); };
document.ondragleave = () => at("drop").classList.remove("over");
document.ondrop = e => { e.preventDefault(); at("drop").classList.remove("over"); show(e.dataTransfer.files[0]); };
document.onpaste = e => show([...e.clipboardData.files][0]);

// The picture, darker where a word looked less: masses of its patches, the mean of its tokens', against the largest.
function looked(turn, {picture, grid: [rows, columns], word}) {
  const masses = word.masses[0].map((_, i) => word.masses.reduce((sum, m) => sum + m[i], 0) / word.masses.length);
  const figure = add(turn, "figure"), image = add(figure, "img"), canvas = add(figure, "canvas");
  image.alt = "what this word attended to";
  image.src = picture;
  canvas.width = columns, canvas.height = rows;
  const draw = canvas.getContext("2d"), pixels = draw.createImageData(columns, rows);
  const most = Math.max(...masses);
  masses.forEach((mass, i) => { pixels.data[4 * i + 3] = Math.round(216 * (1 - mass / (most || 1))); });
  draw.putImageData(pixels, 0, 0);
  const all = masses.reduce((sum, mass) => sum + mass, 0);
  add(turn, "div", "note share",
    JSON.stringify(word.text.trim()) + ": " + (100 * all).toFixed(1) +
    " % of its attention lies on the picture; bright: most of it, dark: least");
}

// What could have stood in a token's place, and what its word looked at.
function detail(turn, span, token, seen) {
  turn.querySelectorAll("table, figure, .share").forEach(e => e.remove());
  const again = span.classList.contains("open");
  turn.querySelectorAll(".open").forEach(e => e.classList.remove("open"));
  if (again) return;
  span.classList.add("open");
  const table = add(turn, "table");
  for (const other of token.top_logprobs) {
    const row = add(table, "tr"), p = Math.exp(other.logprob);
    add(row, "td", "", JSON.stringify(other.token));
    add(add(row, "td"), "span", "bar").style.width = 100 * p + "%";
    add(row, "td", "", (100 * p).toFixed(1) + " %");
  }
  if (seen) looked(turn, seen);
}

// Server-sent events: the lines of a body that begin with "data: ".
async function* events(body) {
  const reader = body.getReader(), decoder = new TextDecoder();
  for (let held = "";;) {
    const {done, value} = await reader.read();
    if (done) return;
    held += decoder.decode(value, {stream: true});
    for (let end; (end = held.indexOf("\n")) >= 0; held = held.slice(end + 1)) {
      const line = held.slice(0, end);
      if (line === "data: [DONE]") return;
      if (line.startsWith("data: ")) yield JSON.parse(line.slice(6));
    }
  }
}

async function ask(question) {
  const content = messages.length || !picture ? [] : [{type: "image_url", image_url: {url: picture}}];
  const asked = [...messages, {role: "user", content: [...content, {type: "text", text: question}]}];
  add(at("talk"), "div", "turn user", question);
  const turn = add(at("talk"), "div", "turn"), says = add(turn, "span", "says"), begin = performance.now();
  const note = add(turn, "div", "note", "…");
  let text = "", tokens = 0, sum = 0;
  const shown = picture;
  let word = {text: "", masses: []};  // that is being written
  running = new AbortController();
  at("send").textContent = "Stop";
  try {
    const reply = await fetch("v1/chat/completions", {method: "POST", headers: headers(), signal: running.signal,
      body: JSON.stringify({messages: asked, stream: true, temperature: 0, logprobs: true, top_logprobs: 5,
        image_attention: !!shown})});
    if (!reply.ok) {
      if (reply.status === 401) at("key").hidden = false;
      throw Error((await reply.json()).error.message);
    }
    for await (const event of events(reply.body)) {
      if (event.error) throw Error(event.error.message);
      const choice = event.choices[0];
      if (!choice) continue;
      text += choice.delta.content || "";
      for (const [i, token] of (choice.logprobs?.content || []).entries()) {
        const span = add(says, "span", "token", token.token), p = Math.exp(token.logprob);
        span.style.background = "rgb(var(--accent) / " + (0.55 * (1 - p)).toFixed(3) + ")";
        span.title = (100 * p).toFixed(1) + " %";
        const looks = choice.image_attention;
        // A word begins at a blank or a mark; of scripts without blanks every token is one.
        if (/^[\s\p{P}\p{Lo}]/u.test(token.token)) word = {text: "", masses: []};
        word.text += token.token;
        if (looks?.grids.length) word.masses.push(looks.tokens[i]);
        const seen = word.masses.length && {picture: shown, grid: looks.grids[0], word};
        span.onclick = () => detail(turn, span, token, seen);
        ++tokens, sum += token.logprob;
      }
      note.scrollIntoView({block: "nearest"});
    }
    const count = tokens + (tokens == 1 ? " token in " : " tokens in ");
    note.textContent = count + ((performance.now() - begin) / 1000).toFixed(1) +
      " s, mean probability (geometric) " + (100 * Math.exp(sum / Math.max(1, tokens))).toFixed(0) +
      " %. Tap a token to see what else could have stood there;" +
      " marked ones were less certain.";
    messages = [...asked, {role: "assistant", content: text}];
    turn.dataset.answer = text;
  } catch (error) {
    note.textContent = error.name === "AbortError" ? "stopped" : error.message;
    note.classList.toggle("error", error.name !== "AbortError");
  }
  running = null;
  at("send").textContent = "Ask";
}
at("ask").onsubmit = e => {
  e.preventDefault();
  if (running) return running.abort();
  const question = at("text").value.trim();
  if (!question) return;
  at("text").value = "";
  ask(question);
};
at("text").onkeydown = e => {
  if (e.key === "Enter" && !e.shiftKey && !e.isComposing) { e.preventDefault(); at("ask").requestSubmit(); }
};
at("clear").onclick = () => {
  running?.abort();
  messages = [], picture = "";
  at("talk").replaceChildren();
  at("drop").textContent = "Drop a picture, paste one, or tap to choose";
  at("file").value = "";
};
</script>
</html>
)html";
// clang-format on

}  // namespace ov::serve
