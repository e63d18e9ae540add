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


# Sentences of the CUDA module, which are handed on as the reason of others.
def module_sentences(text: str):
    for call in re.findall(r"say\((?:[^()]|\([^()]*\))*,\s*\"([^\"]*)\"\)", text):
        yield call
    for plain in re.findall(r"(?:\*error = |return )\"([^\"]*)\";", text):
        yield plain
    for form in re.findall(r"snprintf\(message, sizeof message,\s*((?:\"[^\"]*\"\s*)+)", text):
        yield max(re.split(r"%\w+|\.%d", "".join(re.findall(r"\"([^\"]*)\"", form))), key=len)


# Metadata fields, the notation of grammars and JSON's are told by place: the page describes them as a whole.
AS_A_WHOLE = ("file/check.cc", "grammar/gbnf.cc", "grammar/json_schema.cc", "grammar/json_pattern.cc",
              "grammar/schema_algebra.cc", "base/json_reader.cc")
# A call that is wrong is told in one of these forms.
WRONG_CALL = re.compile(r" (is|are|or [a-z_]+ is) NULL$| takes |^unknown | NULL (role|where)|were made for|is empty|expected")
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
wrong = 0
for path in sorted((root / "runtime/api").glob("*.cc")):
    for sentence in re.findall(r"\brequire\([^;]*?\"((?:[^\"\\]|\\.)*)\"\);", path.read_text(encoding="utf-8")):
        wrong += 1
        if not WRONG_CALL.search(sentence) and sentence not in page:
            failures.append(f"{path.relative_to(root)}: troubleshooting.md does not know \"{sentence}\"")
if wrong < 30:
    failures.append(f"only {wrong} sentences on wrong calls were found in the sources")
module = 0
for sentence in module_sentences((root / "kernels-cuda/device.cu").read_text(encoding="utf-8")):
    module += 1
    known = sentence.strip(" ,:") in page or any(sentence.startswith(verb) for verb in ("asking for ", "allocating "))
    if not known:
        failures.append(f"kernels-cuda/device.cu: troubleshooting.md does not know \"{sentence}\"")
if module < 20:
    failures.append(f"only {module} sentences of the CUDA module were found")
if seen < 50:
    failures.append(f"only {seen} sentences were found in the sources")

for document in [*root.glob("*.md"), *(root / "runtime").rglob("*.md"), *(root / "tools").rglob("*.md")]:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8")):
        if not (document.parent / target).exists():
            failures.append(f"{document.relative_to(root)}: the link {target} leads nowhere")

print("\n".join(failures) or f"{seen} + {wrong} + {module} sentences, api.md and links are in order")
sys.exit(bool(failures))
