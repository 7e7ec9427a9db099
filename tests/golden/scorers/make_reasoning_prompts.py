#!/usr/bin/env python3
"""Adds to prompts.json how lmms-eval asks wemath_testmini_reasoning, logicvista_reasoning and vl_rewardbench:

    pip install --no-deps lmms-eval==0.7.3 pyyaml && python3 make_reasoning_prompts.py

Their functions are taken out of their files and run alone, since the files import more than asking needs."""
import ast, importlib.metadata, importlib.util, json, os, re

import yaml

assert importlib.metadata.version("lmms_eval") == "0.7.3"
TASKS = os.path.join(os.path.dirname(importlib.util.find_spec("lmms_eval").origin), "tasks")
HERE = os.path.dirname(os.path.abspath(__file__))


def functions(path, names, known={}):
    tree = ast.parse(open(os.path.join(TASKS, path)).read())
    wanted = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name in names
              or isinstance(n, ast.Assign) and n.targets[0].id in names]
    space = dict(known)
    exec(compile(ast.Module(wanted, []), path, "exec"), space)
    return space


def kwargs(path):
    text = re.sub(r"!function (\S+)", r"\1", open(os.path.join(TASKS, path)).read())
    return yaml.safe_load(text)["generation_kwargs"]


class Picture:  # as much of one as the functions touch
    def convert(self, mode):
        return self


def case(doc, text, messages=None):
    out = {"doc": doc, "prompt": text}
    if messages:
        out["system"] = messages[0]["content"][0]["text"]
        out["parts"] = [p["type"] if p["type"] != "text" else p["text"] for p in messages[1]["content"]]
    return out


def reasoning(text, messages, picture, docs):
    return [case(d, text(d), messages({**d, picture: Picture()})) for d in docs]


wemath = functions("wemath/reasoning/utils.py", {"SYSTEM_PROMPT", "wemath_doc_to_text_cot", "wemath_doc_to_visual", "wemath_doc_to_messages_cot"})
make = functions("_task_utils/reasoning_utils.py", {"make_reasoning_doc_to_messages", "DEFAULT_REASONING_SYSTEM_PROMPT"})
logic = functions("logicvista/reasoning/utils.py", {"SYSTEM_PROMPT", "logicvista_doc_to_text_cot", "logicvista_doc_to_visual", "logicvista_doc_to_messages_cot"}, make)
reward = functions("vl_rewardbench/utils.py", {"get_prompt", "vlrewardbench_doc_to_text"})

path = os.path.join(HERE, "prompts.json")
golden = json.load(open(path))
golden["tasks"]["wemath_testmini_reasoning"] = {
    "generation_kwargs": kwargs("wemath/reasoning/wemath_testmini_thinking.yaml"),
    "prompts": reasoning(wemath["wemath_doc_to_text_cot"], wemath["wemath_doc_to_messages_cot"], "image_path", [
        {"question": "How long is AB?", "option": "A. 2cm; B. 3cm; C. 4cm; D. No correct answer"},
        {"question": " \n Which ONE? ", "option": " A. x \n"},
        {"question": "图中有什么？", "option": ""}])}
golden["tasks"]["logicvista_reasoning"] = {
    "generation_kwargs": kwargs("logicvista/reasoning/logicvista_thinking.yaml"),
    "prompts": reasoning(logic["logicvista_doc_to_text_cot"], logic["logicvista_doc_to_messages_cot"], "image", [
        {"question": "Which comes next? A, B, C, D or E"}, {"question": "  Two\nlines \t"}])}
golden["tasks"]["vl_rewardbench"] = {
    "generation_kwargs": kwargs("vl_rewardbench/vl_rewardbench.yaml"),
    "prompts": [case(d, reward["vlrewardbench_doc_to_text"](d)) for d in [
        {"query": "What is it?", "response": ["A cat.", "A dog!"]},
        {"query": "What is it?", "response": ["A cat", "A dog!"]},
        {"query": "图中有什么？", "response": ["猫", "é\n"]},
        {"query": "", "response": ["", "x"]}]]}
with open(path, "w") as f:
    json.dump(golden, f, indent=1)
    f.write("\n")
