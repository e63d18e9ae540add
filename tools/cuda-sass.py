#!/usr/bin/env python3
"""What the compiler made of the CUDA kernels: registers, spills, shared memory, occupancy, inner loops, a roofline, and what
a decoded token should take.

    tools/cuda-sass.py FILE... [--arch 87] [--tools DIR] [--loops]
    tools/cuda-sass.py --predict        the last of these alone, which needs no file

FILE: libsvqrt-cuda.so, or object files and cubins of nvcc. Needs cuobjdump and nvdisasm (CUDA toolkit, or the PyPI wheel
`triton`, whose folder backends/nvidia/bin goes to --tools). Nothing is run: all of it is read from machine code.
"""
import argparse
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile

# Streaming multiprocessors, GHz, GB/s, L2 in MB. NVIDIA's data sheets: Orin Nano 8 GB (15 W; Super: 25 W), Orin NX 16 GB,
# AGX Orin 64 GB, Thor T5000; L2 of Orin from its technical brief, that of Thor taken as no larger.
DEVICES = [
    ("Orin Nano", 87, 8, 0.625, 68, 2), ("Orin Nano Super", 87, 8, 1.02, 102, 2), ("Orin NX", 87, 8, 0.918, 102, 2),
    ("AGX Orin", 87, 16, 1.3, 205, 4), ("Thor", 110, 20, 1.575, 273, 4),
]
# Hidden, intermediate, query heads, key/value heads, head_dim, layers, vocabulary; the head at 4 bits.
MODELS = {"Qwen3 1.7B": (2048, 6144, 16, 8, 128, 28, 151936), "Llama 3.2 3B": (3072, 8192, 24, 8, 128, 28, 128256),
          "Qwen3 8B": (4096, 12288, 32, 8, 128, 36, 151936)}
# Assumed, not measured: microseconds between two kernels of a graph; from a product's first load to full bandwidth, and
# from its last to its end; cycles of a transform's step (a barrier and one trip through shared memory) and of its first
# and last trip to memory.
GAP, RAMP, STEP, TRIP = 1.0, 1.0, 90, 900
# A multiprocessor: registers, warps, blocks, shared memory in KB (CUDA programming guide, technical specifications).
LIMITS = {75: (65536, 32, 16, 64), 80: (65536, 64, 32, 164), 87: (65536, 48, 16, 164), 89: (65536, 48, 24, 100),
          90: (65536, 64, 32, 228), 110: (65536, 48, 24, 228), 120: (65536, 48, 24, 100)}
# Threads of a block and its dynamic shared memory in bytes, where they do not follow from the machine code. For kernels
# of one vector a block: a vector of 4096, mixed rotation none.
VECTOR = (512, 384 + 4 * (4127 + 4127 // 32))
LAUNCH = {
    "gemv_kernel": (256, 512),
    **{f"gemm_kernel<{n}, {r}, {s}, {t}>": (128, t * s * (r * 1024 + n * 512))
       for n, r, s, t in ((1, 1, 1, 3), (2, 2, 1, 3), (4, 2, 1, 3), (8, 2, 1, 3), (8, 2, 2, 3), (8, 2, 4, 2), (16, 2, 1, 3),
                          (16, 2, 2, 3), (16, 2, 4, 2))},
    "attend_kernel<2, 4>": (128, 16 * (72 + 32) * 4 + 256 + 64 * 72 * 2 + 16),
    "attend_kernel<4, 4>": (128, 16 * (136 + 32) * 4 + 256 + 64 * 136 * 2 + 16),
    "attend_kernel<8, 2>": (128, 8 * (264 + 32) * 4 + 256 + 64 * 264 * 2 + 16),
    "attend_kernel<32, 1>": (128, 4 * (1032 + 32) * 4 + 256 + 64 * 1032 * 2 + 16),
    "input_kernel": VECTOR, "output_kernel": VECTOR, "gate_up_kernel": VECTOR, "qkv_kernel": VECTOR,
    "embed_kernel": VECTOR, "first_level": (1024, 32784), "next_level": (1024, 32784), "f16_kernel": (256, 0),
    "shift_kernel": (256, 7264), "logits_kernel": (256, 0), "add_kernel": (256, 0), "silu_mul_kernel": (256, 0), "zero_kernel": (256, 0),
}


def run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def short(name):
    name = re.sub(r"^void ", "", name)
    name = re.sub(r"\(anonymous namespace\)::|svq::cuda::real::|svq::cuda::", "", name)
    return re.sub(r"\(.*$", "", name).replace("(bool)0", "false").replace("(bool)1", "true").replace("(int)", "")


def demangle(names):
    tool = shutil.which("c++filt")
    if tool is None:
        return {n: n for n in names}
    out = subprocess.run([tool], input="\n".join(names), capture_output=True, text=True).stdout.splitlines()
    return dict(zip(names, (short(n) for n in out)))


class Kernel:
    def __init__(self):
        self.registers = self.shared = self.stack = self.spills = 0
        self.code = []  # (address, opcode, operands)
        self.labels = {}

    def loops(self):
        """Bodies of loops that hold no other loop: [(opcode, operands)…]."""
        spans = []
        for i, (_, op, text) in enumerate(self.code):
            target = re.search(r"`\((\.L_x_\d+)\)", text)
            if op.startswith("BRA") and target and self.labels.get(target[1], i + 1) <= i:
                spans.append((self.labels[target[1]], i))
        inner = [s for s in spans if not any(o != s and s[0] <= o[0] and o[1] <= s[1] for o in spans)]
        return [[c[1:] for c in self.code[a:b + 1]] for a, b in inner]


def read(path, arch, cuobjdump, nvdisasm):
    """Kernels of one architecture in a file, by mangled name."""
    kernels = {}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.abspath(path)
        if path.endswith(".cubin"):
            cubins = [path]
        else:
            subprocess.run([cuobjdump, "-xelf", f"sm_{arch}", path], cwd=folder, capture_output=True, check=False)
            cubins = [os.path.join(folder, f) for f in sorted(os.listdir(folder)) if f.endswith(".cubin")]
        for cubin in cubins:
            current = None
            for line in run([cuobjdump, "-res-usage", cubin]).splitlines():
                found = re.search(r"Function (\S+):", line)
                if found:
                    current = kernels.setdefault(found[1], Kernel())
                use = re.search(r"REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)", line)
                if use and current:
                    current.registers, current.stack, current.shared = int(use[1]), int(use[2]), int(use[3])
            current = None
            for line in run([nvdisasm, "-c", cubin]).splitlines():
                section = re.match(r"\s*\.section\s+\.text\.(\S+?),", line)
                if section:
                    current = kernels.setdefault(section[1], Kernel())
                    continue
                label = re.match(r"(\.L_x_\d+):", line)
                if label and current:
                    current.labels[label[1]] = len(current.code)
                op = re.match(r"\s*/\*([0-9a-f]+)\*/\s+(?:@!?U?P\w+ )?\s*([A-Z][A-Z0-9_.]*)(.*?);", line)
                if op and current:
                    current.code.append((int(op[1], 16), op[2], op[3]))
                    # Local memory by the stack pointer: a spilled register or an array that stayed in memory.
                    current.spills += op[2].startswith(("STL", "LDL"))
    return kernels


def occupancy(arch, registers, threads, shared):
    all_registers, warps, blocks, kilobytes = LIMITS[arch]
    in_block = math.ceil(threads / 32)
    by_registers = all_registers // (math.ceil(max(registers, 1) * 32 / 256) * 256 * in_block)
    by_shared = kilobytes * 1024 // (shared + 1024)
    count = min(blocks, warps // in_block, by_registers, by_shared)
    return count * in_block / warps


def transform_us(n, clock, sides):
    """One vector of n values: radix-8 stages over it for each side, five steps around them (load, scale, sum, maximum, store)."""
    threads = 128 if n <= 1024 else 256 if n <= 2048 else 512 if n <= 8192 else 1024
    rounds = math.ceil(n / 8 / threads)
    stages = math.ceil(math.log2(n) / 3)
    return (2 * TRIP + sides * stages * STEP * rounds + 5 * STEP * rounds) / (clock * 1000)


def predict(model, clock, bandwidth, l2, ahead):
    """Share of the bandwidth that decode reaches: bytes read at full rate over the sum of all kernels' times. ahead: codes of
    the next product are fetched while the kernels before it leave memory idle, up to half of L2 each."""
    h, f, heads, kv, d, layers, vocab = model
    byte_us = bandwidth * 1000  # bytes a microsecond
    q = heads * d
    # Bytes of a product, and microseconds of the kernels in front of it, during which memory is idle.
    layer = [((q + 2 * kv * d) * h / 4, [transform_us(h, clock, 2)]),
             (h * q / 4, [transform_us(q, clock, 1), 2 * TRIP / (clock * 1000) + 3, transform_us(q, clock, 1)]),
             (2 * f * h / 4, [transform_us(h, clock, 2)]), (f * h / 4, [transform_us(f, clock, 2)])]
    total = ideal = 0
    for count, (size, before) in [(layers, s) for s in layer] + [(1, (vocab * h / 2, [transform_us(h, clock, 2)]))]:
        idle = sum(before) + GAP * (len(before) + 1)
        fetched = min(size, idle * byte_us, l2 * 2**20 / 2) if ahead else 0
        total += count * (idle + RAMP + (size - fetched) / byte_us)
        ideal += count * size / byte_us
    return ideal / total


def print_predictions():
    print("\n| decode at 2 bits, share of bandwidth | " + " | ".join(MODELS) + " |\n|---|" + "---|" * len(MODELS))
    for device, _, _, clock, bandwidth, l2 in DEVICES:
        shares = [f"{predict(m, clock, bandwidth, l2, True):.0%} ({predict(m, clock, bandwidth, l2, False):.0%} without)"
                  for m in MODELS.values()]
        print(f"| {device} | " + " | ".join(shares) + " |")


def mix_of(loop):
    groups = {}
    for op, _ in loop:
        name = op.split(".")[0]
        groups[name] = groups.get(name, 0) + 1
    return groups


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*")
    parser.add_argument("--predict", action="store_true")
    parser.add_argument("--arch", type=int, default=87)
    parser.add_argument("--tools", default="")
    parser.add_argument("--loops", action="store_true", help="instructions of every inner loop")
    options = parser.parse_args()
    if options.predict:
        return print_predictions()
    if not options.files:
        parser.error("name a file, or --predict")
    path = os.pathsep.join(filter(None, [options.tools, os.environ.get("PATH", "")]))
    cuobjdump, nvdisasm = (shutil.which(t, path=path) for t in ("cuobjdump", "nvdisasm"))
    if not cuobjdump or not nvdisasm:
        sys.exit("cuobjdump and nvdisasm are needed (CUDA toolkit, or --tools with the folder of PyPI's triton wheel)")
    if options.arch not in LIMITS:
        sys.exit(f"--arch is one of {', '.join(map(str, LIMITS))}")
    kernels = {}
    for file in options.files:
        kernels.update(read(file, options.arch, cuobjdump, nvdisasm))
    if not kernels:
        sys.exit(f"there is no code for sm_{options.arch} in {', '.join(options.files)}")
    names = demangle(list(kernels))
    print(f"sm_{options.arch}\n\n| kernel | registers | spills | shared | threads | occupancy | instructions |")
    print("|---|---|---|---|---|---|---|")
    by_name = {}
    for mangled, kernel in sorted(kernels.items(), key=lambda k: names[k[0]]):
        name = names[mangled]
        by_name[name] = kernel
        threads, shared = next((v for k, v in LAUNCH.items() if name.startswith(k)), (32, 0))
        print(f"| {name} | {kernel.registers} | {kernel.spills} | {shared + kernel.shared} | {threads} | "
              f"{occupancy(options.arch, kernel.registers, threads, shared + kernel.shared):.0%} | {len(kernel.code)} |")

    print("\n| inner loop | instructions | weights a lane | a weight | of them |\n|---|---|---|---|---|")
    per_weight = {}
    for name, kernel in sorted(by_name.items()):
        for loop in kernel.loops():
            m = mix_of(loop)
            if options.loops:
                print(f"| {name} | {len(loop)} | | | {m} |")
            if m.get("IDP", 0) >= 16 and name.startswith("gemv"):
                tokens = int(re.search(r"<(\d)", name)[1])
                weights = m["IDP"] * 4 // tokens
                wide = sum(op.startswith("LDG") and ".128" in op for op, _ in loop)
                print(f"| {name} | {len(loop)} | {weights} | {len(loop) / weights:.3f} | IDP {m['IDP']}, LOP3 "
                      f"{m.get('LOP3', 0)}, loads of codes {wide} x 16 bytes, others "
                      f"{len(loop) - m['IDP'] - m.get('LOP3', 0) - wide} |")
                if name == "gemv_kernel<1, true>" and weights > per_weight.get("weights", 0):
                    per_weight = {"weights": weights, "all": len(loop) / weights, "idp": m["IDP"] / weights,
                                  "lop": m.get("LOP3", 0) / weights}
            if m.get("IMMA", 0) >= 2:
                print(f"| {name} | {len(loop)} | | | IMMA {m['IMMA']} = {m['IMMA'] / len(loop):.0%} of issue slots, LOP3 "
                      f"{m.get('LOP3', 0)}, LDS {m.get('LDS', 0)}, others "
                      f"{len(loop) - m['IMMA'] - m.get('LOP3', 0) - m.get('LDS', 0)} |")
    if not per_weight:
        return
    # A multiprocessor issues 4 warp instructions a cycle; IDP and LOP3 run 64 lanes a cycle on pipes of their own.
    print("\n| device | weights/s by memory at 2 bits | by issue | by IDP | by LOP3 | memory-bound by |\n|---|---|---|---|---|---|")
    for device, arch, sms, clock, bandwidth, _ in DEVICES:
        if arch != options.arch:
            continue
        memory = bandwidth * 4
        rates = [sms * clock * 128 / per_weight["all"], sms * clock * 64 / per_weight["idp"],
                 sms * clock * 64 / per_weight["lop"]]
        print(f"| {device} | {memory} G | " + " | ".join(f"{r:.0f} G" for r in rates) + f" | {min(rates) / memory:.1f} |")
    print_predictions()


if __name__ == "__main__":
    main()
