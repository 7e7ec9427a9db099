"""LoRA adapters as PEFT trains them: what it saves, and the gradients of A and B.

    python3 make_cases.py          # torch 2.8.0 (CPU), transformers 4.55.4, peft 0.21.2; writes one folder a case beside this file

A case: `checkpoint/`, the model; `adapter/`, PEFT's directory, B not zero; `case.safetensors`: input_ids, labels (as in ../moe),
logits, logits.base (without the adapter) and grad.<name in adapter_model.safetensors> of the mean loss. fp64 rounded to fp32;
the casts to fp32 inside norms, router and rotary embedding became casts to fp64, the inverse frequencies stay fp32's.
"""
import importlib, json, os, shutil
import torch
from peft import LoraConfig, get_peft_model
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file
from transformers import Qwen3Config, Qwen3MoeConfig

torch.set_num_threads(1)
here = os.path.dirname(os.path.abspath(__file__))
shape = dict(vocab_size=37, hidden_size=16, intermediate_size=22, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             head_dim=6, max_position_embeddings=64, rope_theta=10000.0, attn_implementation="eager")
experts = dict(num_experts=3, num_experts_per_tok=2, moe_intermediate_size=10, norm_topk_prob=True)
projections = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
cases = {  # class, configuration, adapter
    "projections": ("qwen3", "Qwen3ForCausalLM", Qwen3Config(**shape, tie_word_embeddings=True),
                    dict(r=3, lora_alpha=7, target_modules=projections)),
    "some_rslora": ("qwen3", "Qwen3ForCausalLM", Qwen3Config(**shape, attention_bias=True),
                    dict(r=5, lora_alpha=4, use_rslora=True, target_modules=["v_proj", "layers.1.mlp.up_proj", "lm_head"])),
    "mixture": ("qwen3_moe", "Qwen3MoeForCausalLM", Qwen3MoeConfig(**shape, **experts),
                dict(r=2, lora_alpha=4, target_modules="all-linear")),
}

for case, (kind, name, config, options) in cases.items():
    module = importlib.import_module(f"transformers.models.{kind}.modeling_{kind}")
    source = open(module.__file__).read()
    source = source.replace(".float()", ".double()").replace("torch.float32", "torch.float64").replace("dtype=torch.float)", "dtype=torch.float64)")
    exec(compile(source, module.__file__, "exec"), module.__dict__)
    folder = os.path.join(here, case)
    shutil.rmtree(folder, ignore_errors=True)
    torch.manual_seed(5)
    model = getattr(module, name)(config).eval()
    with torch.no_grad():
        for n, p in model.named_parameters():
            p.copy_(1 + 0.3 * torch.randn_like(p) if "norm" in n else torch.randn_like(p) * (0.5 if p.ndim == 1 else p.shape[-1] ** -0.5))
    model.save_pretrained(folder + "/checkpoint")
    os.remove(folder + "/checkpoint/generation_config.json")
    adapted = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", lora_dropout=0.0, bias="none", **options))
    with torch.no_grad():
        for n, p in adapted.named_parameters():
            if "lora_B" in n:
                p.copy_(torch.randn_like(p) * 0.3)
    adapted.save_pretrained(folder + "/adapter", save_embedding_layers=False)
    os.remove(folder + "/adapter/README.md")
    frequencies = adapted.base_model.model.model.rotary_emb.inv_freq.double()
    adapted = adapted.double()
    adapted.base_model.model.model.rotary_emb.inv_freq = frequencies
    ids = torch.randint(0, config.vocab_size, (12,))
    labels = ids.clone()
    labels[torch.rand(12) < 0.3] = -100
    labels[0] = -100
    out = {"input_ids": ids, "labels": labels}
    with torch.no_grad(), adapted.disable_adapter():
        out["logits.base"] = adapted(ids[None], use_cache=False).logits[0]
    out["logits"] = adapted(ids[None], use_cache=False).logits[0]
    learnt = labels[1:] != -100
    loss = torch.nn.functional.cross_entropy(out["logits"][:-1][learnt], labels[1:][learnt])
    loss.backward()
    gradients = {n: p.grad if p.grad is not None else torch.zeros_like(p) for n, p in adapted.named_parameters() if p.requires_grad}
    saved = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    for n in saved:
        out["grad." + n] = gradients[n.replace(".weight", ".default.weight")]
    assert len(gradients) == len(saved)
    save_file({n: t.detach().clone().contiguous() if t.dtype == torch.int64 else t.detach().float().contiguous() for n, t in out.items()},
              folder + "/case.safetensors")
    json.dump({"loss_fp64": loss.item()}, open(folder + "/summary.json", "w"))
    print(case, loss.item(), len(saved))
