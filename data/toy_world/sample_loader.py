# Written beside the caption shards, for readers based on Megatron-Energon; onevision itself never runs it.
import json


def part_filter(part):
    return True


def sample_loader(raw):
    record = json.loads(raw["json"])
    messages = [m for m in record["texts"] if m["role"] != "system"]
    system = [m["content"] for m in record["texts"] if m["role"] == "system"]
    media = [raw[name] for name in record.get("name", [])]
    return dict(
        __key__=raw["__key__"],
        messages=messages,
        system=system[0] if system else None,
        image=media if record["media"] == "image" else None,
        video=media if record["media"] == "video" else None,
    )
