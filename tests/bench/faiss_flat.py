"""FAISS's exact search by inner product (IndexFlatIP), the peer of kernels/nearest.h.

    faiss_flat.py --serve --step NxMxCxk -t THREADS -n SEARCHES

Prints one JSON line when the index of M rows stands, then searches N rows for every line on its standard input and answers with
the milliseconds. It is given as tests/bench/torch_peer.h gives its options.
"""

import argparse
import json
import sys
import time

import faiss
import numpy as np


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--step", required=True)
    parser.add_argument("-t", "--threads", type=int, default=1)
    parser.add_argument("-n", "--runs", type=int, default=1)
    parser.add_argument("--serve", action="store_true")
    args = parser.parse_args()
    n, m, width, k = (int(part) for part in args.step.split("x"))
    faiss.omp_set_num_threads(args.threads)
    rng = np.random.default_rng(1)
    a, b = (rng.standard_normal((rows, width), dtype=np.float32) for rows in (n, m))
    for x in (a, b):
        x /= np.linalg.norm(x, axis=1, keepdims=True)
    index = faiss.IndexFlatIP(width)
    index.add(b)
    print(json.dumps({"threads": args.threads, "faiss": faiss.__version__, "options": faiss.get_compile_options()}), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        for _ in range(args.runs):
            index.search(a, k)
        ms = 1e3 * (time.perf_counter() - start)
        time.sleep(0.02)  # idle threads spin for a while: let them end before the other program's turn
        print(f"{ms:.4f}", flush=True)


if __name__ == "__main__":
    main()
