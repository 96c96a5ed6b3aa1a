"""Law 6 and the library's size: exported is what cadenza.h declares, needed is libc and libm, under 1 MB."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "build" / "libcadenza.so"
NEEDED = {"libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}
NEWEST_GLIBC = (2, 29)  # Debian 10's is 2.28 and Ubuntu 20.04's 2.31: what is newer shuts out systems in use
SIZE_LIMIT = 1_000_000

failures = []


def check(holds, message):
    if not holds:
        failures.append(message)


def output(*command):
    return subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True).stdout


def version(text):
    return tuple(int(part) for part in text.split("."))


header = (ROOT / "include" / "cadenza.h").read_text()
code = re.sub(r"/\*.*?\*/", "", header, flags=re.S)
declared = set(re.findall(r"\b(cadenza_\w+)\s*\([^()]*\)\s*;", code))
exported = {line.split()[-1] for line in output("nm", "-D", "--defined-only", LIBRARY).splitlines()}
exported = {name.split("@")[0] for name in exported if not name.startswith("CADENZA_")}  # a version's own symbol
check(len(declared) > 40, f"only {len(declared)} functions were found in cadenza.h")
check(not exported - declared, f"exported and not declared: {sorted(exported - declared)}")
check(not declared - exported, f"declared and not exported: {sorted(declared - exported)}")

dynamic = output("readelf", "-dW", LIBRARY)
needed = set(re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic))
check(needed <= NEEDED, f"needs {sorted(needed - NEEDED)} beyond libc and libm")
major = re.search(r"CADENZA_VERSION_MAJOR (\d+)", header)[1]
soname = re.search(r"\(SONAME\).*\[(.*)\]", dynamic)
check(soname and soname[1] == f"libcadenza.so.{major}", f"the soname is {soname and soname[1]}")
check("RPATH" not in dynamic and "RUNPATH" not in dynamic, "the library has a search path of its own")
check("TEXTREL" not in dynamic, "the library's code is relocated when loaded")
check("BIND_NOW" in dynamic, "functions are bound as they are called, which is a lock on the first step")

wanted = {}
for line in output("nm", "-D", "--undefined-only", LIBRARY).splitlines():
    name, _, glibc = line.split()[-1].partition("@GLIBC_")
    if glibc:
        wanted.setdefault(version(glibc), []).append(name)
for glibc, names in wanted.items():
    check(glibc <= NEWEST_GLIBC, f"needs glibc {'.'.join(map(str, glibc))} for {sorted(names)}")

# Constant arrays that the compiler outlined: each module numbers those of a function for itself, and so the linker may
# give one module's function another's array (Package.swift tells how that is prevented).
whole = output("nm", LIBRARY.with_name("libcadenza.whole.so"))
outlined = re.findall(r"\S+Tv\d*_r?$", whole, re.M)
check(len(whole.splitlines()) > 500, "the whole copy of the library has no symbols")
check(not outlined, f"constant arrays are outlined under numbers: {outlined[:5]}")

sections = output("readelf", "-SW", LIBRARY)
check(".symtab" not in sections and ".debug_info" not in sections, "the library is not stripped")
size = LIBRARY.stat().st_size
check(size < SIZE_LIMIT, f"{size} bytes, {SIZE_LIMIT} are the limit")

if failures:
    sys.exit("\n".join(f"symbols: {failure}" for failure in failures))
newest = max(wanted, default=(0,))
print(
    f"symbols: {len(exported)} functions, exported as declared; {size} bytes; needs {', '.join(sorted(needed))}, "
    f"glibc {'.'.join(map(str, newest))} or later ({', '.join(sorted(wanted.get(newest, [])))})"
)
