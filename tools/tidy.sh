#!/bin/sh
# tidy.sh FOLDER - clang-tidy over every source file that FOLDER compiles. One file a process: with more, clang 14's
# checker of va_list takes the second file's for uninitialised.
set -eu
python3 - "$1/compile_commands.json" <<'PYTHON' | xargs -P 2 -n 1 clang-tidy --quiet --warnings-as-errors='*' -p "$1"
import json, sys
for file in sorted({entry["file"] for entry in json.load(open(sys.argv[1]))}):
    print(file)
PYTHON
