#!/usr/bin/env python3
"""Writes rope.json: configurations and the rotary frequencies that transformers computes for them.

Needs: pip install transformers torch. Usage: make_rope.py [OUTPUT]
"""
import json
import pathlib
import sys

import torch
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

BASE = dict(hidden_size=512, num_attention_heads=8, head_dim=64, max_position_embeddings=131072)
CASES = {
    "default": dict(rope_theta=10000.0),
    "default_theta_1e6": dict(rope_theta=1000000.0),
    "linear": dict(rope_theta=10000.0, rope_scaling=dict(rope_type="linear", factor=4.0)),
    "llama3": dict(rope_theta=500000.0, rope_scaling=dict(
        rope_type="llama3", factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8192)),
    "yarn": dict(rope_theta=1000000.0, rope_scaling=dict(
        rope_type="yarn", factor=4.0, original_max_position_embeddings=32768)),
    "yarn_given": dict(rope_theta=10000.0, rope_scaling=dict(
        rope_type="yarn", factor=16.0, original_max_position_embeddings=4096, beta_fast=16, beta_slow=2,
        attention_factor=1.25)),
    "yarn_mscale": dict(rope_theta=10000.0, rope_scaling=dict(
        rope_type="yarn", factor=40.0, original_max_position_embeddings=4096, mscale=1.0, mscale_all_dim=0.707,
        truncate=False)),
}


def main():
    output = sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent / "rope.json"
    result = []
    for name, keys in CASES.items():
        config = LlamaConfig(**BASE, **json.loads(json.dumps(keys)))
        kind = keys.get("rope_scaling", {}).get("rope_type", "default")
        if kind == "default":
            dim = BASE["head_dim"]
            frequencies = 1.0 / keys["rope_theta"] ** (torch.arange(0, dim, 2, dtype=torch.float64) / dim)
            attention = 1.0
        else:
            frequencies, attention = ROPE_INIT_FUNCTIONS[kind](config, "cpu")
        result.append(dict(name=name, config={**BASE, **keys}, inv_freq=[float(f) for f in frequencies],
                           attention_factor=float(attention)))
    with open(output, "w") as out:
        json.dump(result, out, indent=1)
        out.write("\n")


main()
