#!/usr/bin/env python3
"""300 questions to a server, half of them sampled: crowd_check.py URL WORLD DIRECTORY NAME.

NAME alone: one after the other, kept in DIRECTORY/alone.json. Any other: by 64 clients in an order of its own, beside questions that
are broken off, and every answer's words, tokens and log-probabilities are those of alone.json, to the last digit."""
import base64, glob, http.client, json, os, queue, random, socket, sys, threading, time, urllib.parse

url, world, out, name = sys.argv[1:]
CLIENTS, QUESTIONS = 64, 300
address = urllib.parse.urlsplit(url)


def questions():
    lines = [json.loads(line) for path in sorted(glob.glob(world + "/*.jsonl")) for line in open(path)]
    lines = [line for line in lines if "question" in line and "image" in line]
    if len(lines) < QUESTIONS:
        sys.exit(f"{world}: {len(lines)} questions, expected {QUESTIONS}")
    random.Random(1).shuffle(lines)
    bodies = []
    for i, line in enumerate(lines[:QUESTIONS]):
        data = base64.b64encode(open(os.path.join(world, line["image"]), "rb").read()).decode()
        content = [{"type": "image_url", "image_url": {"url": "data:image/png;base64," + data}}, {"type": "text", "text": line["question"]}]
        body = {"messages": [{"role": "user", "content": content}], "max_tokens": 32, "logprobs": True, "top_logprobs": 2}
        body.update({"temperature": 0} if i % 2 == 0 else {"temperature": 1, "top_p": 0.95, "seed": i})
        bodies.append(json.dumps(body))
    return bodies


def ask(connection, body):
    connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    reply = connection.getresponse()
    text = reply.read()
    if reply.status != 200:
        sys.exit(f"status {reply.status}: {text[:300]}")
    return json.loads(text)["choices"]  # numbers are printed so that they read back the same: equal here is equal bits


def break_off(body):  # a request that is sent and left
    with socket.create_connection((address.hostname, address.port)) as s:
        data = body.encode()
        s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
        time.sleep(0.02)


def crowd(bodies, seed):
    order = list(range(len(bodies)))
    random.Random(seed).shuffle(order)
    waiting, answers, faults = queue.Queue(), [None] * len(bodies), []
    for i in order:
        waiting.put(i)

    def client(number):
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=600)
        draws = random.Random(number)
        try:
            while True:
                i = waiting.get_nowait()
                if draws.random() < 0.2:
                    break_off(bodies[draws.randrange(len(bodies))])
                answers[i] = ask(connection, bodies[i])
        except queue.Empty:
            pass
        except BaseException as e:
            faults.append(repr(e))

    threads = [threading.Thread(target=client, args=(n,)) for n in range(CLIENTS)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if faults:
        sys.exit(faults[0])
    return answers


bodies, begin = questions(), time.time()
kept = os.path.join(out, "alone.json")
if name == "alone":
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=600)
    answers = [ask(connection, body) for body in bodies]
    json.dump(answers, open(kept, "w"))
    tokens = sum(len(a[0]["logprobs"]["content"]) for a in answers)
    words = len({a[0]["message"]["content"] for a in answers})
    print(f"alone: {len(answers)} answers, {words} different, {tokens} tokens, {time.time() - begin:.0f} s")
    if tokens < 2 * len(answers) or words < 10:
        sys.exit("these answers could hardly differ")
else:
    alone, answers = json.load(open(kept)), crowd(bodies, name)
    other = [i for i, (a, b) in enumerate(zip(alone, answers)) if a != b]
    print(f"{name}: {len(answers) - len(other)} of {len(answers)} answers by {CLIENTS} clients are those of one alone, {time.time() - begin:.0f} s")
    for i in other[:3]:
        print(f"question {i}: {alone[i]}\n{answers[i]}")
    sys.exit(bool(other))
