"""What others make of our directories, and we of theirs, on the CPU in f32. Called by peers_check.sh.

    python peers_check.py PROGRAM MODEL TEST WORK [ORIGINAL]

MODEL: a directory that `train` wrote. TEST: held-out questions (`synth --what world`). WORK: a directory of its own.
ORIGINAL: a directory with the original's code, config.json (auto_map) and *.py.
A line for every comparison; the last says how many held. Errors against fp64 are shares of the largest logit; ours may
be at most twice theirs at its worst, as in our own tests of golden values.
"""
import glob
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import torch
import transformers
from PIL import Image
from safetensors.numpy import load_file, save_file
from safetensors.torch import load_file as load_torch
from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer

program, model_dir, test_dir, work, original = (sys.argv[1:] + [""])[:5]
newest = int(transformers.__version__.split(".")[0]) >= 5
os.makedirs(work, exist_ok=True)
torch.manual_seed(1)
torch.set_num_threads(1)  # the models are small
torch.use_deterministic_algorithms(True)
counts = {True: 0, False: 0}


def say(held, text):
    counts[bool(held)] += 1
    print("ok   " if held else "WRONG", text, flush=True)


def ours(*arguments):
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, arguments))}: {done.stderr.strip()}")
    return done.stdout


def trace(directory, inputs, dtype, name="logits"):
    source, out = f"{work}/in.safetensors", f"{work}/out.safetensors"
    save_file(inputs, source)
    ours("trace", "--model", directory, "--input", source, "--out", out, "--dtype", dtype)
    return load_file(out)[name].astype(np.float64)


def compare_logits(what, directory, cases, theirs, name="logits"):
    """Ours and theirs in f32, each against ours in f64; every case is (our inputs, what `theirs` takes)."""
    worst_ours = worst_theirs = apart = 0.0
    for inputs, given in cases:
        exact, mine = trace(directory, inputs, "f64", name), trace(directory, inputs, "f32", name)
        with torch.no_grad():
            other = theirs(**given).to(torch.float64).numpy().reshape(exact.shape)
        largest = np.abs(exact).max()
        worst_ours = max(worst_ours, np.abs(mine - exact).max() / largest)
        worst_theirs = max(worst_theirs, np.abs(other - exact).max() / largest)
        apart = max(apart, np.abs(mine - other).max() / largest)
    say(worst_ours <= 2 * worst_theirs and worst_theirs < 1e-5,
        f"{what}: {len(cases)} inputs, logits at most {apart:.1e} apart; from fp64 ours {worst_ours:.1e}, theirs {worst_theirs:.1e}")


# ---- the directory as others read it

def questions(most):
    found = []
    for file in sorted(glob.glob(f"{test_dir}/*.jsonl")):
        with open(file) as lines:
            rows = [json.loads(line) for line in lines]
        found += rows[: max(1, most // 8)]
    return found[:most]


def picture_of(row):
    return os.path.join(test_dir, row["image"])


tokenizer = AutoTokenizer.from_pretrained(model_dir)
slow = {"backend": "pil"} if newest else {"use_fast": False}
fast = {"backend": "torchvision"} if newest else {"use_fast": True}
pictures = AutoImageProcessor.from_pretrained(model_dir, **slow)
limits = ("shortest_edge", "longest_edge")  # areas, in spite of their names
smallest, largest = (int(pictures.size[key]) for key in limits)
asked = questions(200)


def prompt_of(row):
    text = row.get("question") or row["conversations"][0]["value"]
    text = text.replace("<image>\n", "").replace("<image>", "")
    turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}
    return tokenizer.apply_chat_template([turn], tokenize=False, add_generation_prompt=True)


def same_tokens():
    texts = [prompt_of(row) for row in asked]
    texts += ["", " ", "2024 = 1 + 2023\n\n", "caf\u00e9 cafe\u0301", "\u4f60\u597d\uff0c\u4e16\u754c", "\U0001f600 <|im_end|> x", "a\tb  c   d"]
    source, out = f"{work}/texts.jsonl", f"{work}/ids.jsonl"
    with open(source, "w") as file:
        file.writelines(json.dumps({"text": t}) + "\n" for t in texts)
    ours("inspect", "tokens", "--tokenizer", model_dir, "--in", source, "--out", out)
    with open(out) as file:
        mine = [json.loads(line)["ids"] for line in file]
    other = [tokenizer(t)["input_ids"] for t in texts]
    say(mine == other, f"AutoTokenizer ({type(tokenizer).__name__}): {len(texts)} texts, {len(asked)} of them rendered by the chat template, same ids")


def same_pixels(kind, theirs):
    files = sorted({picture_of(row) for row in asked})[:24]
    arguments = ["--data.min_pixels", smallest, "--data.max_pixels", largest, "--numerics.processor", kind]
    same = 0
    for path in files:
        out = f"{work}/pixels.safetensors"
        ours("inspect", "image", path, "--out", out, *arguments)
        mine, other = load_file(out), theirs(images=[Image.open(path)], return_tensors="pt")
        values = other["pixel_values"].to(torch.float32).numpy()
        same += bool(np.array_equal(mine["pixel_values"].view(np.uint32), values.view(np.uint32))
                     and np.array_equal(mine["image_grid_thw"], other["image_grid_thw"].numpy()))
    say(same == len(files) > 0, f"AutoImageProcessor ({type(theirs).__name__}): {same} of {len(files)} pictures with the same bits")


def processors():
    same_pixels("slow", pictures)
    try:
        same_pixels("fast", AutoImageProcessor.from_pretrained(model_dir, **fast))
        processor = AutoProcessor.from_pretrained(model_dir)
    except ImportError as error:
        print(f"skip  the fast processor and AutoProcessor: {str(error).strip().splitlines()[0]}", flush=True)
        return
    row = asked[0]
    given = processor(text=[prompt_of(row)], images=[Image.open(picture_of(row)).convert("RGB")], return_tensors="pt")
    ids, _, grid = model_inputs(row)
    say(given["input_ids"].tolist() == ids.tolist() and given["image_grid_thw"].tolist() == grid.tolist(),
        f"AutoProcessor ({type(processor).__name__}): a prompt with a picture, the same ids and grid")


def model_inputs(row):
    shown = pictures(images=[Image.open(picture_of(row)).convert("RGB")], return_tensors="np")
    tokens = int(shown["image_grid_thw"].prod()) // pictures.merge_size**2
    ids = tokenizer(prompt_of(row).replace("<|image_pad|>", "<|image_pad|>" * tokens))["input_ids"]
    return np.array([ids]), shown["pixel_values"].astype(np.float32), shown["image_grid_thw"].astype(np.int64)


# ---- the original's own code, through auto_map

def check_original():
    from transformers import AutoConfig, AutoModelForCausalLM

    directory, source = f"{work}/original", f"{work}/with-code"
    ours("checkpoint", "convert", model_dir, "--out", source, "--export.untied_head")
    with open(f"{original}/config.json") as file:
        auto_map = json.load(file)["auto_map"]
    with open(f"{source}/config.json") as file:
        config = json.load(file)
    config["auto_map"] = auto_map
    with open(f"{source}/config.json", "w") as file:
        json.dump(config, file)
    for file in glob.glob(f"{original}/*.py"):
        shutil.copy(file, source)
    ours("checkpoint", "convert", source, "--out", directory)  # ours keeps auto_map and brings the code
    config = AutoConfig.from_pretrained(directory, trust_remote_code=True)
    model, info = AutoModelForCausalLM.from_pretrained(directory, trust_remote_code=True, torch_dtype=torch.float32,
                                                       attn_implementation="eager", output_loading_info=True)
    names = [*info["missing_keys"], *info["unexpected_keys"], *info["mismatched_keys"]]
    say(not names, f"auto_map ({type(config).__name__}, {type(model).__name__}): every tensor by name, {len(names)} not")
    compare_logits("the original's code", directory, picture_cases(), lambda **g: model.eval()(**g).logits)


def picture_cases():
    cases = []
    for row in asked[:: max(1, len(asked) // 16)]:
        ids, values, grid = model_inputs(row)
        cases.append(({"input_ids": ids, "pixel_values": values, "image_grid_thw": grid},
                      {"input_ids": torch.from_numpy(ids), "pixel_values": torch.from_numpy(values), "image_grid_thw": torch.from_numpy(grid)}))
    return cases


# ---- NeMo AutoModel's own code for the model

def nemo_model(directory):
    from nemo_automodel.components.models.llava_onevision import model as nemo

    with open(f"{directory}/config.json") as file:
        config = nemo.Llavaonevision1_5Config(**json.load(file))
    model = nemo.LLaVAOneVision1_5_ForConditionalGeneration(config, attn_implementation="eager").float().eval()
    stored = {}
    for file in glob.glob(f"{directory}/*.safetensors"):
        stored.update(load_torch(file))
    missing, extra = model.load_state_dict(model.state_dict_adapter.from_hf(stored), strict=False)
    missing = [name for name in missing if "inv_freq" not in name]
    say(not missing and not extra, f"NeMo AutoModel: {len(stored)} tensors by name, {len(missing)} missing, {len(extra)} unknown")
    return model


def greedy(model, row, stops, most):
    ids, values, grid = model_inputs(row)
    given = {"pixel_values": torch.from_numpy(values), "image_grid_thw": torch.from_numpy(grid)}
    given["input_ids"], answer, cache = torch.from_numpy(ids), [], None
    with torch.no_grad():
        for _ in range(most):
            out = model(**given, past_key_values=cache, use_cache=True)
            best, cache = int(out.logits[0, -1].argmax()), out.past_key_values
            if best in stops:
                break
            answer.append(best)
            given = {"input_ids": torch.tensor([[best]])}
    return answer


def check_nemo():
    try:
        import nemo_automodel  # noqa: F401
    except ImportError:
        print("skip  NeMo AutoModel is not installed", flush=True)
        return
    directory = f"{work}/untied"
    ours("checkpoint", "convert", model_dir, "--out", directory, "--export.untied_head")
    model = nemo_model(directory)
    compare_logits("NeMo AutoModel", directory, picture_cases(), lambda **g: model(**g).logits)
    with open(f"{directory}/generation_config.json") as file:
        eos = json.load(file)["eos_token_id"]
    stops = set(eos if isinstance(eos, list) else [eos])
    same = 0
    for row in asked:
        text = row.get("question") or row["conversations"][0]["value"]
        mine = json.loads(ours("generate", "--model", directory, "--image", picture_of(row), "--ids", "--max_new_tokens", 32,
                               f"--prompt={text.replace('<image>', '').strip()}"))
        mine = [i for i in mine if i not in stops]
        same += mine == greedy(model, row, stops, 32)
    say(same == len(asked), f"NeMo AutoModel: {same} of {len(asked)} answers, token for token")


# ---- Transformers' own classes, both ways

def check_language_model(kind, config, cls):
    theirs = cls(config).eval()
    for p in theirs.parameters():  # biases and norms away from where they start
        p.data.add_(torch.randn_like(p) * 0.02)
    directory, back = f"{work}/{kind}", f"{work}/{kind}-back"
    theirs.save_pretrained(directory)
    ids = [np.random.default_rng(i).integers(0, config.vocab_size, (1, n)) for i, n in enumerate((7, 33, 120))]
    cases = [({"input_ids": i}, {"input_ids": torch.from_numpy(i)}) for i in ids]
    compare_logits(f"{kind}, written by Transformers", directory, cases, lambda **g: theirs(**g).logits)
    ours("checkpoint", "convert", directory, "--out", back)
    again, info = cls.from_pretrained(back, output_loading_info=True)
    names = [*info["missing_keys"], *info["unexpected_keys"], *info["mismatched_keys"]]
    kept, loaded = theirs.state_dict(), again.eval().state_dict()
    same = kept.keys() == loaded.keys() and all(torch.equal(kept[n], loaded[n]) for n in kept)
    # PyTorch's products may differ in their last bits by where in memory equal tensors lie.
    pairs = [(again(**g).logits, theirs(**g).logits) for _, g in cases]
    apart = max(((a - t).abs().max() / t.abs().max()).item() for a, t in pairs)
    say(same and not names and apart < 1e-5,
        f"{kind}, written by us: Transformers loads every tensor with its bits, logits at most {apart:.1e} apart")


def check_code_files(config):
    """A directory with code of its own, which AutoConfig and AutoModelForCausalLM find through auto_map, goes through us."""
    from transformers import AutoConfig, AutoModelForCausalLM

    directory, back = f"{work}/own", f"{work}/own-back"
    theirs = transformers.Qwen3ForCausalLM(config).eval()
    theirs.save_pretrained(directory)
    with open(f"{directory}/own_code.py", "w") as file:
        file.write("from transformers import Qwen3Config, Qwen3ForCausalLM\n\n\nclass OwnConfig(Qwen3Config):\n    pass\n\n\n"
                   "class OwnForCausalLM(Qwen3ForCausalLM):\n    config_class = OwnConfig\n")
    with open(f"{directory}/config.json") as file:
        described = json.load(file)
    described["auto_map"] = {"AutoConfig": "own_code.OwnConfig", "AutoModelForCausalLM": "own_code.OwnForCausalLM"}
    with open(f"{directory}/config.json", "w") as file:
        json.dump(described, file)
    ours("checkpoint", "convert", directory, "--out", back)
    found = AutoConfig.from_pretrained(back, trust_remote_code=True)
    model, info = AutoModelForCausalLM.from_pretrained(back, trust_remote_code=True, output_loading_info=True)
    names = [*info["missing_keys"], *info["unexpected_keys"], *info["mismatched_keys"]]
    own = (type(found).__name__, type(model).__name__) == ("OwnConfig", "OwnForCausalLM")
    ids = torch.arange(33)[None] % config.vocab_size
    with torch.no_grad():
        same = torch.equal(model.eval()(input_ids=ids).logits, theirs(input_ids=ids).logits)
    say(own and same and not names, f"auto_map, written by us: {type(found).__name__} and {type(model).__name__} of the source's code file, the same bits")


def check_clip():
    from transformers import CLIPConfig, CLIPModel

    tower = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 3}
    config = CLIPConfig(text_config={**tower, "vocab_size": 97, "max_position_embeddings": 16, "eos_token_id": 96},
                        vision_config={**tower, "image_size": 28, "patch_size": 14}, projection_dim=24)
    theirs = CLIPModel(config).eval()
    for p in theirs.parameters():
        p.data.add_(torch.randn_like(p) * 0.02)
    directory, back = f"{work}/clip", f"{work}/clip-back"
    theirs.save_pretrained(directory)
    random = np.random.default_rng(3)
    ids = random.integers(0, 96, (5, 9))
    ids[:, -1] = 96
    values = random.standard_normal((5, 3, 28, 28)).astype(np.float32)
    cases = [({"input_ids": ids, "pixel_values": values}, {"input_ids": torch.from_numpy(ids), "pixel_values": torch.from_numpy(values)})]
    compare_logits("CLIP, written by Transformers", directory, cases, lambda **g: theirs(**g).logits_per_image, "logits_per_image")
    ours("checkpoint", "convert", directory, "--out", back)
    again, info = CLIPModel.from_pretrained(back, output_loading_info=True)
    names = [*info["missing_keys"], *info["unexpected_keys"], *info["mismatched_keys"]]
    same = torch.equal(again.eval()(**cases[0][1]).logits_per_image, theirs(**cases[0][1]).logits_per_image)
    say(same and not names, "CLIP, written by us: Transformers loads every tensor, logits have the same bits")


print(f"transformers {transformers.__version__}, torch {torch.__version__}, {model_dir}", flush=True)
same_tokens()
processors()
if original:
    check_original()
if not newest:  # what NeMo's release is made for
    check_nemo()
small = {"vocab_size": 211, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4,
         "num_key_value_heads": 2, "head_dim": 16, "rope_theta": 1e4, "tie_word_embeddings": False}
check_language_model("Qwen3", transformers.Qwen3Config(**small), transformers.Qwen3ForCausalLM)
check_code_files(transformers.Qwen3Config(**small))
check_language_model("Qwen3-MoE", transformers.Qwen3MoeConfig(**small, num_experts=8, num_experts_per_tok=2, moe_intermediate_size=32,
                                                              norm_topk_prob=True), transformers.Qwen3MoeForCausalLM)
check_clip()
print(f"{counts[True]} held, {counts[False]} did not")
sys.exit(1 if counts[False] else 0)
