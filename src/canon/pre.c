/* pre.c - see pre.h. The patterns are facts of the vocabularies, published with them (tokenizer.json),
 * in the form in which libllama applies them: llama-vocab.cpp is the reference. */
#include "canon/pre.h"

#include <string.h>

#include "base/alloc.h"
#include "base/status.h"

/* clang-format off */
#define CONTRACTIONS "'s|'t|'re|'ve|'m|'ll|'d"
#define CONTRACTIONS_ANY "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
#define GPT2 CONTRACTIONS "| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define SPACES "\\s*[\r\n]+|\\s+(?!\\S)|\\s+"
#define WORDS "[^\r\n\\p{L}\\p{N}]?\\p{L}+"
#define OTHERS " ?[^\\s\\p{L}\\p{N}]+[\r\n]*"
#define LLAMA3 CONTRACTIONS_ANY "|" WORDS "|\\p{N}{1,3}|" OTHERS "|" SPACES
#define QWEN2 CONTRACTIONS_ANY "|" WORDS "|\\p{N}|" OTHERS "|" SPACES
/* Words that begin with capitals, or end with small letters; letters outside ASCII are both. */
#define CASED_WORDS(tail) \
    "[^\r\n\\p{L}\\p{N}]?[\\p{L}&&^a-z]*[\\p{L}&&^A-Z]+" tail "|[^\r\n\\p{L}\\p{N}]?[\\p{L}&&^a-z]+[\\p{L}&&^A-Z]*" tail
#define MARKED_WORDS(tail) \
    "[^\r\n\\p{L}\\p{N}]?[\\p{L}\\p{M}&&^a-z]*[\\p{L}\\p{M}&&^A-Z]+" tail \
    "|[^\r\n\\p{L}\\p{N}]?[\\p{L}\\p{M}&&^a-z]+[\\p{L}\\p{M}&&^A-Z]*" tail
/* The same where the library knows no case at all. */
#define LETTER_WORDS(tail) \
    "[^\r\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]*[\\p{L}\\p{M}]+" tail "|[^\r\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+[\\p{L}\\p{M}]*" tail
#define SLASHED " ?[^\\s\\p{L}\\p{N}]+[\r\n/]*|" SPACES
#define NEWLINES "[^\n]+|[\n]+"
static const char ds_letters[] =
    "\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ"
    "-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-"
    "ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+";
static const char ds_punctuation[] =
    "\\s?[!-/:-~！-／：-～‘-‟　-。]+";
static const char ds_cjk[] =
    "[一-龥ࠀ-一가-퟿]+";
static const char dc_cjk[] =
    "[一-龥ࠀ-一가-퟿]+";
static const char d3_cjk[] =
    "[一-龥぀-ゟ゠-ヿ]+";
static const char d3_main[] =
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p"
    "{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+";
static const char spark_main[] =
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p"
    "{L}\\p{M}]+| ?[\\p{P}\\p{S}]+|[\r\n]|\\s+(?!\\S)|\\s+";
static const char youtu_cjk[] =
    "[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+";
static const char poro_word[] =
    " ?[^(\\s|.,!?…。，、।۔،)]+";
static const char afmoe_cjk[] =
    "[一-鿿㐀-䶿豈-﫿぀-ゟ゠-ヿ･-ﾟ⼀-⿟เ-๿຀-໿ក-៿က-႟ꩠ-ꩿꧠ-꧿가-힯ᄀ-ᇿ]+";
static const char kimi_k2[] =
    "\\p{Han}+|[^\r\n\\p{L}\\p{N}]?[\\p{L}&&^\\p{Han}]+" CONTRACTIONS_ANY "?|\\p{N}{1,3}|" OTHERS "|" SPACES;
static const char exaone_moe[] =
    CONTRACTIONS_ANY "|[^\r\n\\p{L}\\p{N}]?(?:\\p{L}\\p{M}*(?: \\p{L}\\p{M}*)*)+|\\p{N}"
    "| ?[^\\s\\p{L}\\p{N}]+[\r\n/]?|\\s*[\r\n]|\\s+(?!\\S)|\\s+";
static const char bailing[] =
    "'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|" WORDS "|\\p{N}|" OTHERS "|\\s*[\r\n]|\\s+(?!\\S)|\\s+";
static const char seed_coder[] =
    CONTRACTIONS_ANY "|" WORDS "|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\r\n]+|" SPACES;
static const char qwen35[] =
    CONTRACTIONS_ANY "|[^\r\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\r\n]*|" SPACES;
static const char jais2[] =
    CONTRACTIONS_ANY "|" WORDS "|\\p{N}{1,3}|" OTHERS "|\\s*[\r\n]+|\\s{512}(?!\\S)|\\s{256}(?!\\S)|\\s{128}(?!\\S)"
    "|\\s{64}(?!\\S)|\\s{32}(?!\\S)|\\s{16}(?!\\S)|\\s{8}(?!\\S)|\\s{4}(?!\\S)|\\s{1,2}(?!\\S)|\\s{1}";

/* Rules of their own among the passes. */
static const char trailing[] = "(trailing)", threes[] = "(threes)", numbers[] = "(numbers)";

enum { WHOLE_FIRST = 1, MARKS = 2, NEWLINE_RUNS = 4 };

static const struct kind {
    const char *pass[PRE_PASSES];
    unsigned flags;
    const char *names; /* each between blanks */
} kinds[] = {
    {{LLAMA3}, WHOLE_FIRST, " llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano glm4 glm5 "},
    {{LLAMA3}, 0, " dbrx smaug-bpe chatglm-bpe "},
    {{jais2}, 0, " jais-2 "},
    {{"\\p{N}{1,3}", CONTRACTIONS_ANY "|" WORDS "|\\p{N}+|" OTHERS "|" SPACES}, WHOLE_FIRST, " minicpm5 "},
    {{"[\r\n]", ds_letters, ds_punctuation, trailing, ds_cjk, "\\p{N}+"}, 0, " deepseek-llm "},
    {{"[\r\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", dc_cjk, "\\p{N}"}, 0, " deepseek-coder "},
    {{"\\p{N}{1,3}", d3_cjk, d3_main}, 0, " deepseek-v3 hunyuan-dense joyai-llm hy_v4 "},
    {{"\\p{N}{1,3}", d3_cjk, spark_main, "\\p{N}"}, 0, " spark2_5 "},
    {{youtu_cjk, LETTER_WORDS(CONTRACTIONS_ANY "?") "|\\p{N}|" SLASHED}, WHOLE_FIRST, " youtu "},
    {{"[\\p{P}\\$\\+<=>\\^~\\|`]+", GPT2, "[0-9][0-9][0-9]"}, 0, " falcon "},
    {{"\\p{N}", GPT2}, 0, " starcoder refact command-r smollm codeshell exaone minerva-7b mellum2 "},
    {{GPT2}, 0, " gpt-2 phi-2 jina-es jina-de gigachat jina-v2-es jina-v2-de a.x-4.0 mellum mpt olmo jais trillion"
                " granite-docling exaone4 jina-v1-en jina-v2-code roberta-bpe "},
    {{QWEN2}, 0, " qwen2 deepseek-r1-qwen kormo f2llmv2 stablelm2 hunyuan solar-open megrez grok-2 "},
    {{qwen35}, 0, " qwen35 "},
    {{poro_word}, 0, " poro-chat bloom gpt3-finnish "},
    {{poro_word, "\\p{N}"}, 0, " viking "},
    {{CASED_WORDS("") "|\\p{N}|" SLASHED}, WHOLE_FIRST, " tekken "},
    {{"<sentinel:[0-9]+>", "IMGIMG[A-I]{1,4}Z", "[\t\n]|    |  ", "\\p{N}", "[\\p{P}!-/:-@\\[-`{-~]", GPT2}, 0,
     " chameleon "},
    {{CASED_WORDS(CONTRACTIONS_ANY "?") "|\\p{N}{1,3}|" SLASHED}, 0, " gpt-4o llama4 kanana2 talkie minimax-m2 "},
    {{MARKED_WORDS(CONTRACTIONS_ANY "?") "|\\p{N}{1,3}|" SLASHED}, WHOLE_FIRST, " granite-embed-multi-97m "},
    {{numbers, LETTER_WORDS(CONTRACTIONS_ANY "?") "|\\p{N}{1,3}|" SLASHED}, 0, " tiny_aya cohere2moe "},
    {{kimi_k2}, 0, " kimi-k2 "},
    {{"\\p{N}+", threes}, 0, " superbpe "},
    {{bailing}, 0, " bailingmoe bailingmoe2 llada-moe "},
    {{seed_coder}, 0, " seed-coder "},
    {{WORDS "|\\p{N}|" OTHERS "|" SPACES}, 0, " ufakzeka "},
    {{numbers, afmoe_cjk, d3_main}, 0, " afmoe "},
    {{NEWLINES, QWEN2}, 0, " laguna "},
    {{exaone_moe}, 0, " exaone-moe "},
    {{NEWLINES}, MARKS | NEWLINE_RUNS, " gemma4 granite-embed-multi-311m "},
    {{NEWLINES}, MARKS, " sarvam-moe "},
    {{"[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}, 0, " default "},
};
/* clang-format on */

static const struct kind *find(const char *name) {
    char blanked[80];
    size_t n = strlen(name);
    if (n == 0) {
        return find("default");
    }
    if (n + 3 > sizeof blanked || strchr(name, ' ') != NULL) {
        return NULL;
    }
    blanked[0] = ' ';
    memcpy(blanked + 1, name, n);
    memcpy(blanked + 1 + n, " ", 2);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strstr(kinds[i].names, blanked) != NULL) {
            return &kinds[i];
        }
    }
    return NULL;
}

enum packllm_status pre_open(struct pre *out, const char *name, bool *known,
                             struct packllm_error *err) {
    const struct kind *kind = find(name);
    enum packllm_status s = PACKLLM_OK;
    *out = (struct pre){0};
    *known = kind != NULL;
    if (kind == NULL) {
        return PACKLLM_OK;
    }
    out->whole_first = (kind->flags & WHOLE_FIRST) != 0;
    out->spaces_as_marks = (kind->flags & MARKS) != 0;
    out->newline_runs = (kind->flags & NEWLINE_RUNS) != 0;
    for (; s == PACKLLM_OK && out->n < PRE_PASSES && kind->pass[out->n] != NULL; out->n++) {
        const char *text = kind->pass[out->n];
        out->pass[out->n].rule = text == trailing  ? PRE_TRAILING
                                 : text == threes  ? PRE_THREES
                                 : text == numbers ? PRE_NUMBERS
                                                   : PRE_PATTERN;
        if (out->pass[out->n].rule == PRE_PATTERN) {
            s = pattern_open(&out->pass[out->n].pattern, text, err);
        }
    }
    if (s != PACKLLM_OK) {
        pre_done(out);
    }
    return s;
}

void pre_done(struct pre *pre) {
    for (unsigned i = 0; i < pre->n; i++) {
        pattern_close(pre->pass[i].pattern);
    }
    *pre = (struct pre){0};
}

size_t pre_memory(const struct pre *pre) {
    size_t total = sizeof *pre;
    for (unsigned i = 0; i < pre->n; i++) {
        total += pre->pass[i].pattern != NULL ? pattern_memory(pre->pass[i].pattern) : 0;
    }
    return total;
}

/* ---- cutting ------------------------------------------------------------------------------- */

void pre_work_done(struct pre_work *w) {
    base_free(w->cut);
    base_free(w->next);
    pattern_stack_done(&w->stack);
    *w = (struct pre_work){0};
}

/* A piece's end, in the list being written. Ends are ascending, so there are never more than
 * characters. */
static void add(struct pre_work *w, size_t *n, size_t end) {
    if (end > (*n > 0 ? w->next[*n - 1] : 0)) {
        w->next[(*n)++] = (uint32_t)end;
    }
}

static void cut_pattern(const struct pattern *p, const struct canon_char *chars, size_t from,
                        size_t end, struct pre_work *w, size_t *n) {
    for (size_t at = from; at < end && !w->stack.failed;) {
        size_t to = pattern_match(p, &w->stack, chars, at, end);
        if (to != SIZE_MAX && to > at) {
            add(w, n, at);
            add(w, n, to);
            at = to;
        } else {
            at++;
        }
    }
    add(w, n, end);
}

static bool ascii_digit(const struct canon_char *c) {
    return c->code >= '0' && c->code <= '9';
}

static bool number(const struct canon_char *c) {
    return (c->bits & CANON_NUMBER) != 0;
}

static void cut_threes(const struct canon_char *chars, size_t from, size_t end, struct pre_work *w,
                       size_t *n) {
    for (size_t at = from, to; at<end; at = to> at ? to : at + 1) {
        for (to = at; to < end && ascii_digit(&chars[to]);) {
            to++;
        }
        for (size_t i = at; i < to; i++) {
            if ((to - i) % 3 == 0) {
                add(w, n, i);
            }
        }
    }
    add(w, n, end);
}

static void cut_numbers(const struct canon_char *chars, size_t from, size_t end, struct pre_work *w,
                        size_t *n) {
    for (size_t at = from, to; at<end; at = to> at ? to : at + 1) {
        for (to = at; to < end && number(&chars[to]);) {
            to++;
        }
        /* What stands before a number goes with its first digits: no cut before them. */
        for (size_t i = at; i < to; i++) {
            if ((to - i - 1) % 3 == 0) {
                add(w, n, i + 1);
            }
        }
    }
    add(w, n, end);
}

static void cut_trailing(const struct canon_char *chars, size_t from, size_t end,
                         struct pre_work *w, size_t *n) {
    size_t at = end;
    while (at > from && (chars[at - 1].bits & CANON_WHITE) != 0) {
        at--;
    }
    add(w, n, at > from ? at : end);
    add(w, n, end);
}

enum packllm_status pre_cut(const struct pre *pre, const struct canon_char *chars, size_t n,
                            struct pre_work *w, struct packllm_error *err) {
    if (n > w->room) {
        uint32_t *cut = alloc_resize(w->cut, n, sizeof *cut);
        w->cut = cut != NULL ? cut : w->cut;
        uint32_t *next = alloc_resize(w->next, n, sizeof *next);
        w->next = next != NULL ? next : w->next;
        if (cut == NULL || next == NULL) {
            return fail_memory(err, n * sizeof *cut);
        }
        w->room = n;
    }
    w->cut[0] = (uint32_t)n;
    w->n = 1;
    w->stack.failed = false;
    for (unsigned i = 0; i < pre->n; i++) {
        size_t n_next = 0, from = 0;
        for (size_t j = 0; j < w->n; j++) {
            size_t end = w->cut[j];
            switch (pre->pass[i].rule) {
            case PRE_PATTERN:
                cut_pattern(pre->pass[i].pattern, chars, from, end, w, &n_next);
                break;
            case PRE_TRAILING:
                cut_trailing(chars, from, end, w, &n_next);
                break;
            case PRE_THREES:
                cut_threes(chars, from, end, w, &n_next);
                break;
            case PRE_NUMBERS:
                cut_numbers(chars, from, end, w, &n_next);
                break;
            }
            from = end;
        }
        uint32_t *old = w->cut;
        w->cut = w->next;
        w->next = old;
        w->n = n_next;
    }
    return w->stack.failed ? fail_memory(err, w->stack.room * 2) : PACKLLM_OK;
}
