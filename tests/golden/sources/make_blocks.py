#!/usr/bin/env python3
"""Writes blocks.bin: random blocks of every GGUF weight type and what PyPI's gguf (gguf.quants.dequantize) makes of them.

Needs: pip install gguf numpy. Usage: make_blocks.py [OUTPUT [SCALE]]; SCALE times the usual number of blocks gives a larger
file for a check by hand (SVQ_TEST_QUANT_BLOCKS=OUTPUT sources_test).

Format, little-endian, per type: name (8 bytes, zero-padded), u32 blocks, u32 bytes of a block, u32 elements of a block,
the blocks, the elements as f32.
"""
import pathlib
import struct
import sys

import gguf
import numpy as np

# Type: (blocks, offsets of f16 fields in a block)
TYPES = {
    "F16": (512, None), "BF16": (512, None),
    "Q4_0": (12, (0,)), "Q4_1": (12, (0, 2)), "Q5_0": (12, (0,)), "Q5_1": (12, (0, 2)), "Q8_0": (12, (0,)),
    "Q2_K": (4, (80, 82)), "Q3_K": (4, (108,)), "Q4_K": (4, (0, 2)), "Q5_K": (4, (0, 2)), "Q6_K": (4, (208,)),
    "IQ4_NL": (12, (0,)),
}


def main():
    output = sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent / "blocks.bin"
    scale = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    rng = np.random.default_rng(20240601)
    with open(output, "wb") as out:
        for name, (count, halves) in TYPES.items():
            count *= scale
            kind = gguf.GGMLQuantizationType[name]
            elements, size = gguf.GGML_QUANT_SIZES[kind]
            blocks = rng.integers(0, 256, (count, size), dtype=np.uint8)
            for at in halves or ():
                value = (rng.standard_normal(count) * 10.0 ** rng.integers(-7, 3, count)).astype(np.float16)
                blocks[:, at:at + 2] = value.view(np.uint8).reshape(count, 2)
            if halves is None:  # every bit pattern but NaN, whose payload numpy may change
                values = blocks.view(np.uint16).ravel()
                nan = (values & 0x7FFF) > (0x7C00 if name == "F16" else 0x7F80)
                values[nan] &= 0x8000
            floats = gguf.quants.dequantize(blocks, kind).astype(np.float32)
            assert floats.size == count * elements
            out.write(struct.pack("<8sIII", name.encode(), count, size, elements))
            out.write(blocks.tobytes())
            out.write(floats.tobytes())


main()
