#!/usr/bin/env bash
# Builds the library for arm64 and runs it under qemu-user: the C programs, Keras's stored answers, and whether all bits
# are those of this machine's kernels. Needs gcc-aarch64-linux-gnu, libc6-dev-arm64-cross and qemu-user.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
python=${1:-python3}
for tool in aarch64-linux-gnu-gcc qemu-aarch64; do
  command -v "$tool" >/dev/null && continue
  echo "skipped: $tool is not installed"
  [[ ${CADENZA_REQUIRE_ALL:-} != 1 ]]
  exit
done
Tests/arm64/build.sh
mkdir -p build/tests # where the programs write
out=build/arm64
emulated=(qemu-aarch64 -L /usr/aarch64-linux-gnu -E "LD_LIBRARY_PATH=$out")
compile() { # source, to
  aarch64-linux-gnu-gcc -std=c11 -D_GNU_SOURCE -O1 -ffp-contract=off -Iinclude -ITests/c "$1" -o "$2" -L"$out" -lcadenza -lm -ldl -pthread
}
for program in stream pool builder generation worked_example wrong_generators wrong_arguments wrong_snapshots; do
  compile "Tests/c/$program.c" "$out/$program"
  CADENZA_REDUCED=1 "${emulated[@]}" "$out/$program"
done
compile examples/characters/characters.c "$out/characters"
"${emulated[@]}" "$out/characters" | diff - examples/characters/expected.txt
compile Tests/arm64/answers.c "$out/answers"
clang -std=c11 -O1 -Wall -Wextra -Werror -Iinclude Tests/arm64/answers.c -o "$out/answers_here" -Lbuild -lcadenza "-Wl,-rpath,$PWD/build"
"$python" Tests/arm64/answers.py "$out/answers_here" "${emulated[@]}" "$out/answers"
