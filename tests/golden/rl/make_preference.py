# Writes preference.json: DPO's losses and their gradients by TRL (0.17.0) on fixed log-probabilities, f64. TRL's own
# DPOTrainer.dpo_loss is called; what it reads of a trainer stands in a namespace. For ipo TRL's forward pass divides each sum
# by its number of tokens before, as is done here.   python make_preference.py, in this folder
import json
from types import SimpleNamespace
import torch
from trl.trainer.dpo_trainer import DPOTrainer

g = torch.Generator().manual_seed(0)
cases = []
for kind, beta, smoothing in [("sigmoid", 0.1, 0.0), ("sigmoid", 0.5, 0.0), ("sigmoid", 0.1, 0.2), ("ipo", 0.1, 0.0), ("ipo", 1.0, 0.0)]:
    for pairs in (1, 5):
        logps = [-20 * torch.rand(pairs, generator=g, dtype=torch.float64) for _ in range(4)]
        tokens = [torch.randint(1, 30, (pairs,), generator=g) for _ in range(2)]
        chosen, rejected = (x.clone().requires_grad_() for x in logps[:2])
        scaled = [x / n if kind == "ipo" else x for x, n in zip([chosen, rejected, *logps[2:]], tokens * 2)]
        trainer = SimpleNamespace(accelerator=SimpleNamespace(device="cpu"), reference_free=False, beta=beta,
                                  label_smoothing=smoothing, loss_type=kind, f_divergence_type="reverse_kl", f_divergence_params=None)
        losses, chosen_rewards, rejected_rewards = DPOTrainer.dpo_loss(trainer, *scaled)
        losses.mean().backward()
        cases.append(dict(
            kind=kind, beta=beta, label_smoothing=smoothing,
            chosen=logps[0].tolist(), rejected=logps[1].tolist(), chosen_reference=logps[2].tolist(), rejected_reference=logps[3].tolist(),
            chosen_tokens=tokens[0].tolist(), rejected_tokens=tokens[1].tolist(), loss=losses.mean().item(),
            by_chosen=chosen.grad.tolist(), by_rejected=rejected.grad.tolist(),
            accuracy=(chosen_rewards > rejected_rewards).double().mean().item(), margin=(chosen_rewards - rejected_rewards).mean().item()))
with open("preference.json", "w") as f:
    f.write("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")
