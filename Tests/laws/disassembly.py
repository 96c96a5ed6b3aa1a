"""Instructions beyond the baseline of x86-64 stand in kernels only, and a kernel's are those of its level.

An object brings weak copies of Swift's runtime functions, compiled for the object's own instruction set, and the linker
keeps the first: where that is a kernel object's, the library dies on an older processor in the middle of anything.
So the whole copy of the library, which still has its symbols, is disassembled, and its map says which object each
address came from.
"""

import bisect
import platform
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

BUILD = Path(__file__).resolve().parents[2] / "build"
if platform.machine() != "x86_64":
    sys.exit(f"disassembly: written for x86-64, and this is {platform.machine()}")

SSE3_TO_SSE4 = re.compile(
    r"(addsubp|haddp|hsubp|lddqu|movddup|movs[hl]dup"  # SSE3
    r"|pabs[bwd]|phadd|phsub|pmaddubsw|pmulhrsw|pshufb|psign|palignr"  # SSSE3
    r"|p?blend|dpp[sd]|extractps|insertps|movntdqa|mpsadbw|packusdw|pcmpeqq|pextr[bdq]|pinsr[bdq]|phminposuw"  # SSE4.1
    r"|pmax(sb|sd|ud|uw)|pmin(sb|sd|ud|uw)|pmov[sz]x|pmuldq|pmulld|ptest|round[ps][sd]"
    r"|pcmp[ei]str|pcmpgtq|popcnt|crc32|cmpxchg16b)"  # SSE4.2 and its time
)
LATER = re.compile(
    r"(v(?!err|erw|mcall|mrun|mload|msave)\w+|k(add|and|mov|not|or|shift|test|un|xn|xor)\w*"  # AVX and later, AVX-512's masks
    r"|andn|bextr|bls[ir]|blsmsk|bzhi|mulx|pdep|pext|rorx|sarx|shlx|shrx|lzcnt|movbe|aes|pclmul|sha(1|256)|adcx|adox)"
)
LEVELS = {"KernelsV2": 2, "KernelsV3": 3, "KernelsV4": 4}


def needed_level(mnemonic, operands):
    """The x86-64 level of an instruction, roughly: 1 the baseline, 2 up to SSE4.2, 3 AVX2, 4 AVX-512."""
    if re.search(r"%zmm|%k[1-7]\b|%[xy]mm(1[6-9]|2\d|3[01])\b", operands):
        return 4
    if LATER.fullmatch(mnemonic) or "%ymm" in operands:
        return 3
    return 2 if SSE3_TO_SSE4.match(mnemonic) else 1


def sections(path):
    """Code by address from the linker's map: (address, size, object's module)."""
    found = []
    for line in path.read_text().splitlines():
        match = re.match(r"\s*([0-9a-f]+)\s+[0-9a-f]+\s+([0-9a-f]+)\s+\d+\s+(\S+):\(\.text\S*\)$", line)
        if match and int(match[2], 16):
            module = re.search(r"/(\w+)\.build/", match[3])
            found.append((int(match[1], 16), int(match[2], 16), module[1] if module else match[3]))
    return sorted(found)


def main():
    code = sections(BUILD / "libcadenza.map")
    starts = [address for address, _, _ in code]
    command = ["objdump", "-d", "--no-show-raw-insn", str(BUILD / "libcadenza.whole.so")]
    listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout

    function, failures, counts, misplaced = "", Counter(), Counter(), set()
    for line in listing.splitlines():
        if match := re.match(r"[0-9a-f]+ <(.*)>:$", line):
            function = match[1]
            continue
        match = re.match(r"\s*([0-9a-f]+):\s+((?:(?:rep[nez]*|lock|data16|bnd|notrack|cs|ds|es) )*)(\S+)\s*(.*)$", line)
        if not match:
            continue
        address = int(match[1], 16)
        place = bisect.bisect(starts, address) - 1
        inside = place >= 0 and address < starts[place] + code[place][1]
        module = code[place][2] if inside else "the linker"
        level = needed_level(match[3], match[4])
        counts[module] += 1
        if level > LEVELS.get(module, 1):
            failures[f"{module}: {function} has {match[3]} (level {level})"] += 1
        of_kernels = re.search(r"KernelsV\d|^cz_kernels_v\d", function)
        if inside and (module in LEVELS) != bool(of_kernels):  # what fills the gaps between functions is the linker's
            misplaced.add(f"{function} comes from an object of {module}")

    modules = {"CadenzaABI", "Engine", "Files", "CSystem", *LEVELS}
    problems = [f"{text}, {count} times" for text, count in failures.most_common(30)]
    problems += [f"{text}: kernels, and nothing else, belong into kernel objects" for text in sorted(misplaced)[:30]]
    problems += [f"no code of {module} was found: is the map read rightly?" for module in sorted(modules - counts.keys())]
    if problems:
        sys.exit("\n".join(f"disassembly: {problem}" for problem in problems))
    amounts = ", ".join(f"{module} {counts[module]}" for module in sorted(modules))
    print(f"disassembly: {sum(counts.values())} instructions, beyond the baseline only in kernels ({amounts})")


main()
