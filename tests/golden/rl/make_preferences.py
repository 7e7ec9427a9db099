# Writes preferences.parquet and preferences.jsonl: the same preferences, as TRL and the sets on the Hub have them, once with the
# pictures' bytes inside (by pyarrow; messages whose contents are parts, two row groups), once as JSON lines beside files of
# tests/golden/images_fast (texts, or messages).   python make_preferences.py, in this folder
import json
import pyarrow as pa
import pyarrow.parquet as pq


def parts(text):  # "<image>" and texts as a content's parts
    out = []
    for i, piece in enumerate(text.split("<image>")):
        out += [dict(type="image", text=None)] * (i > 0) + [dict(type="text", text=piece)] * (piece != "")
    return out


rows = [
    dict(id="a", images=["tiny.png"], prompt="<image>\nWhat is it?", chosen="A ring.", rejected="A cross."),
    dict(id="b", images=["rgb.png", "tiny.png"], prompt="<image>\n and <image>\n: the same?", chosen="no", rejected="yes"),
    dict(id="c", images=[], prompt="Ünïcode, no picture", chosen="x", rejected="y"),
]
with open("preferences.jsonl", "w") as f:
    for r in rows:
        if r["id"] == "c":  # whole conversations, without a prompt
            question = dict(role="user", content=r["prompt"])
            r = dict(id="c", chosen=[question, dict(role="assistant", content="x")], rejected=[question, dict(role="assistant", content="y")])
        f.write(json.dumps(r) + "\n")
part = pa.struct([("type", pa.string()), ("text", pa.string())])
messages = pa.list_(pa.struct([("role", pa.string()), ("content", pa.list_(part))]))
inside = [dict(id=r["id"], images=[dict(bytes=open("../images_fast/" + p, "rb").read(), path=p) for p in r["images"]],
               prompt=[dict(role="user", content=parts(r["prompt"]))],
               **{k: [dict(role="assistant", content=parts(r[k]))] for k in ("chosen", "rejected")}) for r in rows]
schema = pa.schema([("id", pa.string()), ("images", pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))),
                    ("prompt", messages), ("chosen", messages), ("rejected", messages)])
pq.write_table(pa.Table.from_pylist(inside, schema), "preferences.parquet", row_group_size=2)
