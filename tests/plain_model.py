"""The model once more for one member and one window, written plainly, head by head and query by query.

It reads named weights as `Layout.split` gives them. Only softmax and constantmax are known.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from tunemax.gpt.config import Config

Weights = Mapping[str, Tensor]


def logits(w: Weights, c: Config, tokens: Tensor) -> Tensor:
    """(T, V) for tokens (T,)."""
    flat = c.flat()
    x = w["wte"][tokens]
    if flat["position"] == "learned":
        x = x + w["wpe"][: len(tokens)]
    x = x * (flat["mup_input_scale"] if multiple(c) else 1)
    for layer in range(flat["n_layer"]):
        for number, part in (("1", attention), ("2", mlp)):
            norm = f"h.{layer}.ln_{number}"
            if flat["norm_position"] == "post":
                x = normed(w, c, norm, x + part(w, c, layer, x))
            elif flat["norm_position"] == "pre":
                x = x + part(w, c, layer, normed(w, c, norm, x))
            else:
                x = x + normed(w, c, f"{norm}_out", part(w, c, layer, normed(w, c, norm, x)))
    if flat["norm_position"] != "post":
        x = normed(w, c, "ln_f", x)
    out = x @ (w["wte"] if flat["tie_weights"] else w["lm_head"]).T
    out = out * flat["mup_output_scale"] / multiple(c) if multiple(c) else out
    cap = flat["logit_softcap"]
    return cap * torch.tanh(out / cap) if cap else out


def multiple(c: Config) -> float:
    """How much wider the model is than the one that was tuned; 0 without muP."""
    flat = c.flat()
    return flat["n_embd"] / flat["mup_base_width"] if flat["parametrisation"] == "mup" else 0


def minimised(w: Weights, c: Config, tokens: Tensor) -> Tensor:
    """Of windows (B, T + 1): the mean over all targets of −ln p, and of z_loss (ln Z)²."""
    total = []
    for window in tokens:
        of_window = logits(w, c, window[:-1])
        for row, target in zip(of_window, window[1:], strict=True):
            z = torch.log(torch.exp(row).sum())
            total.append(z - row[target] + c.train.z_loss * z**2)
    return torch.stack(total).mean()


def normed(w: Weights, c: Config, name: str, x: Tensor) -> Tensor:
    if c.model.norm == "none":
        return x
    if c.model.norm == "rms":
        return x / torch.sqrt((x**2).mean(-1, keepdim=True) + 1e-5) * w[f"{name}.weight"]
    centred = x - x.mean(-1, keepdim=True)
    out = centred / torch.sqrt((centred**2).mean(-1, keepdim=True) + 1e-5) * w[f"{name}.weight"]
    return out + w[f"{name}.bias"] if f"{name}.bias" in w else out


def linear(w: Weights, name: str, x: Tensor) -> Tensor:
    out = x @ w[f"{name}.weight"]
    return out + w[f"{name}.bias"] if f"{name}.bias" in w else out


def gelu(x: Tensor) -> Tensor:
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def relu(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, torch.zeros_like(x))


def silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


def mlp(w: Weights, c: Config, layer: int, x: Tensor) -> Tensor:
    name, kind, width = f"h.{layer}.mlp", c.model.mlp, c.model.n_embd
    inside = linear(w, f"{name}.fc", x)
    flat = c.flat()
    ratio = flat["mlp_ratio"]
    if kind.endswith("glu"):
        hidden = inside.shape[-1] // 2
        assert flat["mlp_compensates"] or hidden == 4 * round(ratio * width / 6)
        gate = {"swiglu": silu, "geglu": gelu, "reglu": relu}[kind]
        inside = gate(inside[:, :hidden]) * inside[:, hidden:]
    else:
        assert flat["mlp_compensates"] or inside.shape[-1] == ratio * width
        inside = {"gelu": gelu, "relu": relu, "relu2": lambda x: relu(x) ** 2, "silu": silu}[kind](inside)
    return linear(w, f"{name}.proj", inside)


def sized(kind: str, x: Tensor) -> Tensor:
    """Over its length, or over the root of its mean square."""
    if kind == "l2":
        return x / torch.sqrt((x**2).sum(-1, keepdim=True) + 1e-12)
    return x / torch.sqrt((x**2).mean(-1, keepdim=True) + 1e-5) if kind == "rms" else x


def turned(c: Config, x: Tensor) -> Tensor:
    """A head (T, D) by rotary positions: pairs of neighbours in fractal attention, else of the two halves."""
    T, D = x.shape
    flat = c.flat()
    r = round(flat["rope_share"] * D)
    out = x.clone()
    for place in range(T):
        for pair in range(r // 2):
            one, two = (2 * pair, 2 * pair + 1) if flat["attention"] == "fractal" else (pair, pair + r // 2)
            angle = place * flat["rope_base"] ** (-2 * pair / r)
            a, b = x[place, one], x[place, two]
            out[place, one] = a * math.cos(angle) - b * math.sin(angle)
            out[place, two] = a * math.sin(angle) + b * math.cos(angle)
    return out


def attention(w: Weights, c: Config, layer: int, x: Tensor) -> Tensor:
    flat, name, T = c.flat(), f"h.{layer}.attn", len(x)
    kind, H = flat["attention"], flat["n_head"]
    D = flat["head_dim"] or flat["n_embd"] // H
    G = {"multi_head": H, "multi_query": 1}.get(kind, flat.get("n_kv_head", H))
    qkv = linear(w, f"{name}.qkv", x)
    outputs = []
    for head in range(H):
        group = head * G // H
        q = qkv[:, head * D : (head + 1) * D]
        k = qkv[:, (H + group) * D : (H + group + 1) * D]
        v = qkv[:, (H + G + group) * D : (H + G + group + 1) * D]
        q, k, v = sized(flat["qk_norm"], q), sized(flat["qk_norm"], k), sized(flat["v_norm"], v)
        factor = 1 / math.sqrt(D)
        if multiple(c):
            base = flat["mup_base_head_width"] or flat["head_dim"] or flat["mup_base_width"] / H
            factor = math.sqrt(base) / D
        if flat["qk_norm"] == "l2":
            factor = math.log2(flat["block_size"] ** 2 - flat["block_size"])
        if flat["qk_norm_scale"]:
            factor = factor * w[f"{name}.qk_norm_scale"][head]
        if flat["position"] == "rotary":
            q, k = turned(c, q), turned(c, k)
        slices = flat["fractal_split"] ** head if kind == "fractal" else 1
        width = D // slices
        for part in (slice(piece * width, (piece + 1) * width) for piece in range(slices)):
            rows = []
            for i in range(T):
                keys = [j for j in range(i + 1) if i - j < flat["window"]]
                scores = torch.stack([q[i, part] @ k[j, part] * factor for j in keys])
                if flat["position"] == "alibi":
                    scores = scores + 2.0 ** (-8 * (head + 1) / H) * (torch.tensor(keys) - i)
                rows.append(sum(a * v[j, part] for a, j in zip(weights(w, c, layer, head, scores), keys, strict=True)))
            outputs.append(torch.stack(rows))
    return linear(w, f"{name}.proj", torch.cat(outputs, dim=-1))


def weights(w: Weights, c: Config, layer: int, head: int, scores: Tensor) -> Tensor:
    flat = c.flat()
    if flat["softmax_variant"] == "constantmax":
        place = head if flat["constantmax.sharing"] == "head" else 0
        beta, log_gamma = (w[f"h.{layer}.constantmax.{name}"][place] for name in ("beta", "gamma"))
        return torch.exp((scores - beta) * math.log(flat["constantmax.base"]) - log_gamma)
    powers = torch.exp(scores)
    nothing = torch.exp(w[f"h.{layer}.attn.sink"][head]) if flat["attention_sink"] else 0.0
    return powers / (powers.sum() + nothing)
