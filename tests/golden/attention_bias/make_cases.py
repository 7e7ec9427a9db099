"""Small decoders with biases in their attention, as Transformers computes them: activations, losses, every gradient.

    python3 make_cases.py          # torch 2.8.0 (CPU), transformers 4.55.4; writes one folder a case beside this file

The fp64 run replaces the casts to fp32 inside norms, router and rotary embedding by casts to fp64 and keeps the fp32
inverse frequencies. Names, forms and bounds are those of ../moe (../README.md).
"""
import importlib, json, os
import torch
from safetensors.torch import save_file
from transformers import Qwen2Config, Qwen3Config, Qwen3MoeConfig

torch.set_num_threads(1)
here = os.path.dirname(os.path.abspath(__file__))
shape = dict(vocab_size=37, hidden_size=16, intermediate_size=22, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
             max_position_embeddings=64, rope_theta=10000.0, attn_implementation="eager")
experts = dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=10, norm_topk_prob=True, output_router_logits=True,
               router_aux_loss_coef=0.01)
cases = {  # class, configuration, tokens
    "qwen3": ("qwen3", "Qwen3ForCausalLM", Qwen3Config(**shape, head_dim=14, attention_bias=True, tie_word_embeddings=True), 13),
    "qwen3_moe": ("qwen3_moe", "Qwen3MoeForCausalLM", Qwen3MoeConfig(**shape, **experts, head_dim=14, attention_bias=True), 11),
    "qwen2": ("qwen2", "Qwen2ForCausalLM", Qwen2Config(**shape, tie_word_embeddings=True), 12),
}


def module_of(kind, wide):
    module = importlib.import_module(f"transformers.models.{kind}.modeling_{kind}")
    module = importlib.reload(module)
    if wide:
        source = open(module.__file__).read()
        source = source.replace(".float()", ".double()").replace("torch.float32", "torch.float64").replace("dtype=torch.float)", "dtype=torch.float64)")
        exec(compile(source, module.__file__, "exec"), module.__dict__)
    return module


def run(kind, name, config, tokens, wide, folder):
    module = module_of(kind, wide)
    torch.manual_seed(11)
    model = getattr(module, name)(config).eval()
    with torch.no_grad():
        for n, p in model.named_parameters():
            p.copy_(1 + 0.3 * torch.randn_like(p) if "norm" in n else torch.randn_like(p) * (0.5 if p.ndim == 1 else p.shape[-1] ** -0.5))
    if wide:
        model.save_pretrained(folder + "/checkpoint")
        os.remove(folder + "/checkpoint/generation_config.json")
        frequencies = model.model.rotary_emb.inv_freq.double()
        model = model.double()
        model.model.rotary_emb.inv_freq = frequencies
    ids = torch.randint(0, config.vocab_size, (tokens,))
    labels = ids.clone()
    labels[torch.rand(tokens) < 0.3] = -100
    labels[0] = -100
    out = {"input_ids": ids, "labels": labels}
    losses = {}

    def keep(n):
        def hook(_, __, y):
            out["act." + n] = y[0] if isinstance(y, tuple) else y
        return hook

    for n, m in model.named_modules():
        if n and n not in ("model", "model.layers") and not any(word in n for word in ("experts", "rotary", "act_fn")):
            m.register_forward_hook(keep(n))
    result = model(ids[None], use_cache=False)
    out["logits"] = result.logits[0]
    learnt = labels[1:] != -100
    out["token_loss"] = torch.nn.functional.cross_entropy(out["logits"][:-1][learnt], labels[1:][learnt], reduction="none")
    total = losses["loss"] = out["token_loss"].mean()
    if kind == "qwen3_moe":
        losses["aux_loss"] = module.load_balancing_loss_func(tuple(result.router_logits), config.num_experts, config.num_experts_per_tok)
        total = total + config.router_aux_loss_coef * losses["aux_loss"]
    total.backward()
    for n, p in model.named_parameters():
        out["grad." + n] = torch.zeros_like(p) if p.grad is None else p.grad
    return {n: t.detach().clone().contiguous() for n, t in out.items()}, {n: t.item() for n, t in losses.items()}


def error(narrow, wide, prefix):
    """The worst tensor: largest difference over the largest element, at least 1e-6 of the largest in its class."""
    names = [n for n in wide if n.startswith(prefix)]
    most = max(wide[n].abs().max().item() for n in names)
    return max((narrow[n].double() - wide[n]).abs().max().item() / max(wide[n].abs().max().item(), 1e-6 * most) for n in names)


for case, (kind, name, config, tokens) in cases.items():
    folder = os.path.join(here, case)
    os.makedirs(folder, exist_ok=True)
    wide, losses = run(kind, name, config, tokens, True, folder)
    narrow, _ = run(kind, name, config, tokens, False, folder)
    summary = {n + "_fp64": v for n, v in losses.items()}
    summary["fp32_error_of_pytorch"] = {"logits": error(narrow, wide, "logits"), "worst_activation": error(narrow, wide, "act."),
                                        "worst_gradient": error(narrow, wide, "grad.")}
    save_file({n: t if t.dtype == torch.int64 else t.float() for n, t in wide.items()}, folder + "/case.safetensors")
    json.dump(summary, open(folder + "/summary.json", "w"), indent=1)
    print(case, summary)
