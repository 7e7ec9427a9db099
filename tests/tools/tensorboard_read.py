#!/usr/bin/env python3
"""Reads the event file of a run with the real package (pip install tensorboard) and compares it with run.jsonl.

    python3 tests/tools/tensorboard_read.py RUN        exit 0 all alike; last line "N passed, N failed"
"""
import json
import struct
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

run = sys.argv[1]
lines = [json.loads(line) for line in open(run + "/run.jsonl")]
steps = [line for line in lines if line["type"] == "step"]
events = EventAccumulator(run, size_guidance={"scalars": 0})
events.Reload()
as_f32 = lambda x: struct.unpack("f", struct.pack("f", x))[0]
passed = failed = 0
for tag in events.Tags()["scalars"]:
    points = [(e.step, e.value) for e in events.Scalars(tag)]
    known = [(s["step"], as_f32(s[tag])) for s in steps if tag in s]
    same = points == known
    print("same  " if same else "DIFFERS", tag, len(points), "points")
    passed, failed = passed + same, failed + (not same)
if not {"loss", "token_loss", "lr", "gradient_norm", "data_seconds", "tokens_per_second", "mfu"} <= set(events.Tags()["scalars"]):
    failed += 1
print(f"{passed} passed, {failed} failed")
sys.exit(failed != 0)
