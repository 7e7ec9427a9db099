"""One training step in PyTorch fp32, eager or compiled: the peer that `make bench` runs beside our step.

  tiny       configs/model/tiny.json on 4 rows of 76 tokens, one picture of 2 x 22 patches each, all text labelled
  instruct   configs/model/demo.json on the two packs of instruct_step.json, with configs/demo/instruct.json's optimiser
  small      configs/model/small.json on the pack of small_step.json; attention is one call a segment

Forward, backward, clipping of the global gradient norm, AdamW. Inputs are random: time does not depend on their values.
Written to be fast in the ways eager PyTorch allows (pytorch_model.py); where there are several, all are measured before
the clock starts and the fastest is taken. Masks, indices and tables are made once, before the clock starts.

  pytorch_step.py                        measures with 1 and 2 threads, one JSON line each
  pytorch_step.py --serve -t 2 -n 10     prints a JSON line, then runs ten steps for every line on stdin and prints their
                                         milliseconds, and those of the processor
  pytorch_step.py ... --compile          the layers through torch.compile; it needs a C++ compiler and Python's headers
"""

import argparse
import json
import os
import re
import statistics
import sys
import time
from types import SimpleNamespace

import torch
from torch import nn

sys.dont_write_bytecode = True  # leave nothing beside the sources
from pytorch_model import OneVision, attention_forms  # noqa: E402

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")


def read(path):
    """A JSON file with // comments."""
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return json.loads(re.sub(r"//.*", "", file.read()))


class Layout:
    """Where what stands in a step's rows, filled segment by segment."""

    def __init__(self):
        self.segments, self.positions, self.grids, self.image_rows, self.rows = [], [], [], [], []
        self.tokens = 0

    def add(self, row, sample, length, prefix=-1, grid=None, before=0, labelled=0):
        """`labelled`: how many tokens at the segment's end are learnt, each predicted by the row before it."""
        begin, start = self.tokens, 0 if prefix < 0 else self.segments[prefix][3]
        self.segments.append((row, sample, begin, length, prefix))
        self.positions += range(start, start + length)
        if grid:
            self.grids.append(grid)
            self.image_rows += range(begin + before, begin + before + grid[0] * grid[1] // 4)
        self.rows += range(begin + length - labelled - 1, begin + length - 1)
        self.tokens += length
        return len(self.segments) - 1


def tiny():
    layout = Layout()
    for row in range(4):
        layout.add(row, row, 76, grid=(2, 22), labelled=65)
    optimizer = {"lr": 1e-5, "beta2": 0.99, "eps": 1e-5, "weight_decay": 0.0, "clip_grad": 1.0}
    return read("configs/model/tiny.json"), layout, optimizer, True


def instruct():
    step = read("tests/bench/instruct_step.json")
    layout, sample = Layout(), 0
    for row, pack in enumerate(step["packs"]):
        for picture in pack:
            h, w = picture["grid"]
            prefix = layout.add(row, sample, step["before"] + h * w // 4 + step["after"], -1, (h, w), step["before"])
            for length, labelled in picture["questions"]:
                layout.add(row, sample, length, prefix, labelled=labelled)
            sample += 1
    config, stage = read("configs/model/demo.json"), read("configs/demo/instruct.json")
    config["text"]["vocabulary"] = step["vocabulary"]
    # The rate is not the stage's: one batch in every step would be learnt by heart. The time does not depend on it.
    return config, layout, {**stage["optimizer"], "lr": 1e-5}, stage["train"]["train_class_params"]


def small():
    step = read("tests/bench/small_step.json")
    layout, sample = Layout(), 0
    for row, pack in enumerate(step["packs"]):
        for s in pack:
            h, w = s.get("grid", (0, 0))
            length = step["before"] + h * w // 4 + s["after"]
            layout.add(row, sample, length, grid=(h, w) if h else None, before=step["before"], labelled=s["labelled"])
            sample += 1
    optimizer = {"lr": 1e-5, "beta2": 0.99, "eps": 1e-5, "weight_decay": 0.0, "clip_grad": 1.0}
    return read("configs/model/small.json"), layout, optimizer, True


STEPS = {"tiny": tiny, "instruct": instruct, "small": small}


def resident(what):
    """Bytes of the process: VmRSS now, or VmHWM, the most since reset_peak()."""
    with open("/proc/self/status", encoding="ascii") as file:
        return 1024 * int(next(line for line in file if line.startswith(what)).split()[1])


def reset_peak():
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")


class Step:
    """The model, one fixed batch, the optimiser; calling it runs one training step."""

    def __init__(self, name, compiled=False):
        torch.manual_seed(0)
        self.libraries = resident("VmRSS")
        config, layout, self.optimizer_options, class_params = STEPS[name]()
        self.large = name == "small"
        self.model = OneVision(config)
        if compiled:  # layers of one kind share what is compiled; the whole model at once takes very long
            for block in [*self.model.tower.blocks, *self.model.blocks]:
                block.compile(dynamic=False)
        self.model.tower.cls.requires_grad_(class_params)
        self.model.tower.cls_angles.requires_grad_(class_params)
        sizes = [h * w for h, w in layout.grids]
        rows = torch.tensor(layout.rows)
        angles = torch.tensor(layout.positions)[:, None, None] * self.model.freq
        ids = torch.randint(0, 256, (layout.tokens,))
        self.batch = SimpleNamespace(ids=ids, image_rows=torch.tensor(layout.image_rows), rows=rows,
                                     targets=ids[rows + 1], pixels=torch.randn(sum(sizes), self.model.tower.patch.in_features),
                                     angles=[self.model.tower.angles(h, w) for h, w in layout.grids], sizes=sizes,
                                     cos=angles.cos(), sin=angles.sin())  # fmt: skip
        begins = [sum(sizes[:i]) + i for i in range(len(sizes))]  # a class token before every picture
        pictures = [(0, i, b, 1 + n, -1) for i, (b, n) in enumerate(zip(begins, sizes))]
        self.tower_forms, _ = attention_forms(pictures, causal=False)
        self.forms, pairs = attention_forms(layout.segments, causal=True)
        if self.large:
            self.tower_forms, self.forms = ({k: v for k, v in forms.items() if k.endswith("one call each")}
                                            for forms in (self.tower_forms, self.forms))  # fmt: skip
        trained = sum(p.numel() for p in self.model.parameters() if p.requires_grad)
        self.facts = {"trained": trained, "tokens": layout.tokens, "labelled": len(rows), "patches": sum(sizes),
                      "visible_pairs": pairs}  # fmt: skip
        self.choice = {"adamw": "fused", "tower": next(iter(self.tower_forms)), "attention": next(iter(self.forms)),
                       "gqa": "repeat_interleave"}  # fmt: skip
        self.use(self.choice)

    def use(self, choice):
        o = self.optimizer_options
        if choice["adamw"] != getattr(self, "built", None):
            groups = {}
            for name, p in self.model.named_parameters():
                if p.requires_grad:  # biases and one-dimensional weights do not decay, the tower learns at its own rate
                    scale = o.get("lr_scale", {}).get("visual", 1) if name.startswith("tower.") else 1
                    groups.setdefault((o["lr"] * scale, o["weight_decay"] if p.dim() > 1 else 0.0), []).append(p)
            groups = [{"lr": lr, "weight_decay": decay, "params": p} for (lr, decay), p in groups.items()]
            self.optimizer = torch.optim.AdamW(groups, betas=(0.9, o["beta2"]), eps=o["eps"], **{choice["adamw"]: True})
            self.parameters = [p for g in groups for p in g["params"]]
            self.built = choice["adamw"]
        self.chosen = self.tower_forms[choice["tower"]], self.forms[choice["attention"]], choice["gqa"] == "enable_gqa"

    def __call__(self):
        self.optimizer.zero_grad(set_to_none=True)
        self.loss = self.model(self.batch, *self.chosen)
        self.loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, self.optimizer_options["clip_grad"], foreach=True)
        self.optimizer.step()

    def timed(self, steps=1):
        start = time.perf_counter()
        for _ in range(steps):
            self()
        return (time.perf_counter() - start) * 1e3

    def repeat(self, runs, seconds):
        """Milliseconds of up to `runs` steps, fewer when the seconds are over: at least one."""
        times, end = [], time.monotonic() + seconds
        while len(times) < runs and (not times or time.monotonic() < end):
            times.append(self.timed())
        return times

    def tune(self):
        """Chooses the fastest of every choice there is, one after the other, by medians of alternating runs."""
        if self.large:
            self()
            return self.choice
        options = {"attention": list(self.forms), "gqa": ["repeat_interleave", "enable_gqa"],
                   "tower": list(self.tower_forms), "adamw": ["fused", "foreach"]}  # fmt: skip
        measured = {}
        for what in [*options, "attention"]:  # attention again, with the other choices made
            times = {value: [] for value in options[what]}
            for _ in range(3):
                for value in times:
                    self.use({**self.choice, what: value})
                    self()
                    times[value] += self.repeat(6, seconds=0.5)
            medians = {value: statistics.median(t) for value, t in times.items()}
            self.choice[what] = min(medians, key=medians.get)
            measured[what] = {value: round(t, 2) for value, t in medians.items()}
        self.use(self.choice)
        self.repeat(5, seconds=1)
        return {**self.choice, "tuning_ms": measured}

    def memory(self):
        """Bytes that the process holds at most in a step, and those it held before it had a model."""
        reset_peak()
        self()
        return {"peak_bytes": resident("VmHWM"), "libraries_bytes": self.libraries}


def matmul_gflops(n=1024, runs=15):
    a, b = torch.randn(n, n), torch.randn(n, n)
    c, times = torch.empty(n, n), []
    for _ in range(runs):
        start = time.perf_counter()
        torch.mm(a, b, out=c)
        times.append(time.perf_counter() - start)
    return round(2 * n**3 / statistics.median(times) / 1e9, 1)


def measure(name, threads, runs, seconds, compiled):
    torch.set_num_threads(threads)
    step = Step(name, compiled)
    first = step.timed()
    first_loss = step.loss.item()
    chosen = step.tune()
    times = sorted(step.repeat(runs, seconds))
    return {"step": name, "threads": threads, "median_ms": round(statistics.median(times), 3),
            "min_ms": round(times[0], 3), "runs": len(times), "first_step_ms": round(first, 1),
            "loss_first": round(first_loss, 3), "loss_last": round(step.loss.item(), 3), **step.facts, **chosen,
            **step.memory(),
            "matmul_1024_gflops": matmul_gflops(), "torch": torch.__version__,
            "cpu_capability": torch.backends.cpu.get_cpu_capability()}  # fmt: skip


def serve(name, threads, steps, compiled):
    torch.set_num_threads(threads)
    step = Step(name, compiled)
    ready = {"threads": threads, **step.facts, **step.tune(), **step.memory(), "torch": torch.__version__}
    print(json.dumps(ready), flush=True)
    for _ in sys.stdin:
        step()  # the other program has just had the caches
        processor = time.process_time()
        ms = step.timed(steps)
        processor = (time.process_time() - processor) * 1e3
        time.sleep(0.02)  # OpenMP's idle threads spin for some milliseconds: let them end before the other program's turn
        print(f"{ms:.4f} {processor:.4f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--step", choices=list(STEPS), nargs="+", default=["tiny", "instruct"])
    parser.add_argument("-t", "--threads", type=int, nargs="+", default=[1, 2], help="thread counts to measure (1 2)")
    parser.add_argument("-n", "--runs", type=int, default=200, help="steps of a measurement (200), or for a line of stdin")
    parser.add_argument("-s", "--seconds", type=float, default=20, help="but no new step after so many seconds (20)")
    parser.add_argument("--serve", action="store_true", help="-n steps for every line on stdin, with the last of -t")
    parser.add_argument("--compile", action="store_true", help="the layers through torch.compile")
    args = parser.parse_args()
    if args.serve:
        return serve(args.step[-1], args.threads[-1], args.runs, args.compile)
    for name in args.step:
        for threads in args.threads:
            print(json.dumps(measure(name, threads, args.runs, args.seconds, args.compile)), flush=True)


if __name__ == "__main__":
    main()
