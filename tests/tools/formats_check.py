#!/usr/bin/env python3
"""Files and directories between us and pyarrow, webdataset and megatron-energon, both ways; formats_check.sh makes ours.

    formats_check.py PROGRAM SHARDS WORK     SHARDS: a directory that `synth` wrote, WORK: with manifests *.parquet

Last line "N passed, N failed"; exit 1 when something differs.
"""
import hashlib
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import webdataset as wds

program, shards, work = sys.argv[1:]
passed = failed = 0


def check(what, same):
    global passed, failed
    print("same   " if same else "DIFFERS", what, flush=True)
    passed, failed = passed + bool(same), failed + (not same)


def inspect(kind, path):
    out = os.path.join(work, "inspected.jsonl")
    subprocess.run([program, "inspect", kind, path, "--out", out], check=True, capture_output=True)
    return [json.loads(line) for line in open(out, encoding="utf-8")]


def facts(value):
    return {"len": len(value), "sha256": hashlib.sha256(value).hexdigest()}


def samples(root):
    """As the webdataset package yields them, shard by shard in the order of their names."""
    tars = sorted(os.path.relpath(os.path.join(d, f), root) for d, _, files in os.walk(root) for f in files if f.endswith(".tar"))
    return [{"key": s["__key__"], "shard": t, "parts": {k: facts(v) for k, v in s.items() if not k.startswith("__")}}
            for t in tars for s in wds.WebDataset(os.path.join(root, t), shardshuffle=False, empty_check=False)]


# Parquet: every manifest in pyarrow, and what pyarrow writes of it, with other encodings, here.
for name in sorted(os.listdir(work)):
    if name.endswith(".parquet"):
        table = pq.read_table(os.path.join(work, name))
        rows = json.loads(json.dumps(table.to_pylist()))
        check(f"{name}: {table.num_rows} rows in pyarrow {pa.__version__}", rows and rows == inspect("parquet", os.path.join(work, name)))
        for codec, version in ("zstd", "1.0"), ("brotli", "2.0"):
            other = os.path.join(work, "by-pyarrow")
            pq.write_table(table, other, compression=codec, data_page_version=version, row_group_size=37)
            check(f"{name}, written again by pyarrow ({codec}, pages {version})", rows == inspect("parquet", other))

# Shards: ours by webdataset and tarfile.
listed = inspect("webdataset", shards)
check(f"our shards: {len(listed)} samples in webdataset", listed and listed == samples(shards))
for name in sorted(os.listdir(shards)):
    if name.endswith(".tar"):
        begins, last = [], None
        with tarfile.open(os.path.join(shards, name)) as tar:
            for member in tar:
                if member.name.split(".")[0] != last:
                    begins.append(member.offset)
                    last = member.name.split(".")[0]
        index = open(os.path.join(shards, name + ".idx"), "rb").read()
        stored = [int.from_bytes(index[i:i + 8], "little") for i in range(0, len(index), 8)]
        check(f"{name}.idx: {len(begins)} samples where tarfile has them", stored[:-1] == begins)

try:
    from megatron.energon import Cooker, DefaultTaskEncoder, Sample, WorkerConfig, basic_sample_keys, edataclass, get_loader, get_val_dataset, stateless
except ImportError:
    print("megatron-energon: not installed here, nothing of it is tried")
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed != 0)

energon = os.path.join(os.path.dirname(sys.executable), "energon")


@edataclass
class Raw(Sample):
    parts: dict


@stateless
def cook(sample):
    return Raw(**basic_sample_keys(sample), parts={k: v for k, v in sample.items() if not k.startswith("__")})


class Bytes(DefaultTaskEncoder):
    """Samples as they are stored."""
    decoder = None
    cookers = [Cooker(cook)]

    def encode_sample(self, sample):
        return sample


def by_energon(root):
    made = get_val_dataset(root, split_part="train", worker_config=WorkerConfig(rank=0, world_size=1, num_workers=0), batch_size=None,
                           task_encoder=Bytes())
    return sorted((s.__key__, sorted((k, json.dumps(facts(v))) for k, v in s.parts.items())) for s in get_loader(made))


def of_inspected(lines):
    return sorted((s["key"], sorted((k, json.dumps(v)) for k, v in s["parts"].items())) for s in lines)


# Ours: the sample class is the original's, so a copy names none.
copy = os.path.join(work, "energon-copy")
shutil.copytree(shards, copy, ignore=shutil.ignore_patterns("*.idx"))
with open(os.path.join(copy, ".nv-meta", "dataset.yaml"), "w") as file:
    file.write("__module__: megatron.energon\n__class__: CrudeWebdataset\n")
subprocess.run([energon, "prepare", copy, "--tar-index-only", "--no-progress", "--num-workers", "1"], check=True, capture_output=True)
check("our directory: energon's loader has the same samples", by_energon(copy) == of_inspected(listed))
ours = [n for n in os.listdir(shards) if n.endswith(".idx")]
check("our directory: energon makes the same .idx", bool(ours) and all(
    os.path.exists(os.path.join(copy, n)) and open(os.path.join(copy, n), "rb").read() == open(os.path.join(shards, n), "rb").read() for n in ours))

# Theirs: shards by webdataset, prepared by energon.
draw = random.Random(1)
for case in range(8):
    root = os.path.join(work, f"energon-{case}")
    for shard in range(1 + case % 4):
        path = os.path.join(root, "sub" if case % 3 == 0 else "", f"shard-{shard:03d}.tar")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with wds.TarWriter(path) as tar:
            for i in range(draw.randint(1, 7)):
                key = draw.choice(["", "a/", "deep/er/"]) + f"{shard}-{i:03d}" + draw.choice(["", "x" * 110, "ü"])
                tar.write({"__key__": key, "png": draw.randbytes(draw.randrange(2000)), "json": {"caption": f"c {i} 漢"}, "cls": i})
    subprocess.run([energon, "prepare", root, "--non-interactive", "--split-ratio", "1,0,0", "--num-workers", "1", "--no-progress",
                    "--sample-type", "CrudeWebdataset"] + ["--shuffle-tars"] * (case % 2), check=True, capture_output=True)
    found = inspect("webdataset", root)
    check(f"a directory by energon: {len(found)} samples", found == samples(root) and of_inspected(found) == by_energon(root))
print(f"{passed} passed, {failed} failed")
sys.exit(failed != 0)
