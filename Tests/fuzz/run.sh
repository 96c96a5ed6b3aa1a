#!/bin/sh
# Fuzzes the readers of files with libFuzzer under AddressSanitizer.
#
#   Tests/fuzz/run.sh [seconds for each format] [formats…]
#
# A format is a Swift file of this folder and a folder of small seeds, corpus/<format>. What is found on the way is kept
# under .build-fuzz, and so is what fails.
set -eu
cd "$(dirname "$0")/../.."
seconds=${1:-60}
[ $# -gt 0 ] && shift
formats=${*:-json zip hdf5 safetensors keras snapshot}
out=.build-fuzz
mkdir -p $out/found

# Where sources and flags are the same as last time, so are the modules.
compile() { # module, sources and flags
    module=$1
    shift
    swiftc -parse-as-library -wmo -enable-experimental-feature Extern -enable-testing -I Sources/CSystem/include -I $out \
        -module-name "$module" -emit-module -emit-module-path "$out/$module.swiftmodule" -c -o "$out/$module.o" "$@"
}
checked="-g -O -D FUZZING -sanitize=fuzzer,address"

# DEBUG: for ordinary Swift, as in a debug build.
for part in system workers locking; do
    clang -g -O1 -DDEBUG -fsanitize=address -I Sources/CSystem/include -c Sources/CSystem/$part.c -o $out/CSystem.$part.o
done
for level in 2 3 4; do
    compile KernelsV$level -O -Xcc -march=x86-64-v$level Sources/KernelsV$level/*.swift
done
compile Engine $checked $(find Sources/Engine -name '*.swift')
compile Files $checked $(find Sources/Files -name '*.swift')
for format in $formats; do
    swiftc -use-ld=lld -parse-as-library $checked -I Sources/CSystem/include -I $out -module-name "Fuzz_$format" \
        "Tests/fuzz/$format.swift" Tests/fuzz/Walk.swift $out/*.o -o "$out/fuzz-$format"
done

export SWIFT_BACKTRACE=enable=no
for format in $formats; do
    echo "== $format: $seconds seconds"
    mkdir -p "$out/found/$format"
    dictionary=Tests/fuzz/$format.dict
    "$out/fuzz-$format" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=4096 -malloc_limit_mb=2048 -max_len=65536 \
        -print_final_stats=1 -artifact_prefix="$out/" $([ -f "$dictionary" ] && echo "-dict=$dictionary") \
        "$out/found/$format" "Tests/fuzz/corpus/$format" 2> "$out/$format.log" ||
        { tail -60 "$out/$format.log"; exit 1; }
    grep stat::number_of_executed_units "$out/$format.log"
done
