"""One training step of configs/model/tiny.json in PyTorch eager fp32: the peer that `make bench` runs beside our step.

Written to be fast in the ways eager PyTorch allows: rows and pictures of equal length are one batch, q|k|v and gate|up are
one product each, attention is F.scaled_dot_product_attention, AdamW is torch's own in whichever form is faster here.
The work of a step: 4 rows of 76 tokens, one picture of 2 x 22 patches each (44 patches, 11 image tokens); forward,
backward, clipping of the global gradient norm to 1, AdamW. Inputs are random: time does not depend on their values.

  pytorch_step.py                  measures with 1 and 2 threads, one JSON line each
  pytorch_step.py --serve -t 2     prints a JSON line, then runs one step for every line on stdin and prints its milliseconds
"""

import argparse
import json
import os
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

B, T = 4, 76  # rows, tokens a row
GRID_H, GRID_W = 2, 22  # patches; both even, for the 2x2 merge
P, IMAGE_TOKENS = GRID_H * GRID_W, GRID_H * GRID_W // 4
V = 278  # 256 bytes and 22 added tokens
IMAGE_TOKEN, IGNORED = V - 1, -100


def rotate(x, cos, sin):
    """x [..., D] turned by angles [D/2] in pairs (j, j + D/2)."""
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class VisionBlock(nn.Module):
    def __init__(self, C, H, F_):
        super().__init__()
        self.H = H
        self.norm1, self.norm2 = nn.LayerNorm(C), nn.LayerNorm(C)
        self.qkv, self.proj = nn.Linear(C, 3 * C), nn.Linear(C, C)
        self.fc1, self.fc2 = nn.Linear(C, F_), nn.Linear(F_, C)

    def forward(self, x, cos, sin):
        b, n, c = x.shape
        qkv = self.qkv(self.norm1(x)).view(b, n, 3, self.H, c // self.H).permute(2, 0, 3, 1, 4)
        q, k = rotate(qkv[:2], cos, sin)
        o = F.scaled_dot_product_attention(q, k, qkv[2]).transpose(1, 2).reshape(b, n, c)
        x = x + self.proj(o)
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Tower(nn.Module):
    def __init__(self, C=96, L=2, H=3, F_=384):
        super().__init__()
        D = C // H
        self.patch = nn.Linear(3 * 14 * 14, C, bias=False)
        self.cls = nn.Parameter(torch.randn(C) * C**-0.5)
        self.cls_angles = nn.Parameter(torch.randn(1, D // 2))
        self.pre_norm = nn.LayerNorm(C)
        self.blocks = nn.ModuleList(VisionBlock(C, H, F_) for _ in range(L))
        freq = 10000.0 ** -(torch.arange(D // 4) * 4 / D)
        index = torch.arange(P).view(GRID_H // 2, GRID_W // 2, 2, 2)  # patches come in 2x2 blocks
        row = torch.arange(GRID_H).view(GRID_H // 2, 1, 2, 1).expand_as(index).reshape(P, 1)
        col = torch.arange(GRID_W).view(1, GRID_W // 2, 1, 2).expand_as(index).reshape(P, 1)
        self.register_buffer("angles", torch.cat((row * freq, col * freq), 1))

    def forward(self, pixels):  # [B, P, 588] -> [B, P, C]
        x = torch.cat((self.cls.expand(len(pixels), 1, -1), self.patch(pixels)), 1)
        angles = torch.cat((self.cls_angles, self.angles))
        cos, sin = angles.cos(), angles.sin()
        x = self.pre_norm(x)
        for block in self.blocks:
            x = block(x, cos, sin)
        return x[:, 1:]


class Merger(nn.Module):
    def __init__(self, C=96, out=128):
        super().__init__()
        self.norm, self.fc1, self.fc2 = nn.LayerNorm(C), nn.Linear(4 * C, 4 * C), nn.Linear(4 * C, out)

    def forward(self, x):  # [B, P, C] -> [B * P / 4, out]
        return self.fc2(F.gelu(self.fc1(self.norm(x).reshape(-1, 4 * x.shape[-1]))))


class DecoderBlock(nn.Module):
    def __init__(self, C, H, K, D, F_):
        super().__init__()
        self.split = (H, K, K)
        self.D, self.repeat = D, H // K
        self.norm1, self.norm2 = nn.RMSNorm(C, eps=1e-6), nn.RMSNorm(C, eps=1e-6)
        self.q_norm, self.k_norm = nn.RMSNorm(D, eps=1e-6), nn.RMSNorm(D, eps=1e-6)
        self.qkv, self.o = nn.Linear(C, (H + 2 * K) * D, bias=False), nn.Linear(H * D, C, bias=False)
        self.gate_up, self.down = nn.Linear(C, 2 * F_, bias=False), nn.Linear(F_, C, bias=False)

    def forward(self, x, cos, sin, gqa):
        b, t, c = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, t, -1, self.D).transpose(1, 2).split(self.split, 1)
        q, k = rotate(self.q_norm(q), cos, sin), rotate(self.k_norm(k), cos, sin)
        if not gqa:
            k, v = k.repeat_interleave(self.repeat, 1), v.repeat_interleave(self.repeat, 1)
        o = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=gqa)
        x = x + self.o(o.transpose(1, 2).reshape(b, t, -1))
        gate, up = self.gate_up(self.norm2(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)


class OneVision(nn.Module):
    def __init__(self, C=128, L=3, H=4, K=2, D=32, F_=256):
        super().__init__()
        self.tower, self.merger = Tower(), Merger(out=C)
        self.embed = nn.Embedding(V, C)
        self.blocks = nn.ModuleList(DecoderBlock(C, H, K, D, F_) for _ in range(L))
        self.norm = nn.RMSNorm(C, eps=1e-6)
        angles = torch.arange(T)[:, None] * 10000.0 ** -(torch.arange(D // 2) * 2 / D)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())
        self.gqa = False
        nn.init.normal_(self.embed.weight, std=0.2)

    def forward(self, ids, pixels, targets):
        x = self.embed(ids)
        where = (ids == IMAGE_TOKEN).unsqueeze(-1).expand_as(x)
        x = x.masked_scatter(where, self.merger(self.tower(pixels)))
        for block in self.blocks:
            x = block(x, self.cos, self.sin, self.gqa)
        logits = F.linear(self.norm(x), self.embed.weight)  # tied
        return F.cross_entropy(logits.view(-1, V), targets.view(-1), ignore_index=IGNORED)


class Step:
    """The model, one fixed batch, the optimiser; calling it runs one training step and returns its milliseconds."""

    def __init__(self):
        torch.manual_seed(0)
        self.model = OneVision()
        ids = torch.randint(0, 256, (B, T))
        ids[:, 1 : 1 + IMAGE_TOKENS] = IMAGE_TOKEN
        targets = torch.full_like(ids, IGNORED)  # row t predicts token t + 1; image tokens are never predicted
        targets[:, :-1] = ids[:, 1:].masked_fill(ids[:, 1:] == IMAGE_TOKEN, IGNORED)
        self.batch = ids, torch.randn(B, P, 3 * 14 * 14), targets
        self.use("fused")

    def use(self, form):
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-5, betas=(0.9, 0.98), weight_decay=0.05,
                                           **{form: True})  # fmt: skip

    def __call__(self):
        start = time.perf_counter()
        self.loss = self.model(*self.batch)
        self.optimizer.zero_grad(set_to_none=True)
        self.loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0, foreach=True)
        self.optimizer.step()
        return (time.perf_counter() - start) * 1e3

    def repeat(self, runs, seconds):
        """Milliseconds of up to `runs` steps, fewer when the seconds are over: at least one."""
        times, end = [], time.monotonic() + seconds
        while len(times) < runs and (not times or time.monotonic() < end):
            times.append(self())
        return times

    def tune(self):
        """Chooses the faster form of AdamW and of grouped-query attention, by medians of alternating runs."""
        forms = [(o, g) for o in ("fused", "foreach") for g in (False, True)]
        times = {form: [] for form in forms}
        for _ in range(3):
            for form in forms:
                self.use(form[0])
                self.model.gqa = form[1]
                self()  # allocates AdamW's moments
                times[form] += self.repeat(20, seconds=1)
        best = min(forms, key=lambda form: statistics.median(times[form]))
        self.use(best[0])
        self.model.gqa = best[1]
        self.repeat(5, seconds=1)
        return {"adamw": best[0], "gqa": "enable_gqa" if best[1] else "repeat_interleave"}


def matmul_gflops(n=1024, runs=15):
    a, b = torch.randn(n, n), torch.randn(n, n)
    c, times = torch.empty(n, n), []
    for _ in range(runs):
        start = time.perf_counter()
        torch.mm(a, b, out=c)
        times.append(time.perf_counter() - start)
    return round(2 * n**3 / statistics.median(times) / 1e9, 1)


def measure(threads, runs, seconds):
    torch.set_num_threads(threads)
    step = Step()
    first = step()
    first_loss = step.loss.item()
    chosen = step.tune()
    times = sorted(step.repeat(runs, seconds))
    return {"threads": threads, "median_ms": round(statistics.median(times), 3), "min_ms": round(times[0], 3),
            "runs": len(times), "first_step_ms": round(first, 1), "loss_first": round(first_loss, 3),
            "loss_last": round(step.loss.item(), 3), **chosen, "matmul_1024_gflops": matmul_gflops(),
            "parameters": sum(p.numel() for p in step.model.parameters()), "torch": torch.__version__,
            "cpu_capability": torch.backends.cpu.get_cpu_capability()}  # fmt: skip


def serve(threads):
    torch.set_num_threads(threads)
    step = Step()
    step()
    ready = {"threads": threads, **step.tune(), "torch": torch.__version__}
    print(json.dumps(ready), flush=True)
    for _ in sys.stdin:
        step()  # the other program has just had the caches
        ms = step()
        time.sleep(0.02)  # OpenMP's idle threads spin for some milliseconds: let them end before the other program's turn
        print(f"{ms:.4f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-t", "--threads", type=int, nargs="+", default=[1, 2], help="thread counts to measure (1 2)")
    parser.add_argument("-n", "--runs", type=int, default=200, help="steps of a measurement (200)")
    parser.add_argument("-s", "--seconds", type=float, default=20, help="but no new step after so many seconds (20)")
    parser.add_argument("--serve", action="store_true", help="one step for every line on stdin, with the last of -t")
    args = parser.parse_args()
    if args.serve:
        return serve(args.threads[-1])
    for threads in args.threads:
        print(json.dumps(measure(threads, args.runs, args.seconds)), flush=True)


if __name__ == "__main__":
    main()
