#!/usr/bin/env python3
"""The page at / in Chromium, over its debugging pipe: page_check.py URL PICTURE DIRECTORY.

On a desk and on a phone, by day and by night: a picture is chosen, a question asked, and the answer that the page shows is the
one that the API gives; a token's table opens, and the picture with the patches that the API says its word attended to; nothing is wider
than the screen, nothing comes from elsewhere, nothing raises."""
import base64, json, os, subprocess, sys, tempfile, time, unicodedata, urllib.request

url, picture, out = sys.argv[1], os.path.abspath(sys.argv[2]), sys.argv[3]
QUESTION = "is there any cyan square ?"  # of data/demo/3.jpg
SCREENS = {"desktop": (1200, 800, False), "phone": (390, 844, True)}


class Browser:
    def __init__(self):
        to_read, self.to = os.pipe()
        self.back, to_write = os.pipe()
        self.home = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)

        def wire():  # Chromium reads commands at 3 and answers at 4
            a, b = os.dup(to_read), os.dup(to_write)
            os.dup2(a, 3), os.dup2(b, 4)

        command = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-pipe",
                   "--disable-dev-shm-usage", "--user-data-dir=" + self.home.name, "about:blank"]
        self.process = subprocess.Popen(command, preexec_fn=wire, close_fds=False, stderr=subprocess.DEVNULL)
        os.close(to_read), os.close(to_write)
        self.held, self.number, self.events, self.session = b"", 0, [], None

    def call(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self.held:
                got = os.read(self.back, 1 << 20)
                if not got:
                    sys.exit("Chromium ended")
                self.held += got
            text, self.held = self.held.split(b"\0", 1)
            reply = json.loads(text)
            if reply.get("id") != self.number:
                self.events.append(reply)
                continue
            if "error" in reply:
                sys.exit(f"{method}: {reply['error']['message']}")
            return reply["result"]

    def page(self):
        self.session = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "DOM", "Network"):
            self.call(domain + ".enable")

    def value(self, script):
        got = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in got:
            sys.exit(f"{script}: {got['exceptionDetails']}")
        return got["result"].get("value")

    def wait(self, script, seconds=120):
        end = time.time() + seconds
        while time.time() < end:
            if value := self.value(script):
                return value
            time.sleep(0.05)
        sys.exit(f"not within {seconds} s: {script}")

    def end(self):
        self.process.kill()
        self.process.wait()


def from_api():
    data = "data:image/jpeg;base64," + base64.b64encode(open(picture, "rb").read()).decode()
    content = [{"type": "image_url", "image_url": {"url": data}}, {"type": "text", "text": QUESTION}]
    body = {"messages": [{"role": "user", "content": content}], "temperature": 0, "logprobs": True, "image_attention": True}
    request = urllib.request.Request(url + "v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request, timeout=300))["choices"][0]


failed = []


def check(name, ok):
    if not ok:
        failed.append(name)
        print("FAIL", name)


choice = from_api()
answer, attention = choice["message"]["content"], choice["image_attention"]
rows, columns = attention["grids"][0]
words, word_of = [], []  # lists of tokens; by token, its word
for i, token in enumerate(choice["logprobs"]["content"]):
    first = token["token"][:1]
    if not words or first.isspace() or unicodedata.category(first or "x")[0] == "P" or unicodedata.category(first or "x") == "Lo":
        words.append([])
    words[-1].append(i)
    word_of.append(words[-1])
browser = Browser()
for screen, (width, height, phone) in SCREENS.items():
    for light in ("light", "dark"):
        name = screen + "-" + light
        browser.page()
        browser.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=2 if phone else 1, mobile=phone)
        browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": light}])
        browser.call("Page.navigate", url=url)
        browser.wait("document.readyState === 'complete' && document.getElementById('model')?.textContent")
        root = browser.call("DOM.getDocument")["root"]["nodeId"]
        node = browser.call("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
        browser.call("DOM.setFileInputFiles", nodeId=node, files=[picture])
        browser.wait("document.querySelector('#drop img')?.naturalWidth")
        browser.value("window.lengths = new Set; new MutationObserver(() => lengths.add(document.querySelectorAll('.token').length))"
                      ".observe(document.getElementById('talk'), {childList: true, subtree: true}); 1")
        browser.value(f"document.getElementById('text').value = {json.dumps(QUESTION)}; document.getElementById('ask').requestSubmit(); 1")
        browser.wait("!!document.querySelector('[data-answer], .error')")
        said = browser.value("document.querySelector('[data-answer]')?.dataset.answer ?? document.querySelector('.error').textContent")
        check(f"{name}: the answer is the API's: {said!r}, {answer!r}", said == answer)
        tokens = browser.value("document.querySelectorAll('.token').length")
        check(f"{name}: {tokens} tokens came one after the other", tokens > 0 and browser.value("lengths.size") >= min(tokens, 3))
        browser.value("document.querySelector('.token').click(); 1")
        check(f"{name}: five tokens that could have stood there", browser.value("document.querySelectorAll('.turn table tr').length") == 5)
        browser.value("document.querySelector('.token').click(); 1")
        check(f"{name}: a second tap closes", browser.value("document.querySelectorAll('figure, .share, .turn table').length") == 0)
        for token in sorted({tokens - 1, 0}, reverse=True):  # one after the other: the first stays open
            masses = [sum(m) / len(m) for m in zip(*(attention["tokens"][i] for i in word_of[token]))]
            browser.value(f"document.querySelectorAll('.token')[{token}].click(); 1")
            drawn = browser.value("(() => { const c = document.querySelectorAll('figure canvas');"
                                  "return [c.length, c[0].width, c[0].height, [...c[0].getContext('2d').getImageData(0, 0, c[0].width, c[0].height).data]"
                                  ".filter((_, i) => i % 4 == 3)] })()")
            check(f"{name}: one canvas of {columns} x {rows}: {drawn[:3]}", drawn[:3] == [1, columns, rows])
            expected = [216 * (1 - m / max(masses)) for m in masses]
            check(f"{name}: token {token}: the API's masses are drawn", len(drawn[3]) == len(expected) and
                  all(abs(a - b) <= 0.5 + 1e-6 for a, b in zip(drawn[3], expected)))
            share = browser.value("document.querySelector('.share').textContent")
            check(f"{name}: token {token}: {share}", abs(float(share.split(": ")[1].split()[0]) - 100 * sum(masses)) <= 0.05 + 1e-9)
            box = browser.value("(() => { const a = document.querySelector('figure canvas').getBoundingClientRect(),"
                                "b = document.querySelector('figure img').getBoundingClientRect();"
                                "return [a.x - b.x, a.y - b.y, a.width - b.width, a.height - b.height] })()")
            check(f"{name}: it lies on the picture: {box}", all(abs(d) < 1 for d in box))
        browser.value("document.querySelector('figure').scrollIntoView({block: 'center'}); 1")
        check(f"{name}: nothing is wider than the screen", browser.value("document.documentElement.scrollWidth <= innerWidth"))
        shot = browser.call("Page.captureScreenshot", format="png")["data"]
        open(f"{out}/{name}.png", "wb").write(base64.b64decode(shot))
        # Another picture while the answer runs: what the old one would add is not of this talk.
        browser.value("const file = at('file').files[0]; at('text').value = 'And now?'; at('ask').requestSubmit();"
                      "at('drop').replaceChildren(); show(file); 1")
        browser.wait("document.querySelector('#drop img') && !running")
        talk = browser.value("JSON.stringify([messages, at('talk').children.length, at('send').textContent])")
        check(f"{name}: a new picture ends the old one's answer: {talk}", talk == '[[],0,"Ask"]')
for event in browser.events:
    method, params = event.get("method"), event.get("params", {})
    if method == "Runtime.exceptionThrown":
        check(f"an exception: {params['exceptionDetails'].get('exception', {}).get('description')}", False)
    if method == "Network.requestWillBeSent":
        asked = params["request"]["url"]
        check(f"a request elsewhere: {asked}", asked.startswith((url, "data:", "about:")))
browser.end()
print(f"page: {len(SCREENS) * 2} screens, {len(failed)} failures; the answer: {answer!r}")
sys.exit(bool(failed))
