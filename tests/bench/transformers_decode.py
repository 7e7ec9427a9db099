"""Transformers' Qwen3 with random weights, the peer of decode_bench.cpp.

    transformers_decode.py --serve --step SHAPE,TYPE,PROMPT,LONG -t THREADS -n TOKENS

SHAPE: layers x hidden x intermediate x heads x kv_heads x head_dim x vocabulary; TYPE: f32 or bf16. Prints one JSON line
when the model stands, then answers each word on its standard input with milliseconds:

    one, sixteen   a token of 1 or 16 answers, the mean of TOKENS passes; the prompts of PROMPT tokens were read before
    prefill        a prompt of LONG tokens

Greedy, with the key-value cache. What can be done in several ways is measured before the first line, and the fastest taken for
each word: attention by scaled_dot_product_attention or eager, one thread or all. torch.compile is not among them.
"""

import argparse
import json
import sys
import time

import torch
import transformers
from transformers import AutoModelForCausalLM, DynamicCache, Qwen3Config


def model_of(shape, dtype):
    layers, hidden, intermediate, heads, kv_heads, head_dim, vocabulary = (int(n) for n in shape.split("x"))
    config = Qwen3Config(vocab_size=vocabulary, hidden_size=hidden, intermediate_size=intermediate, num_hidden_layers=layers,
                         num_attention_heads=heads, num_key_value_heads=kv_heads, head_dim=head_dim, max_position_embeddings=4096,
                         tie_word_embeddings=True)  # fmt: skip
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, torch_dtype=dtype)
    model.to_empty(device="cpu")
    model.tie_weights()
    with torch.no_grad():
        for p in model.parameters():
            p.uniform_(-0.05, 0.05)
        rotary = model.model.rotary_emb
        rotary.inv_freq = 1e4 ** -(torch.arange(head_dim // 2) * 2 / head_dim)
    return model.eval()


class Work:
    def __init__(self, args):
        shape, kind, self.prompt, self.long = args.step.split(",")
        self.prompt, self.long, self.tokens = int(self.prompt), int(self.long), args.runs
        self.model = model_of(shape, {"f32": torch.float32, "bf16": torch.bfloat16}[kind])
        self.vocabulary = self.model.config.vocab_size

    def ids(self, rows, length):
        return (torch.arange(rows * length).view(rows, length) * 37) % self.vocabulary

    def read(self, ids, cache):
        """One pass: the last row's logits alone, as generate() asks for them."""
        return self.model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1].argmax(-1)

    @torch.inference_mode()
    def seconds(self, word, tokens):
        cache = DynamicCache()
        if word == "prefill":
            start = time.perf_counter()
            self.read(self.ids(1, self.long), cache)
            return time.perf_counter() - start
        token = self.read(self.ids({"one": 1, "sixteen": 16}[word], self.prompt), cache)
        start = time.perf_counter()
        for _ in range(tokens):
            token = self.read(token[:, None], cache)
        return (time.perf_counter() - start) / tokens

    def use(self, choice):
        attention, threads = choice
        self.model.set_attn_implementation(attention)
        torch.set_num_threads(threads)

    def tune(self, threads):
        self.choice = {}
        for word in ("one", "sixteen", "prefill"):
            best = {}
            for choice in ((a, t) for t in sorted({1, threads}) for a in ("sdpa", "eager")):
                self.use(choice)
                best[choice] = min(self.seconds(word, 3) for _ in range(2))
            self.choice[word] = min(best, key=best.get)
        return {word: f"{a}, {t} threads" for word, (a, t) in self.choice.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--step", required=True)
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("-n", "--runs", type=int, default=16)
    parser.add_argument("--serve", action="store_true")
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()
    work = Work(args)
    chosen = work.tune(args.threads)
    what = f"Transformers {transformers.__version__}, PyTorch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}; {chosen}"
    print(json.dumps({"what": what}), flush=True)
    for line in sys.stdin:
        work.use(work.choice[line.strip()])
        ms = 1e3 * work.seconds(line.strip(), args.runs)
        time.sleep(0.02)  # OpenMP's idle threads spin for some milliseconds: let them end before the other program's turn
        print(f"{ms:.4f}", flush=True)


if __name__ == "__main__":
    main()
