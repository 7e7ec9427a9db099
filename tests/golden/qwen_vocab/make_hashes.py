"""Hashes of the ids that Hugging Face tokenizers gives with the real Qwen2 vocabulary: every code point, and random strings.

    python3 make_hashes.py          # needs tokenizers (0.21.4 made the committed file); writes hashes.json beside merges.txt

A string's ids are written as 32-bit little-endian numbers with 0xffffffff behind the last; a hash is the first 16 hex digits
of the SHA-256 over all strings of a block. tests/text/real_vocabulary_test.cpp makes the same strings.
"""
import hashlib, json, os, struct
import tokenizers
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

here = os.path.dirname(os.path.abspath(__file__))
PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
MASK = (1 << 64) - 1


def byte_symbols():
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [b for b in range(256) if b not in shown]
    return {b: chr(b) for b in shown} | {b: chr(256 + i) for i, b in enumerate(hidden)}, shown + hidden


def tokenizer():
    symbols, order = byte_symbols()
    vocabulary, merges = {}, []
    for b in order:
        vocabulary[symbols[b]] = len(vocabulary)
    for line in open(os.path.join(here, "merges.txt"), encoding="utf-8"):
        if line.startswith("#version"):
            continue
        left, right = line.rstrip("\n").split(" ")
        merges.append((left, right))
        vocabulary.setdefault(left + right, len(vocabulary))
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    made.normalizer = normalizers.NFC()
    made.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    return made


class SplitMix64:
    def __init__(self, seed):
        self.state = seed

    def below(self, n):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return (z ^ (z >> 31)) % n


# First code point and how many: the classes from which random strings are drawn.
CLASSES = [(0x61, 26), (0x41, 26), (0x30, 10), (0x20, 1), (0x09, 5), (0x21, 15), (0xA0, 96), (0x300, 112), (0x370, 144), (0x400, 256),
           (0x600, 256), (0x900, 128), (0x2000, 112), (0x3040, 192), (0x4E00, 20992), (0xAC00, 11172), (0x1F300, 1024), (0xE000, 4096), (0, 0xD800),
           (0x10000, 0x100000)]


def random_string(i):
    draw = SplitMix64(i)
    out = []
    for _ in range(1 + draw.below(40)):
        first, count = CLASSES[draw.below(len(CLASSES))]
        out.append(chr(first + draw.below(count)))
    return "".join(out)


def block_hash(made, strings):
    digest = hashlib.sha256()
    for encoding in made.encode_batch(strings, add_special_tokens=False):
        digest.update(struct.pack(f"<{len(encoding.ids) + 1}I", *encoding.ids, 0xFFFFFFFF))
    return digest.hexdigest()[:16]


if __name__ == "__main__":
    made = tokenizer()
    assert made.encode("Hello world").ids == [9707, 1879]
    points = []
    for block in range(0x1100):
        strings = []
        for c in range(256 * block, 256 * block + 256):
            if 0xD800 <= c < 0xE000:
                continue
            x = chr(c)
            strings += [x, f"x{x}{x} {x}7{x}\n{x}"]
        points.append(block_hash(made, strings))
    randoms = [block_hash(made, [random_string(i) for i in range(b, b + 100)]) for b in range(0, 20000, 100)]
    with open(os.path.join(here, "hashes.json"), "w") as f:
        json.dump({"tokenizers": tokenizers.__version__, "code_points_by_256": points, "random_by_100": randoms}, f, indent=0)
        f.write("\n")
