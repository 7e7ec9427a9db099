#!/usr/bin/env python3
"""What lmms_check.sh asks and compares: lmms_check.py tasks|names|compare DIRECTORY."""
import glob, json, os, shutil, sys

what, at = sys.argv[1:3]
TASKS = at + "/tasks"

WORLD = """task: ov_world_local
dataset_path: json
dataset_kwargs:
  data_files:
    test: data/world.jsonl
test_split: test
output_type: generate_until
doc_to_visual: !function ov_utils.doc_visual
doc_to_text: !function ov_utils.text
doc_to_target: answer
generation_kwargs:
  max_new_tokens: 32
  temperature: 0
  do_sample: false
process_results: !function ov_utils.chart_results
metric_list:
  - metric: relaxed_overall
    aggregation: mean
    higher_is_better: true
metadata:
  version: 1.0
"""


def make_tasks():
    """The stored tasks, and questions of the demonstration's world, which a trained model answers."""
    shutil.copytree("tests/golden/lmms_tasks", TASKS)
    with open(TASKS + "/data/world.jsonl", "w") as out:
        for path in sorted(glob.glob(at + "/world/test/*.jsonl")):
            for line in open(path):
                q = json.loads(line)
                image = "world/" + q["image"]
                os.makedirs(os.path.dirname(f"{TASKS}/data/{image}"), exist_ok=True)
                shutil.copy(f"{at}/world/test/{q['image']}", f"{TASKS}/data/{image}")
                out.write(json.dumps({"image": image, "question": q["question"], "answer": q["answer"], "type": "human_test"}) + "\n")
    open(TASKS + "/ov_world_local.yaml", "w").write(WORLD)
    own = json.load(open(TASKS + "/tasks.json"))
    own["tasks"]["ov_world_local"] = {"data": "data/world.jsonl", "scorer": "chartqa", "prompt": "exact_match", "max_tokens": 32}
    json.dump(own, open(TASKS + "/tasks.json", "w"))


def names():
    return list(json.load(open(TASKS + "/tasks.json"))["tasks"])


def read(run):
    """(metrics by task, samples by task) of a run's files; stops where there is none."""
    files = glob.glob(f"{at}/{run}/*/*_results.json")
    if len(files) != 1:
        sys.exit(f"{run}: expected one result file, found {len(files)}; see {at}/{run}.log")
    samples = {}
    for task in names():
        paths = glob.glob(f"{at}/{run}/*/*_samples_{task}.jsonl")
        rows = [json.loads(line) for path in paths for line in open(path)]
        samples[task] = {row["doc_id"]: row for row in rows}
    return json.load(open(files[0]))["results"], samples


def reply(row):
    value = row.get("resps", row["filtered_resps"])
    while isinstance(value, list):
        value = value[0]
    return value.strip()


def score(row):
    if "score" in row:
        return float(row["score"])
    value = next(row[k] for k in ("relaxed_overall", "anls", "average") if k in row)
    return float(value["score"] if isinstance(value, dict) else value)


def compare():
    own, own_samples = read("own")
    problems = []
    for run in ("url", "openai", "async_openai"):
        results, samples = read(run)
        documents = metrics = right = 0
        for task in names():
            if set(samples[task]) != set(own_samples[task]) or not samples[task]:
                problems.append(f"{run}: {task}: {len(samples[task])} documents, {len(own_samples[task])} of ours")
                continue
            for i, ours in own_samples[task].items():
                theirs = samples[task][i]
                documents += 1
                right += score(ours) > 0
                if "LMMS_EVAL_REQUEST_FAILED" in reply(theirs) or reply(theirs) != ours["prediction"].strip():
                    problems.append(f"{run}: {task} {i}: {reply(theirs)!r} there, {ours['prediction']!r} here")
                elif score(theirs) != score(ours):
                    problems.append(f"{run}: {task} {i}: {reply(theirs)!r} scores {score(theirs)} there, {score(ours)} here")
                elif theirs["token_counts"][0]["input_tokens"] != ours["token_counts"][0]["input_tokens"]:
                    problems.append(f"{run}: {task} {i}: other prompts: {theirs['token_counts']}, {ours['token_counts']}")
            for key, value in results[task].items():
                if isinstance(value, float) and isinstance(own[task].get(key), (int, float)):
                    metrics += 1
                    if abs(value - own[task][key]) > 1e-12:
                        problems.append(f"{run}: {task}: {key} is {value} there, {own[task][key]} here")
        if metrics < len(names()):
            problems.append(f"{run}: only {metrics} metrics in common")
        print(f"{run}: {documents} documents, {right} of them with a score above 0, {metrics} metrics")
    for p in problems[:40]:
        print("PROBLEM", p)
    print("the same" if not problems else f"{len(problems)} problems")
    sys.exit(bool(problems))


if what == "tasks":
    make_tasks()
elif what == "names":
    print(",".join(names()))
else:
    compare()
