"""Directories written by svqconvert --export-dequantized, loaded by Hugging Face's transformers: the same tokens, and the
logits that the runtime computes from the .svq file. Exit status 77 where transformers or torch is not installed.

transformers_test.py SVQCONVERT SVQ_MAKE_TINY_GGUF"""
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    import torch
    import transformers
    from transformers import AutoModelForCausalLM, AutoTokenizer
except ImportError as error:
    print("skipped:", error)
    sys.exit(77)

import svqrt

CONVERT, MAKE = sys.argv[1:3]
TEXT = "The robot, at 12:30, isn't moving \u20ac5.\n  Two  spaces"


def distance(family, tied, folder):
    source, file, out = folder / "tiny.gguf", folder / "t.svq", folder / "out"
    subprocess.run([MAKE, source, family, *([] if tied else ["untied"]), "hidden=96", "head_dim=24"], check=True)
    subprocess.run([CONVERT, source, "-o", file, "--quiet", "--force", "--effort", "none", "--calibration-sequences", "4",
                    "--calibration-length", "32", "--threads", "1", "--export-dequantized", out], check=True)
    model = svqrt.Model(str(file))
    tokens = model.tokenize(TEXT)
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert tokenizer(TEXT)["input_ids"] == tokens, (tokenizer(TEXT)["input_ids"], tokens)
    assert tokenizer.decode(tokens) == TEXT
    hf = AutoModelForCausalLM.from_pretrained(out, torch_dtype=torch.float32)
    with torch.no_grad():
        got = hf(torch.tensor([tokens])).logits[0]
    session = svqrt.Session(model, activations=32, threads=1)
    rows = []
    for token in tokens:
        session.eval([token])
        rows.append(session.logits())
    wanted = torch.tensor(rows)
    return ((got - wanted).square().sum() / wanted.square().sum()).sqrt().item()


print("transformers", transformers.__version__, "torch", torch.__version__)
tried = 0
for family, name in [("llama", "LlamaForCausalLM"), ("qwen2", "Qwen2ForCausalLM"), ("qwen3", "Qwen3ForCausalLM")]:
    if not hasattr(transformers, name):
        print(family, "is not in this transformers")
        continue
    for tied in (True, False):
        with tempfile.TemporaryDirectory() as folder:
            found = distance(family, tied, Path(folder))
        print(f"{family} {'tied' if tied else 'untied'}: logits differ by {found:.2e} (root mean square, relative)")
        assert found < 4e-3, found
        tried += 1
assert tried >= 2
