"""The model of the step benchmarks in PyTorch eager fp32, over packed rows: all tokens of a step stand below one another
[N, C], so that every product is one call; only attention knows where a row ends.

  q|k|v and gate|up are one product each; q and k are normed and rotated together; rows without a label do not pass
  through the head; attention is F.scaled_dot_product_attention in one of the forms of `attention_forms`.
"""

import torch
import torch.nn.functional as F
from torch import nn


def rotate(x, cos, sin):
    """x [N, heads, D] turned by angles [N, 1, D/2] in pairs (j, j + D/2)."""
    a, b = x.chunk(2, -1)
    return torch.cat((torch.addcmul(a * cos, b, sin, value=-1), torch.addcmul(b * cos, a, sin)), -1)


def attention(q, k, v, gqa, **mask):
    """[b, heads, n, D], fewer heads in k and v: enable_gqa or repeated keys, whichever `gqa` says."""
    repeat = q.shape[1] // k.shape[1]
    if repeat > 1 and not gqa:
        k, v = k.repeat_interleave(repeat, 1), v.repeat_interleave(repeat, 1)
    return F.scaled_dot_product_attention(q, k, v, enable_gqa=repeat > 1 and gqa, **mask)


def mask_of(allowed):
    """The cheapest way to say what [b, q, k] allows: nothing, is_causal, or an additive mask [b, 1, q, k]."""
    if allowed.all():
        return {}
    if allowed.shape[1] == allowed.shape[2] and torch.equal(allowed, torch.ones_like(allowed).tril()):
        return {"is_causal": True}
    return {"attn_mask": torch.zeros(allowed.shape).masked_fill_(~allowed, -torch.inf)[:, None]}


def keys_of(groups, i):
    rows, prefix = groups[i]
    return rows if prefix < 0 else torch.cat((groups[prefix][0], rows))


def batched(groups, allowed):
    """Groups of equal length, one behind the other: a view."""
    b = len(groups)
    mask = mask_of(torch.stack([allowed[rows][:, rows] for rows, _ in groups]))

    def attend(q, k, v, gqa):
        q, k, v = (x.unflatten(0, (b, -1)).transpose(1, 2) for x in (q, k, v))
        return attention(q, k, v, gqa, **mask).transpose(1, 2).flatten(0, 1).flatten(1)

    return attend


def looped(groups, allowed):
    """One call a group, whose keys are its own and those of its prefix group. Groups stand one behind the other."""
    lengths = [len(rows) for rows, _ in groups]
    masks = [mask_of(allowed[rows][:, keys_of(groups, i)][None]) for i, (rows, _) in enumerate(groups)]

    def attend(q, k, v, gqa):
        q, k, v = (x.transpose(0, 1)[None].split(lengths, 2) for x in (q, k, v))
        out = []
        for i, (_, prefix) in enumerate(groups):
            keys, values = (k[i], v[i]) if prefix < 0 else (torch.cat((x[prefix], x[i]), 2) for x in (k, v))
            out.append(attention(q[i], keys, values, gqa, **masks[i]))
        return torch.cat(out, 2)[0].transpose(0, 1).flatten(1)

    return attend


def gathered(groups, allowed):
    """The groups as one batch, padded to the longest."""
    b, keys = len(groups), [keys_of(groups, i) for i in range(len(groups))]
    most_q, most_k = max(len(rows) for rows, _ in groups), max(len(k) for k in keys)
    q_rows, k_rows = torch.zeros(b, most_q, dtype=torch.long), torch.zeros(b, most_k, dtype=torch.long)
    sees, back = torch.zeros(b, most_q, most_k, dtype=torch.bool), torch.empty(len(allowed), dtype=torch.long)
    sees[:, :, 0] = True  # padded queries see something, else their softmax is not a number
    for i, ((rows, _), k) in enumerate(zip(groups, keys)):
        q_rows[i, : len(rows)], k_rows[i, : len(k)] = rows, k
        sees[i, : len(rows), : len(k)] = allowed[rows][:, k]
        back[rows] = i * most_q + torch.arange(len(rows))
    mask, q_rows, k_rows = mask_of(sees), q_rows.flatten(), k_rows.flatten()

    def attend(q, k, v, gqa):
        q = q.index_select(0, q_rows).unflatten(0, (b, -1)).transpose(1, 2)
        k, v = (x.index_select(0, k_rows).unflatten(0, (b, -1)).transpose(1, 2) for x in (k, v))
        return attention(q, k, v, gqa, **mask).transpose(1, 2).flatten(0, 1).flatten(1).index_select(0, back)

    return attend


def attention_forms(segments, causal):
    """Every form of an attention that `segments` describe, by name: attend(q [N,H,D], k, v [N,K,D], gqa) -> [N, H*D].

    segments: (row, sample, begin, length, prefix) in order; row and sample number the packed row and the sample that
    they belong to, prefix is the index of the segment that they see besides themselves, or -1.
    """
    total = sum(length for _, _, _, length, _ in segments)
    own = [torch.arange(begin, begin + length) for _, _, begin, length, _ in segments]
    allowed = torch.zeros(total, total, dtype=torch.bool)
    for rows, (*_, prefix) in zip(own, segments):
        square = torch.ones(len(rows), len(rows), dtype=torch.bool)
        allowed[rows[:, None], rows] = square.tril() if causal else square
        if prefix >= 0:
            allowed[rows[:, None], own[prefix]] = True

    def joined(column):
        names = sorted({s[column] for s in segments})
        return [(torch.cat([o for o, s in zip(own, segments) if s[column] == n]), -1) for n in names]

    groupings = {"packs": joined(0), "samples": joined(1),
                 "segments": [(o, s[4]) for o, s in zip(own, segments)]}  # groups: (rows, index of the prefix or -1)
    forms, seen = {}, set()
    for name, groups in groupings.items():
        key = tuple(len(rows) for rows, _ in groups)
        if key in seen:
            continue
        seen.add(key)
        if len(set(key)) == 1 and all(prefix < 0 for _, prefix in groups):
            forms[name + ", one batch"] = batched(groups, allowed)
        else:
            forms[name + ", padded to one batch"] = gathered(groups, allowed)
        if len(groups) > 1:
            forms[name + ", one call each"] = looped(groups, allowed)
    return forms, int(allowed.sum())


class VisionBlock(nn.Module):
    def __init__(self, C, heads, width):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(C), nn.LayerNorm(C)
        self.qkv, self.proj = nn.Linear(C, 3 * C), nn.Linear(C, C)
        self.fc1, self.fc2 = nn.Linear(C, width), nn.Linear(width, C)

    def forward(self, x, cos, sin, attend):
        H = self.heads
        qk, v = self.qkv(self.norm1(x)).unflatten(1, (3 * H, -1)).split((2 * H, H), 1)
        q, k = rotate(qk, cos, sin).chunk(2, 1)
        x = x + self.proj(attend(q, k, v, False))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Tower(nn.Module):
    def __init__(self, depth, hidden, heads, intermediate, patch, merge):
        super().__init__()
        self.half = hidden // heads // 2
        self.patch = nn.Linear(3 * patch * patch, hidden, bias=False)
        self.cls = nn.Parameter(torch.randn(hidden) * hidden**-0.5)
        self.cls_angles = nn.Parameter(torch.randn(1, self.half))
        self.pre_norm = nn.LayerNorm(hidden)
        self.blocks = nn.ModuleList(VisionBlock(hidden, heads, intermediate) for _ in range(depth))

    def angles(self, h, w):
        """[h * w, D/2] of the patches of a picture, which come in blocks of 2 x 2."""
        freq = 10000.0 ** -(torch.arange(self.half // 2) * 2 / self.half)
        index = torch.arange(h * w).view(h // 2, w // 2, 2, 2)
        row = torch.arange(h).view(h // 2, 1, 2, 1).expand_as(index).reshape(-1, 1)
        col = torch.arange(w).view(1, w // 2, 1, 2).expand_as(index).reshape(-1, 1)
        return torch.cat((row * freq, col * freq), 1)

    def forward(self, pixels, angles, sizes, attend):
        """pixels [P, 588], angles: one [patches, D/2] a picture -> [P, C]"""
        pieces, cls = self.patch(pixels).split(sizes), self.cls[None]
        x = self.pre_norm(torch.cat([part for piece in pieces for part in (cls, piece)]))
        turn = torch.cat([part for own in angles for part in (self.cls_angles, own)])[:, None]
        cos, sin = turn.cos(), turn.sin()
        for block in self.blocks:
            x = block(x, cos, sin, attend)
        return torch.cat(x.split([n for size in sizes for n in (1, size)])[1::2])


class Merger(nn.Module):
    def __init__(self, C, out):
        super().__init__()
        self.norm, self.fc1, self.fc2 = nn.LayerNorm(C), nn.Linear(4 * C, 4 * C), nn.Linear(4 * C, out)

    def forward(self, x):  # [P, C] -> [P / 4, out]
        return self.fc2(F.gelu(self.fc1(self.norm(x).view(-1, 4 * x.shape[-1]))))


class DecoderBlock(nn.Module):
    def __init__(self, C, H, K, D, width):
        super().__init__()
        self.H, self.K, self.D = H, K, D
        self.norm1, self.norm2 = nn.RMSNorm(C, eps=1e-6), nn.RMSNorm(C, eps=1e-6)
        self.q_norm, self.k_norm = nn.Parameter(torch.ones(D)), nn.Parameter(torch.ones(D))
        self.qkv, self.o = nn.Linear(C, (H + 2 * K) * D, bias=False), nn.Linear(H * D, C, bias=False)
        self.gate_up, self.down = nn.Linear(C, 2 * width, bias=False), nn.Linear(width, C, bias=False)

    def forward(self, x, cos, sin, attend, gqa):
        H, K = self.H, self.K
        qk, v = self.qkv(self.norm1(x)).unflatten(1, (H + 2 * K, self.D)).split((H + K, K), 1)
        weight = torch.cat((self.q_norm.expand(H, -1), self.k_norm.expand(K, -1)))
        q, k = rotate(F.rms_norm(qk, (self.D,), eps=1e-6) * weight, cos, sin).split((H, K), 1)
        x = x + self.o(attend(q, k, v, gqa))
        gate, up = self.gate_up(self.norm2(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)


class OneVision(nn.Module):
    """config: "vision" and "text" as in configs/model/*.json, the vocabulary filled in; tied."""

    def __init__(self, config):
        super().__init__()
        v, t = config["vision"], config["text"]
        C, D = t["hidden"], t["head_dim"]
        self.tower, self.merger = Tower(**v), Merger(v["hidden"], C)
        self.embed = nn.Embedding(t["vocabulary"], C)
        self.blocks = nn.ModuleList(DecoderBlock(C, t["heads"], t["kv_heads"], D, t["intermediate"])
                                    for _ in range(t["layers"]))  # fmt: skip
        self.norm = nn.RMSNorm(C, eps=1e-6)
        self.freq = t["rope_theta"] ** -(torch.arange(D // 2) * 2 / D)
        nn.init.normal_(self.embed.weight, std=0.2)

    def forward(self, batch, tower_attend, attend, gqa):
        features = self.merger(self.tower(batch.pixels, batch.angles, batch.sizes, tower_attend))
        x = self.embed(batch.ids).index_copy(0, batch.image_rows, features)
        for block in self.blocks:
            x = block(x, batch.cos, batch.sin, attend, gqa)
        logits = F.linear(self.norm(x.index_select(0, batch.rows)), self.embed.weight)
        return F.cross_entropy(logits, batch.targets)
