#!/usr/bin/env python3
"""Multiply-adds a cycle of the ARM integer kernels' inner loops, by llvm-mca on what the compiler made of them.

    tools/arm-mca.py [--cxx aarch64-linux-gnu-g++] [--mca llvm-mca-19]

Every loop without a loop inside that holds sdot, usmmla or smlal is run alone, all loads from the first-level cache.
For gemv a multiply-add is a weight.
"""
import argparse
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILES = {  # file: flags, as in kernels-neon/CMakeLists.txt
    "gemv/arm_neon.cc": [],
    "gemv/arm_dotprod.cc": ["-march=armv8.2-a+dotprod"],
    "gemm/arm_neon.cc": [],
    "gemm/arm_dotprod.cc": ["-march=armv8.2-a+dotprod"],
    "gemm/arm_i8mm.cc": ["-march=armv8.2-a+dotprod+i8mm"],
}
MACS = {"sdot": 16, "usmmla": 32, "smlal": 8, "smlal2": 8}
CPUS = ["neoverse-n1", "neoverse-v2"]


def run(command, text):
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def inner_loops(assembly):
    """(function, lines) of every basic block that ends in a branch to its own label."""
    function, label, block = "", "", []
    for line in assembly.splitlines():
        if m := re.match(r"(_Z\w+):", line):
            function = m.group(1)
        if m := re.match(r"(\.?\w+):", line):
            label, block = m.group(1), []
            continue
        text = line.split("//")[0].strip()
        if not text or text.startswith("."):
            continue
        block.append(text)
        if re.match(r"(b\.?\w+|cbn?z|tbn?z)\s", text):
            if re.search(rf"(?<![\w.]){re.escape(label)}$", text):
                yield function, block
            label, block = "", []


def demangle(name):
    full = run(["c++filt"], name).strip()
    m = re.search(r"(\w+<[^()]*>|\w+)\(", full.replace("(anonymous namespace)::", ""))
    return m.group(1) if m else full


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cxx", default="aarch64-linux-gnu-g++")
    parser.add_argument("--mca", default="llvm-mca-19")
    args = parser.parse_args()
    print(f"{'file':22} {'loop':28} {'multiply-adds':>13} " + " ".join(f"{cpu:>12}" for cpu in CPUS))
    for file, flags in FILES.items():
        source = ROOT / "kernels-neon" / file
        assembly = run([args.cxx, "-std=c++20", "-O3", "-DNDEBUG", "-ffp-contract=off", "-fno-asynchronous-unwind-tables",
                        *flags, f"-I{ROOT}", "-S", "-o", "-", str(source)], "")
        for function, block in inner_loops(assembly):
            macs = sum(MACS.get(line.split()[0], 0) for line in block)
            if not macs:
                continue
            rates = []
            for cpu in CPUS:
                if "i8mm" in file and cpu == "neoverse-n1":  # has none
                    rates.append(f"{'-':>12}")
                    continue
                report = run([args.mca, "-mtriple=aarch64-linux-gnu", f"-mcpu={cpu}", "-mattr=+dotprod,+i8mm", "-iterations=200"],
                             "\n".join(block) + "\n")
                cycles = int(re.search(r"Total Cycles:\s+(\d+)", report).group(1)) / 200
                rates.append(f"{macs / cycles:12.1f}")
            print(f"{file:22} {demangle(function):28} {macs:13} " + " ".join(rates))


if __name__ == "__main__":
    main()
