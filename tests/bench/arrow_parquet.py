"""pyarrow on one core, the peer of parquet_bench.cpp; its options are those of tests/bench/torch_peer.h.

    arrow_parquet.py --serve --step ROWS    a line on stdin is "write PATH" or "read PATH"; answers with milliseconds

What is written: ROWS pictures that do not compress, 40 to 120 KB each, with a conversation of four turns, in pyarrow's default
encodings and Snappy, row groups of 100 as Hugging Face's `datasets` has them for pictures.
"""
import argparse
import json
import random
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq

parser = argparse.ArgumentParser()
parser.add_argument("--serve", action="store_true", required=True)
parser.add_argument("--step", type=int, required=True)
args, _ = parser.parse_known_args()
pa.set_cpu_count(1)
pa.set_io_thread_count(1)


def write(path):
    draw = random.Random(1)
    turns = [[{"from": "gpt" if t % 2 else "human", "value": f"Turn {t} of record {i}"} for t in range(4)] for i in range(args.step)]
    pictures = [{"bytes": draw.randbytes(draw.randrange(40_000, 120_000)), "path": f"{i}.jpg"} for i in range(args.step)]
    ids = [f"record-{i}" for i in range(args.step)]
    pq.write_table(pa.table({"id": ids, "image": pictures, "conversations": turns}), path, compression="snappy", row_group_size=100)


def read(path):
    file = pq.ParquetFile(path, memory_map=True)
    return sum(file.read_row_group(g, use_threads=False).num_rows for g in range(file.num_row_groups))


print(json.dumps({"pyarrow": pa.__version__}), flush=True)
for line in sys.stdin:
    what, path = line.split(maxsplit=1)
    start = time.perf_counter()
    {"read": read, "write": write}[what](path.strip())
    print(f"{1e3 * (time.perf_counter() - start):.4f}", flush=True)
