/* test_grammar_automaton.c - a grammar against brute force. Random grammars (groups, repetitions,
 * rules that call each other and themselves, parts that may be empty) are written as GBNF and matched
 * by plain recursion over positions; both must agree on every string of up to five letters, one of
 * which is two bytes long. Every beginning of a text is taken, and no walk gets stuck. */
#include <string.h>

#include "base/buf.h"
#include "base/rng.h"
#include "grammar/grammar.h"

#include "check.h"

enum { CASES = 1200, RULES = 3, NODES = 64, LONGEST = 5 };

enum kind { LETTER, CLASS, RULE, SEQUENCE, CHOICE, REPEAT };

struct node {
    enum kind kind;
    int a, b;     /* children, the letter, a mask of letters, the rule */
    int min, max; /* REPEAT; max 9: without end */
};

struct world {
    struct node nodes[NODES];
    int n, rules[RULES];
    uint64_t rng;
    const int *text;
    int size;
};

static const char *const letters[] = {"a", "b", "\xc3\xa9"};
static struct packllm_error err;

static int pick(struct world *w, int n) {
    return (int)(rng_next(&w->rng) % (uint64_t)n);
}

/* consumed: a letter stands before it, so any rule may follow; else only rules further down. */
static int make(struct world *w, int rule, int depth, bool consumed) {
    int at = w->n++;
    struct node node = {.kind = LETTER, .a = pick(w, 3)};
    int what = w->n > NODES - 8 || depth == 0 ? pick(w, 2) : pick(w, 9);
    if (what == 1) {
        node = (struct node){.kind = CLASS, .a = 1 + pick(w, 7)};
    } else if (what == 2 && (consumed || rule + 1 < RULES)) {
        node = (struct node){.kind = RULE,
                             .a = consumed ? pick(w, RULES) : rule + 1 + pick(w, RULES - rule - 1)};
    } else if (what >= 3 && what <= 5) {
        node.kind = SEQUENCE;
        node.a = make(w, rule, what == 3 ? 0 : depth - 1, consumed);
        /* Behind a letter; or behind what may be empty. */
        node.b = make(w, rule, depth - 1, consumed || what == 3);
    } else if (what == 6) {
        node.kind = CHOICE;
        node.a = make(w, rule, depth - 1, consumed);
        node.b = make(w, rule, depth - 1, consumed);
    } else if (what >= 7) {
        node.kind = REPEAT;
        node.a = make(w, rule, depth - 1, consumed);
        node.min = pick(w, 3);
        node.max = pick(w, 2) == 0 ? 9 : node.min + pick(w, 3);
    }
    w->nodes[at] = node;
    return at;
}

static void print(const struct world *w, int at, struct buf *out) {
    const struct node *n = &w->nodes[at];
    switch (n->kind) {
    case LETTER:
        (void)buf_printf(out, "\"%s\" ", letters[n->a]);
        break;
    case CLASS:
        (void)buf_add_text(out, "[");
        for (int k = 0; k < 3; k++) {
            (void)buf_add_text(out, (n->a >> k & 1) != 0 ? letters[k] : "");
        }
        (void)buf_add_text(out, "] ");
        break;
    case RULE:
        (void)buf_add_text(out, n->a == 0 ? "root " : n->a == 1 ? "r1 " : "r2 ");
        break;
    case SEQUENCE:
        print(w, n->a, out);
        print(w, n->b, out);
        break;
    case CHOICE:
        (void)buf_add_text(out, "(");
        print(w, n->a, out);
        (void)buf_add_text(out, "| ");
        print(w, n->b, out);
        (void)buf_add_text(out, ") ");
        break;
    default:
        (void)buf_add_text(out, "(");
        print(w, n->a, out);
        if (n->max == 9) {
            (void)(n->min == 0   ? buf_add_text(out, ")* ")
                   : n->min == 1 ? buf_add_text(out, ")+ ")
                                 : buf_printf(out, "){%d,} ", n->min));
        } else if (n->min == 0 && n->max == 1) {
            (void)buf_add_text(out, ")? ");
        } else {
            (void)buf_printf(out, "){%d,%d} ", n->min, n->max);
        }
    }
}

/* Where a match of the node that begins at one of `from` may end; sets of positions are bits. */
static unsigned ends(const struct world *w, int at, unsigned from) {
    const struct node *n = &w->nodes[at];
    unsigned out = 0;
    switch (n->kind) {
    case LETTER:
    case CLASS:
        for (int p = 0; p < w->size; p++) {
            bool yes = n->kind == LETTER ? w->text[p] == n->a : (n->a >> w->text[p] & 1) != 0;
            out |= (from >> p & 1) != 0 && yes ? 2U << p : 0;
        }
        return out;
    case RULE:
        return from == 0 ? 0 : ends(w, w->rules[n->a], from);
    case SEQUENCE:
        return from == 0 ? 0 : ends(w, n->b, ends(w, n->a, from));
    case CHOICE:
        return from == 0 ? 0 : ends(w, n->a, from) | ends(w, n->b, from);
    default:
        for (int k = 0; k < n->min; k++) {
            from = from == 0 ? 0 : ends(w, n->a, from);
        }
        out = from;
        for (int k = n->min; k < (n->max == 9 ? n->min + LONGEST + 1 : n->max) && from != 0; k++) {
            from = ends(w, n->a, from);
            out |= from;
        }
        return out;
    }
}

static void walk(uint64_t seed, const struct grammar *g, const char *text) {
    struct grammar_state *s = NULL;
    uint64_t rng = seed;
    CHECK_CASE(seed, grammar_state_open(&s, g, &err) == PACKLLM_OK, "%s", err.message);
    for (int k = 0; k < 40; k++) {
        const uint64_t *mask = grammar_state_allowed(s);
        uint8_t bytes[256];
        unsigned n = 0;
        for (unsigned b = 0; b < 256; b++) {
            bytes[n] = (uint8_t)b;
            n += grammar_mask_has(mask, (uint8_t)b) ? 1 : 0;
        }
        CHECK_CASE(seed, n > 0 || grammar_state_may_end(s), "stuck: %s", text);
        if (n == 0) {
            break;
        }
        CHECK_CASE(seed, grammar_state_push(s, bytes[rng_next(&rng) % n]), "%s", text);
    }
    grammar_state_close(s);
}

static void test_against_brute_force(void **state) {
    (void)state;
    unsigned refused = 0, matched = 0;
    for (uint64_t seed = check_first_seed(); seed < check_first_seed() + CASES; seed++) {
        struct world w = {.rng = seed};
        struct buf text;
        buf_init(&text, 1 << 16);
        for (int r = 0; r < RULES; r++) {
            w.rules[r] = make(&w, r, 4, false);
            (void)buf_add_text(&text, r == 0 ? "root ::= " : r == 1 ? "r1 ::= " : "r2 ::= ");
            print(&w, w.rules[r], &text);
            (void)buf_add_text(&text, "\n");
        }
        struct grammar *g = NULL;
        struct grammar_state *s = NULL;
        enum packllm_status status = grammar_open(&g, text.data, text.size, NULL, &err);
        /* A part that may be empty before a call may make it left-recursive: refused. */
        bool left = status < 0 && strstr(err.message, "left-recursive") != NULL;
        CHECK_CASE(seed, status >= 0 || left || strstr(err.message, "no text") != NULL, "%s: %s",
                   text.data, err.message);
        if (status >= 0) {
            walk(seed, g, text.data);
            assert_int_equal(grammar_state_open(&s, g, &err), PACKLLM_OK);
        }
        refused += status < 0 ? 1 : 0;
        for (int code = 0, total = 1, size = 0; size <= LONGEST && !left; code++) {
            int string[LONGEST];
            size_t pushed = 0, bytes = 0;
            if (code == total) {
                code = -1;
                total *= 3;
                size++;
                continue;
            }
            for (int k = 0, rest = code; k < size; k++, rest /= 3) {
                string[k] = rest % 3;
            }
            w.text = string;
            w.size = size;
            bool want = (ends(&w, w.rules[0], 1) >> size & 1) != 0, have = false;
            for (int k = 0; k < size && s != NULL; k++) {
                for (const char *p = letters[string[k]]; *p != '\0'; p++, bytes++) {
                    pushed += pushed == bytes && grammar_state_push(s, (uint8_t)*p) ? 1 : 0;
                }
            }
            have = s != NULL && pushed == bytes && grammar_state_may_end(s);
            CHECK_CASE(seed, have == want, "string %d of %d letters: %d, not %d, in\n%s", code,
                       size, have, want, text.data);
            matched += have ? 1 : 0;
            if (s != NULL) {
                grammar_state_pop(s, pushed);
            }
        }
        grammar_state_close(s);
        grammar_close(g);
        buf_done(&text);
    }
    /* Else the test would test little. */
    assert_true(refused < CASES / 4 && matched > 10 * CASES);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_brute_force)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
