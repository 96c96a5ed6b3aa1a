#!/usr/bin/env bash
# Compiles the C programs against build/libcadenza.so and runs them: as they are, with every set of kernels that this
# processor has, and under valgrind. With CADENZA_REQUIRE_ALL=1, what cannot be run here is a failure.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
out=build/tests
mkdir -p "$out"

failures=0
fail() { echo "FAILED: $*" >&2; failures=$((failures + 1)); }
skip() { if [[ ${CADENZA_REQUIRE_ALL:-} == 1 ]]; then fail "$* (CADENZA_REQUIRE_ALL=1)"; else echo "skipped: $*"; fi; }
try() { "$@" || { fail "$*"; return 1; }; }

warnings=(-Wall -Wextra -Werror -Iinclude)
linked=(-Lbuild -lcadenza "-Wl,-rpath,$PWD/build" -lm -ldl -pthread)
compile() { # source, more flags: to $out, named as the source
  local name; name=$(basename "$1" .c)
  clang -std=c11 -D_GNU_SOURCE -gdwarf-4 -O1 "${warnings[@]}" -ITests/c "$1" -o "$out/$name" "${@:2}" "${linked[@]}"
}

# ── The header, alone and strict; the program in its preface ─────────────────────────────────────────────
for compiler in clang gcc; do
  command -v "$compiler" >/dev/null || continue
  try "$compiler" -std=c99 -pedantic "${warnings[@]}" Tests/c/header_c.c -o "$out/header_c" "${linked[@]}" && try "$out/header_c"
  try "$compiler" -x c++ -std=c++11 -pedantic "${warnings[@]}" -fsyntax-only Tests/c/header_cpp.cpp
done
sed -n 's/^ \*$//p; s/^ \*     //p' include/cadenza.h | sed -n '/#include <cadenza.h>/,/^}/p' | diff - examples/minimal.c \
  || fail "examples/minimal.c is not the program in the header's preface"
try clang -std=c99 -pedantic "${warnings[@]}" examples/minimal.c -o "$out/minimal" "${linked[@]}"
minimal=$(cd examples/rain && "../../$out/minimal") && [[ $minimal =~ ^0\.[0-9]+$ ]] || fail "examples/minimal.c printed '$minimal'"
try clang -std=c99 -pedantic "${warnings[@]}" examples/rain/rain.c -o "$out/rain" "${linked[@]}"
for model in rain.keras rain.h5; do
  "$out/rain" examples/rain "examples/rain/$model" >"$out/rain.txt" && grep 'agree with Keras' "$out/rain.txt" \
    || fail "examples/rain/rain.c with $model"
done
try clang -std=c99 -pedantic "${warnings[@]}" examples/characters/characters.c -o "$out/characters" "${linked[@]}"
"$out/characters" | diff - examples/characters/expected.txt || fail "examples/characters/characters.c writes another text"
try clang -std=c99 -pedantic "${warnings[@]}" examples/sine/train.c -o "$out/sine_train" "${linked[@]}"
"$out/sine_train" 1 >"$out/sine_train.txt" && awk '{ error[NR] = $NF } END { exit !(NR == 2 && error[1] > 0.5 && error[2] < 0.2) }' "$out/sine_train.txt" \
  || fail "examples/sine/train.c does not learn to go on: $(cat "$out/sine_train.txt")"

# ── The programs, with every set of kernels ──────────────────────────────────────────────────────────────
programs=(stream pool builder generation trainer unrolled worked_example wrong_generators wrong_arguments wrong_files wrong_snapshots wrong_training wrong_unrolled threads allocation locking)
for program in "${programs[@]}"; do
  try compile "Tests/c/$program.c" -Wl,-z,now
done
cat >"$out/levels.c" <<'C'
#include <cadenza.h>
#include <stdio.h>
int main(void) { for (size_t i = 0; cadenza_kernels_available(i); i++) puts(cadenza_kernels_available(i)); }
C
compile "$out/levels.c" && mapfile -t levels < <("$out/levels")
((${#levels[@]})) || fail "no kernels are available"
for program in "${programs[@]}"; do try "$out/$program"; done
for level in "${levels[@]}"; do
  echo "── CADENZA_KERNELS=$level"
  for program in stream pool builder generation trainer unrolled worked_example threads allocation; do CADENZA_KERNELS=$level try "$out/$program"; done
done

# ── Without leaks, and without a read of what is not there ───────────────────────────────────────────────
if command -v valgrind >/dev/null; then
  echo "── valgrind, with the copy of the library that has its symbols"
  mkdir -p "$out/whole" && ln -sf ../../libcadenza.whole.so "$out/whole/libcadenza.so.0"
  for program in stream pool builder generation trainer unrolled worked_example wrong_generators wrong_arguments wrong_files wrong_snapshots wrong_training wrong_unrolled locking; do
    CADENZA_REDUCED=1 LD_LIBRARY_PATH=$out/whole try valgrind --quiet --leak-check=full --show-leak-kinds=definite,indirect,possible \
      --errors-for-leak-kinds=definite,indirect,possible --error-exitcode=9 --log-file="$out/valgrind.$program.txt" "$out/$program" ||
      head -40 "$out/valgrind.$program.txt"
  done
else
  skip "valgrind is not installed: leaks were not looked for"
fi

# ── A product that embeds Python ─────────────────────────────────────────────────────────────────────────
python=/usr/bin/python3
if "$python-config" --embed --cflags >/dev/null 2>&1 && [[ -f $("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h ]]; then
  # NumPy from the tests' environment where it is of the same Python, else from an environment of its own.
  version=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
  site=.venv/lib/$version/site-packages
  if [[ ! -d $site/numpy ]]; then
    site=build/host/lib/$version/site-packages
    [[ -d $site/numpy ]] || { "$python" -m venv build/host && build/host/bin/pip install --quiet --disable-pip-version-check numpy; } \
      || fail "no NumPy for $python"
  fi
  # shellcheck disable=SC2046
  try compile Tests/c/python_host.c $("$python-config" --embed --includes) $("$python-config" --embed --ldflags) &&
    PYTHONPATH=bindings/python:$site CADENZA_LIBRARY=$PWD/build/libcadenza.so try "$out/python_host" "$python"
else
  skip "libpython3-dev is not installed: no program that embeds Python was run"
fi

((failures == 0)) || { echo "C programs: $failures failed" >&2; exit 1; }
echo "C programs: all passed"
