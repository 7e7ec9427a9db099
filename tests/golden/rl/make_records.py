# Writes records.parquet and records.jsonl: the same prompts in the release's schema, once with the pictures' bytes inside
# (by pyarrow, two row groups), once beside files of tests/golden/images_fast.   python make_records.py, in this folder
import json
import pyarrow as pa
import pyarrow.parquet as pq

rows = [
    dict(id="virl39k_0000", images=["tiny.png"], problem="<image>Which?", answer=["A"], problem_type="stem",
         answer_type="multiple-choice", source="virl39k", prompt_type="long", format_guidance="As a letter."),
    dict(id="pixmo_count_0001", images=["rgb.png", "tiny.png"], problem="<image> and <image>: how many?", answer=["7"],
         problem_type="counting", answer_type="number", source="pixmo_count", prompt_type="normal",
         format_guidance=None),
    dict(id="codeforces_0002", images=[], problem="Ünïcode, no picture", answer=["x", "y"], problem_type="coding",
         answer_type="ocrtext", source="codeforces", prompt_type="", format_guidance=None),
]
with open("records.jsonl", "w") as f:
    for r in rows:
        f.write(json.dumps(r) + "\n")
inside = [dict(r, images=[dict(bytes=open("../images_fast/" + p, "rb").read(), path=p) for p in r["images"]]) for r in rows]
schema = pa.schema([("id", pa.string()), ("images", pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))),
                    ("problem", pa.string()), ("answer", pa.list_(pa.string())), ("problem_type", pa.string()),
                    ("answer_type", pa.string()), ("source", pa.string()), ("prompt_type", pa.string()),
                    ("format_guidance", pa.string())])
pq.write_table(pa.Table.from_pylist(inside, schema), "records.parquet", row_group_size=2)
