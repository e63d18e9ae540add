#!/usr/bin/env python3
"""Trains small vocabularies and writes what PyPI `tokenizers` and `sentencepiece` make of the texts below.

Run in this folder: python3 make_golden.py   (pip install tokenizers sentencepiece)
Writes byte_level.json (a tokenizer.json, the four families' pipelines, texts and ids), sp_bpe.model, sp_unigram.model
and sentencepiece.json (texts and ids of both).
"""

import io
import json
import pathlib
import random

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

HERE = pathlib.Path(__file__).parent
CORPUS = (HERE / "../../../tools/demo-text.txt").read_text("utf-8")

TEXTS = [
    "",
    "a",
    " a",
    "a ",
    "  a",
    "The robot lifts 12 boxes; it doesn't stop.\n",
    "I'm you'll WE'VE it'S they'Re 'S 's' ''s",
    "it\u2019s 'tis o'clock",
    "1234567890 3.14e-10 1,000,000 \u0663\u0664 \u216b \u00bd\u00b2 12a34",
    "x  y   z    \n\n\n  end  \t\t \r\n \r x\n",
    "   \n   ",
    "\t\tint main(int argc, char** argv) {\n\t\treturn a[i] += b->c;  // ok!!!\n}\n",
    "def f(x):\n    if x != 0:\n        return x**2\n\n\n",
    "caf\u00e9 cafe\u0301 A\u030a\u0323 \u212b \u1e9b\u0323 \u1112\u1161\u11ab \ud55c\uad6d\uc5b4",
    "q\u0323\u0307 q\u0307\u0323 \u0344 \u0958 \uf900",
    "\u0421\u044a\u0435\u0448\u044c \u0436\u0435 \u0435\u0449\u0451 \u03c4\u1f74\u03bd \u03c8\u03c5\u03c7\u03bf",
    "\u4e00\u4e8c\u4e09 \u56fd\u5bb6\u673a\u5668\u4eba\u5b66\u4e60 \u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8\u3001",
    "\u0928\u092e\u0938\u094d\u0924\u0947 \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35 \u0645\u0631\u062d\u0628\u0627 \u05e9\u05dc\u05d5\u05dd",
    "\U0001f642\U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f3f3\ufe0f\u200d\U0001f308 \U0001f1e9\U0001f1ea!",
    "\u00a0a\u2003b\u3000c\u200bd\u180ee\u0085f\u2028g\u202fh\ufeffi",
    "'\u017f \u212a \ufb06 \u00df 'LL 'lL 'D",
    "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|><|im_start|> <|im_end|>x<|im_end|",
    "a <pad> b\t<pad>\n<pad>c<mark>d <mark> e",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "=" * 75 + " " * 70 + "\n" * 40 + "7" * 40,
    "\x00\x01\x1f\x7f\u0080\uffff\U0010ffff",
]

TIKTOKEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def split(expression):
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(expression), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


PIPELINES = {  # pre-tokenizer, normalizer, ignore_merges
    "gpt2": (pre_tokenizers.ByteLevel(add_prefix_space=False), None, False),
    "gpt2_prefix": (pre_tokenizers.ByteLevel(add_prefix_space=True), None, False),
    "llama3": (split(TIKTOKEN % "{1,3}"), None, True),
    "qwen2": (split(TIKTOKEN % ""), normalizers.NFC(), False),
    "smollm": (
        pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        ),
        None,
        False,
    ),
}


def random_texts(n):
    rng = random.Random(7)
    pools = [(0x20, 0x7E), (0x9, 0xD), (0xA0, 0x17F), (0x300, 0x330), (0x400, 0x45F), (0x1100, 0x11FF), (0x1F00, 0x1FFF)]
    pools += [(0x2000, 0x206F), (0x4E00, 0x4FFF), (0xAC00, 0xD7A3), (0x1F600, 0x1F64F)]
    for _ in range(n):
        chars = []
        for _ in range(rng.randint(1, 24)):
            low, high = rng.choice(pools[:3]) if rng.random() < 0.6 else rng.choice(pools)
            chars += chr(rng.randint(low, high)) * rng.choice([1, 1, 1, 2, 5])
        yield "".join(chars)


def byte_level(texts):
    base = Tokenizer(models.BPE())
    base.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    base.train_from_iterator([CORPUS], trainers.BpeTrainer(vocab_size=560, initial_alphabet=alphabet, show_progress=False))
    # A token that merging cannot reach: only ignore_merges gives it.
    trained = json.loads(base.to_str())
    trained["model"]["vocab"]["\u0120zyx"] = len(trained["model"]["vocab"])
    base = Tokenizer.from_str(json.dumps(trained))
    base.add_special_tokens(
        ["<|im_start|>", "<|im_end|>", AddedToken("<pad>", lstrip=True, rstrip=True, special=True, normalized=False)]
    )
    base.add_tokens([AddedToken("<mark>", rstrip=True, normalized=False)])
    out = {"tokenizer": json.loads(base.to_str()), "pipelines": {}, "cases": [{"text": t, "ids": {}} for t in texts]}
    out["cases"].append({"text": "a zyx zyxw", "ids": {}})
    for name, (pre, normalizer, ignore) in PIPELINES.items():
        t = json.loads(json.dumps(out["tokenizer"]))
        t["model"]["ignore_merges"] = ignore
        tokenizer = Tokenizer.from_str(json.dumps(t))
        tokenizer.pre_tokenizer = pre
        if normalizer:
            tokenizer.normalizer = normalizer
        done = json.loads(tokenizer.to_str())
        out["pipelines"][name] = {k: done[k] for k in ("pre_tokenizer", "normalizer")} | {"ignore_merges": ignore}
        for case in out["cases"]:
            case["ids"][name] = tokenizer.encode(case["text"], add_special_tokens=False).ids
    (HERE / "byte_level.json").write_text(json.dumps(out, separators=(",", ":")) + "\n")


def sentence_piece(texts):
    out = {"cases": [{"text": t, "ids": {}} for t in texts if "\x00" not in t]}
    for name, options in {
        "sp_bpe": dict(model_type="bpe", add_dummy_prefix=True, remove_extra_whitespaces=False),
        "sp_unigram": dict(model_type="unigram", add_dummy_prefix=True, remove_extra_whitespaces=True),
    }.items():
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(CORPUS.splitlines()), model_writer=model, vocab_size=440, byte_fallback=True,
            normalization_rule_name="identity", user_defined_symbols=["<mark>"], control_symbols=["<turn>"],
            character_coverage=0.99, minloglevel=2, **options,
        )  # fmt: skip
        (HERE / f"{name}.model").write_bytes(model.getvalue())
        processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
        for case in out["cases"]:
            case["ids"][name] = processor.encode(case["text"])
    (HERE / "sentencepiece.json").write_text(json.dumps(out, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    all_texts = TEXTS + list(random_texts(16)) + CORPUS.splitlines()[:2]
    byte_level(all_texts)
    sentence_piece(all_texts)
