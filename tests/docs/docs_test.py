"""docs_test.py SOURCE: api.md is what the header says; troubleshooting.md knows every sentence; local links lead somewhere."""
import pathlib
import re
import subprocess
import sys

root = pathlib.Path(sys.argv[1])
failures = []

made = subprocess.run([sys.executable, root / "tools/api_md.py", root / "runtime/include/svqrt/svqrt.h"], capture_output=True, text=True,
                      check=True).stdout
if made != (root / "runtime/docs/api.md").read_text(encoding="utf-8"):
    failures.append("runtime/docs/api.md is old: tools/api_md.py runtime/include/svqrt/svqrt.h > runtime/docs/api.md")


def calls(text: str):
    """The arguments of every fail(SVQ_ERROR_…)."""
    for match in re.finditer(r"\bfail\(\s*(?=SVQ_ERROR_)", text):
        depth, at, quoted = 1, match.end(), False
        while depth:
            c = text[at]
            if quoted:
                if c == "\\":
                    at += 1
                elif c == '"':
                    quoted = False
            elif c == '"':
                quoted = True
            else:
                depth += (c == "(") - (c == ")")
            at += 1
        yield text[match.end():at]


# Metadata fields, the notation of grammars and JSON's are told by place: the page describes them as a whole.
AS_A_WHOLE = ("file/check.cc", "grammar/gbnf.cc", "grammar/json_schema.cc", "base/json_reader.cc")
page = (root / "runtime/docs/troubleshooting.md").read_text(encoding="utf-8").replace("\\|", "|")
seen = 0
for path in sorted((root / "runtime").rglob("*.cc")) + sorted((root / "runtime").rglob("*.h")):
    if str(path).endswith(AS_A_WHOLE):
        continue
    for arguments in calls(path.read_text(encoding="utf-8")):
        parts = [p.replace('\\"', '"').strip(" :,.;") for p in re.findall(r'"((?:[^"\\]|\\.)*)"', arguments)]
        if not parts or max(map(len, parts)) < 12:
            continue
        seen += 1
        longest = max(parts, key=len)
        if longest not in page:
            failures.append(f"{path.relative_to(root)}: troubleshooting.md does not know \"{longest}\"")
if seen < 50:
    failures.append(f"only {seen} sentences were found in the sources")

for document in [*root.glob("*.md"), *(root / "runtime").rglob("*.md"), *(root / "tools").rglob("*.md")]:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8")):
        if not (document.parent / target).exists():
            failures.append(f"{document.relative_to(root)}: the link {target} leads nowhere")

print("\n".join(failures) or f"{seen} sentences, api.md and links are in order")
sys.exit(bool(failures))
