#!/usr/bin/env python3
"""make-unicode.py - writes src/canon/unicode_data.c: ranges of code points by general category.

The tokenizers' rules speak of letters, numbers, marks, punctuation, symbols and white space. Python's own
unicodedata may be of another Unicode version than the one libllama has; `pip install unicodedata2==15.1.0` gives
that one, and this script takes it where it is there. Usage: tools/make-unicode.py > src/canon/unicode_data.c
"""

import sys

try:
    import unicodedata2 as unicodedata
except ImportError:
    import unicodedata

WANTED = "15.1.0"
BITS = {"L": 1, "N": 2, "M": 4, "P": 8, "S": 16}
WHITE = 32
# White_Space of PropList.txt, the same since Unicode 6.3.
WHITES = {0x9, 0xA, 0xB, 0xC, 0xD, 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F,
          0x205F, 0x3000}


def bits(code):
    return BITS.get(unicodedata.category(chr(code))[0], 0) | (WHITE if code in WHITES else 0)


def main():
    if unicodedata.unidata_version != WANTED:
        sys.exit(f"make-unicode.py: Unicode {WANTED} is wanted, {unicodedata.unidata_version} is here: "
                 f"pip install unicodedata2=={WANTED}")
    ranges = []
    for code in range(0x110000):
        kind = bits(code)
        if not ranges or ranges[-1][1] != kind:
            ranges.append((code, kind))
    print("/* unicode_data.c - general categories of Unicode " + WANTED + ", written by tools/make-unicode.py.")
    print(" * Each entry is the first code point of a range << 6 | its bits (unicode.h). Do not edit. */")
    print('#include "canon/unicode.h"\n')
    print("/* clang-format off */")
    print(f"const uint32_t canon_unicode_n = {len(ranges)};")
    print(f"const uint32_t canon_unicode[{len(ranges)}] = {{")
    words = [f"0x{code << 6 | kind:07x}," for code, kind in ranges]
    for i in range(0, len(words), 9):
        print("    " + " ".join(words[i:i + 9]))
    print("};")
    print(f"const uint8_t canon_ascii[128] = {{")
    for i in range(0, 128, 16):
        print("    " + " ".join(f"{bits(c)}," for c in range(i, i + 16)))
    print("};")


main()
