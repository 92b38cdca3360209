#!/bin/sh
# coverage.sh FOLDER - lines covered, per source file, from the counts that a test run left in FOLDER.
set -eu
find "$1/CMakeFiles" -name '*.gcda' -path '*room_*' -exec gcov -n -r -s "$PWD" {} + 2>/dev/null | awk '
    /^File/ { file = $2; gsub("\047", "", file) }
    /^Lines executed/ && file ~ /\.c$/ {
        split($0, a, /[:% ]+/); lines = $NF; hit = a[3] * lines / 100
        printf "%6.1f %%  %5d lines  %s\n", a[3], lines, file; sum += hit; all += lines; file = ""
    }
    END { if (all) printf "%6.1f %%  %5d lines  all\n", 100 * sum / all, all; else exit 1 }'
