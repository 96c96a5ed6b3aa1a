#!/usr/bin/env bash
# Builds the library for arm64 on another machine: build/arm64/libcadenza.so.
#
# Swift's toolchain brings Embedded Swift for arm64 without a system; C and linking are Debian's cross compiler's
# (gcc-aarch64-linux-gnu, libc6-dev-arm64-cross). Swift's objects know nothing of shared libraries: they are joined
# first, and all but what the library exports is made local. It applies its own relocations, as in the Makefile.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
out=build/arm64
mkdir -p "$out"

compile() { # module, flags …; its sources may be links
  local module=$1
  shift
  swiftc -target aarch64-none-none-elf -enable-experimental-feature Embedded -wmo -parse-as-library -Xfrontend -function-sections \
    -I Sources/CSystem/include -I Sources/CCadenza/include -I "$out" -module-name "$module" -emit-module -emit-module-path "$out/$module.swiftmodule" \
    -c -o "$out/$module.o" $(find "Sources/$module" -name '*.swift' | sort) "$@"
}
# As in Package.swift.
small=(-Osize -Xllvm -enable-machine-outliner=always
       -Xllvm -sil-disable-pass=object-outliner,closure-specialize,capture-prop
       -enforce-exclusivity=unchecked)
modules=(Engine Files Generation Training CadenzaABI)
for module in "${modules[@]}"; do compile "$module" "${small[@]}"; done
compile KernelsNEON -O

target=(--target=aarch64-linux-gnu -isystem /usr/aarch64-linux-gnu/include)
for part in system workers locking relocate; do
  clang "${target[@]}" -O2 -Wall -fPIC -ffunction-sections -I Sources/CSystem/include -c "Sources/CSystem/$part.c" -o "$out/$part.o"
done
# Kernels last, as in the Makefile.
ld.lld -r -o "$out/whole.o" "$out"/{system,workers,locking}.o $(printf "$out/%s.o " "${modules[@]}") "$out/KernelsNEON.o"
aarch64-linux-gnu-objcopy --wildcard --keep-global-symbol='cadenza_*' "$out/whole.o"
ld.lld -shared -soname libcadenza.so.0 --version-script=Sources/CadenzaABI/cadenza.map --gc-sections --icf=all -z relro -z now -z noexecstack \
  --no-undefined --pack-dyn-relocs=relr --use-android-relr-tags -init=cz_relocate -s -o "$out/libcadenza.so" "$out"/{whole,relocate}.o -L /usr/aarch64-linux-gnu/lib -lm -lc "$(aarch64-linux-gnu-gcc -print-libgcc-file-name)"
ln -sf libcadenza.so "$out/libcadenza.so.0"
