#!/usr/bin/env python3
"""Writes runtime/docs/api.md from the header: api_md.py HEADER > api.md

The header is the documentation; this puts its sections under headings, its comments into prose and its declarations into
code blocks. A comment belongs to the declaration behind it; one at the end of a line stays there.
"""
import re
import sys


def prose(comment: str) -> str:
    lines = [re.sub(r"^\s*\*? ?", "", line) for line in comment.strip().removeprefix("/*").removesuffix("*/").split("\n")]
    text = "\n".join(line.rstrip() for line in lines).strip()
    return re.sub(r"\b(svq_\w+|SVQ_\w+)\b", r"`\1`", text)


def main(path: str) -> None:
    source = open(path, encoding="utf-8").read()
    head = source[source.index("/*"):source.index("*/") + 2]
    print("# libsvqrt's C interface\n\nMade from `runtime/include/svqrt/svqrt.h` by `tools/api_md.py`; a test compares the two.\n")
    print(prose(head))
    for part in re.split(r"/\* -{20,} ", source)[1:]:
        name, body = part.split(" */", 1)
        body = body.split("#ifdef __cplusplus")[0]
        print(f"\n## {name[0].upper() + name[1:]}")
        code = []

        def flush():
            text = "\n".join(code).strip("\n")
            code.clear()
            if text:
                print(f"\n```c\n{text}\n```")

        # Comments that begin a line stand for themselves, all else is code.
        for piece in re.split(r"(?m)^(/\*.*?\*/)\n", body, flags=re.S):
            if piece.startswith("/*"):
                flush()
                print("\n" + prose(piece))
            else:
                code.extend(line.replace("SVQ_API ", "") for line in piece.split("\n"))
        flush()


if __name__ == "__main__":
    main(sys.argv[1])
