"""llama.cpp with a Qwen3 of random weights, the peer of decode_bench.cpp; it writes the GGUF file that it runs.

    llamacpp_decode.py --serve --step SHAPE,TYPE,PROMPT,LONG -t THREADS -n TOKENS

Arguments, words and answers are those of transformers_decode.py. Weights are stored in TYPE, norms in f32, the head is the
embedding; keys and values are f32 beside f32 weights and llama.cpp's own f16 beside bf16 ones. Greedy. One thread or all, flash attention
or not are measured before the first line, and the fastest taken for each word.

    python3 -m venv ~/venv-llama && ~/venv-llama/bin/pip install gguf llama-cpp-python     # compiles llama.cpp for this machine
"""

import argparse
import json
import os
import sys
import tempfile
import time

import gguf
import llama_cpp as llama
import numpy as np


def write_model(path, shape, kind):
    layers, hidden, intermediate, heads, kv_heads, head_dim, vocabulary = shape
    file = gguf.GGUFWriter(path, "qwen3")
    file.add_context_length(4096)
    file.add_block_count(layers)
    file.add_embedding_length(hidden)
    file.add_feed_forward_length(intermediate)
    file.add_head_count(heads)
    file.add_head_count_kv(kv_heads)
    file.add_key_length(head_dim)
    file.add_value_length(head_dim)
    file.add_layer_norm_rms_eps(1e-6)
    file.add_rope_freq_base(1e4)
    file.add_vocab_size(vocabulary)
    file.add_tokenizer_model("no_vocab")
    random = np.random.default_rng(1)

    def matrix(name, rows, columns):
        values = random.random((rows, columns), np.float32) * 0.1 - 0.05
        if kind == "f32":
            return file.add_tensor(name, values)
        data = gguf.quants.quantize(values, gguf.GGMLQuantizationType.BF16)
        file.add_tensor(name, data, raw_dtype=gguf.GGMLQuantizationType.BF16)

    def norm(name, width):
        file.add_tensor(name, np.ones(width, np.float32))

    matrix("token_embd.weight", vocabulary, hidden)
    norm("output_norm.weight", hidden)
    for i in range(layers):
        b = f"blk.{i}."
        norm(b + "attn_norm.weight", hidden)
        matrix(b + "attn_q.weight", heads * head_dim, hidden)
        matrix(b + "attn_k.weight", kv_heads * head_dim, hidden)
        matrix(b + "attn_v.weight", kv_heads * head_dim, hidden)
        norm(b + "attn_q_norm.weight", head_dim)
        norm(b + "attn_k_norm.weight", head_dim)
        matrix(b + "attn_output.weight", hidden, heads * head_dim)
        norm(b + "ffn_norm.weight", hidden)
        matrix(b + "ffn_gate.weight", intermediate, hidden)
        matrix(b + "ffn_up.weight", intermediate, hidden)
        matrix(b + "ffn_down.weight", hidden, intermediate)
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()


class Work:
    def __init__(self, args):
        shape, self.kind, self.prompt, self.long = args.step.split(",")
        shape = [int(n) for n in shape.split("x")]
        self.prompt, self.long, self.tokens, self.vocabulary = int(self.prompt), int(self.long), args.runs, shape[-1]
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "model.gguf")
            write_model(path, shape, self.kind)
            options = llama.llama_model_default_params()
            options.use_mmap = False
            self.model = llama.llama_model_load_from_file(path.encode(), options)
        assert self.model, "llama.cpp does not read the file"
        self.batch = llama.llama_batch_init(512, 0, 1)
        self.contexts = {}

    def context(self, flash):
        if flash not in self.contexts:
            options = llama.llama_context_default_params()
            options.n_ctx = 16 * (self.prompt + 128) + self.long
            options.n_batch = options.n_ubatch = 512
            options.n_seq_max = 16
            options.kv_unified = True
            options.flash_attn_type = flash
            options.no_perf = True
            if self.kind == "f32":
                options.type_k = options.type_v = llama.GGML_TYPE_F32
            self.contexts[flash] = llama.llama_init_from_model(self.model, options)
            assert self.contexts[flash], "llama.cpp makes no context"
        return self.contexts[flash]

    def use(self, choice):
        flash, threads = choice
        self.now = self.context(flash)
        llama.llama_set_n_threads(self.now, threads, threads)

    def read(self, rows, position):
        """Rows of (sequence, tokens) from a position on; the likeliest next token of each."""
        b, n, last = self.batch, 0, []
        for sequence, tokens in rows:
            for i, token in enumerate(tokens):
                b.token[n], b.pos[n], b.n_seq_id[n], b.seq_id[n][0] = int(token), position + i, 1, sequence
                b.logits[n] = i + 1 == len(tokens)
                n += 1
            last.append(n - 1)
        b.n_tokens = n
        assert llama.llama_decode(self.now, b) == 0, "llama_decode failed"
        logits = (llama.llama_get_logits_ith(self.now, i) for i in last)
        return [int(np.ctypeslib.as_array(x, (self.vocabulary,)).argmax()) for x in logits]

    def seconds(self, word, tokens):
        llama.llama_memory_clear(llama.llama_get_memory(self.now), True)
        if word == "prefill":
            start = time.perf_counter()
            self.read([(0, [i * 37 % self.vocabulary for i in range(self.long)])], 0)
            return time.perf_counter() - start
        answers = {"one": 1, "sixteen": 16}[word]
        ids = [[(i * 37 + s * 11) % self.vocabulary for i in range(self.prompt)] for s in range(answers)]
        token = [self.read([(s, ids[s])], 0)[0] for s in range(answers)]
        start = time.perf_counter()
        for i in range(tokens):
            token = self.read([(s, [t]) for s, t in enumerate(token)], self.prompt + i)
        return (time.perf_counter() - start) / tokens

    def tune(self, threads):
        self.choice = {}
        for word in ("one", "sixteen", "prefill"):
            best = {}
            for choice in ((f, t) for t in sorted({1, threads}) for f in (0, 1)):
                self.use(choice)
                best[choice] = min(self.seconds(word, 3) for _ in range(2))
            self.choice[word] = min(best, key=best.get)
        return {word: f"{'flash attention' if f else 'attention'}, {t} threads" for word, (f, t) in self.choice.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--step", required=True)
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("-n", "--runs", type=int, default=16)
    parser.add_argument("--serve", action="store_true")
    args = parser.parse_args()
    quiet = llama.llama_log_callback(lambda level, text, data: None)
    llama.llama_log_set(quiet, None)
    llama.llama_backend_init()
    work = Work(args)
    chosen = work.tune(args.threads)
    cpu = " ".join(w for w in llama.llama_print_system_info().decode().split(" | ") if " = 1" in w)
    print(json.dumps({"what": f"llama.cpp (llama-cpp-python {llama.__version__}), {cpu}; {chosen}"}), flush=True)
    for line in sys.stdin:
        work.use(work.choice[line.strip()])
        ms = 1e3 * work.seconds(line.strip(), args.runs)
        time.sleep(0.02)  # idle threads may spin for some milliseconds: let them end before the other program's turn
        print(f"{ms:.4f}", flush=True)


if __name__ == "__main__":
    main()
