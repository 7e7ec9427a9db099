#!/usr/bin/env python3
"""The openai client against a running server: clients_check.py URL KEY. One line a check; the last line counts them."""
import asyncio, base64, struct, sys, zlib

import openai

url, key = sys.argv[1:3]
client = openai.OpenAI(base_url=url, api_key=key, max_retries=0, timeout=120)
model = client.models.list().data[0].id
passed = failed = 0


def png(w=32, h=32, rgb=(220, 40, 40)):
    raw = b"".join(b"\0" + bytes(rgb) * w for _ in range(h))
    chunk = lambda t, d: struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d))
    header = struct.pack(">IIBBBBB", w, h, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def picture(data):
    return {"type": "image_url", "image_url": {"url": "data:image/png;base64," + base64.b64encode(data).decode()}}


ASK = [{"role": "user", "content": [picture(png()), {"type": "text", "text": "What colour?"}]}]


def chat(messages=ASK, client=client, **options):
    options.setdefault("max_tokens", 12)
    options.setdefault("temperature", 0)
    return client.chat.completions.create(model=model, messages=messages, **options)


def content(reply, i=0):
    return reply.choices[i].message.content


def check(name, ok):
    global passed, failed
    try:
        ok = ok()
    except Exception as e:
        ok, name = False, f"{name}: {type(e).__name__}: {e}"
    passed, failed = passed + bool(ok), failed + (not ok)
    print("ok    " if ok else "FAILED", name, flush=True)


def raises(kind, status, call):
    try:
        call()
    except openai.APIStatusError as e:
        return type(e) is kind and e.status_code == status and isinstance(e.body, dict) and e.body["message"] and "type" in e.body
    return False


def stream(**options):
    return list(chat(stream=True, **options))


def text(chunks):
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


def stopped():
    whole = content(chat(max_tokens=24))
    stop = whole[len(whole) // 2]
    cut = chat(max_tokens=24, stop=[stop])
    return content(cut) == whole.split(stop)[0] and cut.choices[0].finish_reason == "stop"


def logprobs():
    tokens = chat(logprobs=True, top_logprobs=3).choices[0].logprobs.content
    return len(tokens) == 12 and all(len(t.top_logprobs) == 3 and t.top_logprobs[0].bytes == t.bytes and t.logprob <= 0 for t in tokens)


def left():
    s = chat(stream=True, max_tokens=2000)
    next(iter(s))
    s.close()
    return content(chat()) == first


async def at_once(n):
    a = openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=0, timeout=300)
    replies = await asyncio.gather(*[a.chat.completions.create(model=model, messages=ASK, max_tokens=12, temperature=i % 2, seed=5) for i in range(n)])
    return [content(r) for r in replies]


first = content(chat())
drawn = content(chat(temperature=1, seed=5))
usage = chat().usage
user = lambda c: [{"role": "user", "content": c}]
check("models: list and retrieve", lambda: client.models.retrieve(model).id == model)
check("content is a text", lambda: isinstance(first, str) and first)
check("usage adds up", lambda: usage.total_tokens == usage.prompt_tokens + usage.completion_tokens and usage.prompt_tokens > 20)
check("text alone; parts; system, developer and assistant turns", lambda: all(isinstance(content(chat(m)), str) for m in (
    user("Hi"), user([{"type": "text", "text": "Hi"}]), [{"role": "system", "content": [{"type": "text", "text": "Brief."}]}, *user("Hi")],
    [{"role": "developer", "content": "Brief."}, *user("a"), {"role": "assistant", "content": "b"}, *user("c")])))
likelihood = lambda rgb: chat(user([picture(png(rgb=rgb)), {"type": "text", "text": "What colour?"}]), logprobs=True).choices[0].logprobs.content[0].logprob
check("the picture counts", lambda: likelihood((220, 40, 40)) == likelihood((220, 40, 40)) != likelihood((0, 0, 255)))
check("temperature 0 repeats", lambda: content(chat()) == first)
check("a seed repeats", lambda: content(chat(temperature=1, seed=5)) == drawn)
check("n choices, the first as if alone", lambda: [content(chat(temperature=1, seed=5, n=3)), len(chat(n=3).choices)] == [drawn, 3])
check("max_completion_tokens and response_format text", lambda: client.chat.completions.create(
    model=model, messages=ASK, max_completion_tokens=1, response_format={"type": "text"}).usage.completion_tokens <= 1)
check("stop", stopped)
check("logprobs, top_logprobs", logprobs)
check("options of others do no harm", lambda: content(chat(user="u", logit_bias={"0": 0}, extra_body={"top_k": 0, "min_p": 0, "no_such": 1})) == first)
check("stream: the same text, role first, one end", lambda: (lambda c: text(c) == first and c[0].choices[0].delta.role == "assistant" and
      sum(bool(x.choices[0].finish_reason) for x in c) == 1 and len({x.id for x in c}) == 1 and all(x.usage is None for x in c))(stream()))
check("stream: usage in the last chunk", lambda: (lambda c: c[-1].choices == [] and c[-1].usage.total_tokens == usage.total_tokens)(stream(stream_options={"include_usage": True})))
check("a stream closed half-way", left)
check("completions with echo and logprobs", lambda: (lambda c: c.text.startswith("abcd") and c.logprobs.token_logprobs[0] is None and c.logprobs.token_logprobs[1] < 0)(
    client.completions.create(model=model, prompt="abcd", max_tokens=1, echo=True, logprobs=1).choices[0]))
check("completions, streamed", lambda: "".join(c.choices[0].text for c in client.completions.create(model=model, prompt="abcd", max_tokens=5, stream=True)) ==
      client.completions.create(model=model, prompt="abcd", max_tokens=5).choices[0].text)
BAD, MANY = openai.BadRequestError, "word " * 20000
for name, call in {
        "no messages": lambda: chat([]), "temperature -1": lambda: chat(temperature=-1), "top_p 2": lambda: chat(top_p=2), "max_tokens 0": lambda: chat(max_tokens=0),
        "unknown role": lambda: chat([{"role": "wizard", "content": "x"}]), "unknown part": lambda: chat(user([{"type": "hologram"}])),
        "bad base64": lambda: chat(user([{"type": "image_url", "image_url": {"url": "data:image/png;base64,@@"}}])), "no picture": lambda: chat(user([picture(b"hello")])),
        "cut picture": lambda: chat(user([picture(png()[:60])])), "file picture": lambda: chat(user([{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}])),
        "http picture": lambda: chat(user([{"type": "image_url", "image_url": {"url": "http://127.0.0.1:9/x.png"}}])), "top_logprobs alone": lambda: chat(top_logprobs=3),
        "json_schema": lambda: chat(response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": {}}}), "too long": lambda: chat(user(MANY)),
        "tools": lambda: chat(tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}]), "bad stream": lambda: stream(temperature=-1)}.items():
    check(f"400 BadRequestError: {name}", lambda: raises(BAD, 400, call))
check("404 NotFoundError", lambda: raises(openai.NotFoundError, 404, lambda: client.models.retrieve("no-such")) and
      raises(openai.NotFoundError, 404, lambda: client.embeddings.create(model=model, input="x")))
check("401 AuthenticationError", lambda: raises(openai.AuthenticationError, 401, lambda: chat(client=openai.OpenAI(base_url=url, api_key="wrong", max_retries=0))))
check("64 at once, greedy and drawn: the answers of one alone", lambda: asyncio.run(at_once(64)) == [first, drawn] * 32)
print(f"{passed} passed, {failed} failed")
sys.exit(failed > 0)
