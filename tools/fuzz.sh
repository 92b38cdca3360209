#!/bin/sh
# fuzz.sh FOLDER TARGET SECONDS - runs one fuzz target, or all of them, on its kept inputs; new ones are kept in
# the build folder, to be copied into tests/fuzz/corpus by hand.
set -eu
folder=$1 target=$2 seconds=$3
found=0
for program in "$folder"/tests/fuzz/fuzz_${target:-*}; do
    [ -x "$program" ] || continue
    found=1
    name=$(basename "$program" | sed 's/^fuzz_//')
    mkdir -p "$folder/corpus/$name"
    set -- "$folder/corpus/$name"
    [ ! -d "tests/fuzz/corpus/$name" ] || set -- "$@" "tests/fuzz/corpus/$name"
    "$program" -max_total_time="$seconds" -print_final_stats=1 -artifact_prefix="$folder/" "$@"
done
[ "$found" -eq 1 ] || { echo "fuzz: no target is called '$target' in tests/fuzz" >&2; exit 1; }
