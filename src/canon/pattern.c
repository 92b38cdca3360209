/* pattern.c - see pattern.h: a parser that writes a small program, and a machine that runs it with
 * an explicit stack of choices. */
#include "canon/pattern.h"

#include <string.h>

#include "base/alloc.h"
#include "base/status.h"

enum { MANY = INT32_MAX };

/* A set of characters: (bits or a range) or not, without those of the second part. */
struct set {
    bool negated;
    uint8_t bits, bits_out;
    uint16_t range, n_range;         /* into pattern.low, high */
    uint16_t range_out, n_range_out; /* taken out */
};

enum op {
    OP_SET,   /* a = set, min..max times */
    OP_SPLIT, /* try a, then b */
    OP_JUMP,  /* to a */
    OP_LOOK,  /* the program from here on matches (b) or does not (!b); go on at a */
    OP_MATCH
};

struct step {
    uint8_t op;
    int32_t a, b;
    int32_t min, max;
};

struct pattern {
    struct step *step;
    struct set *set;
    uint32_t *low, *high;
    size_t n_step, n_set, n_range;
    size_t room; /* of each array */
};

struct parser {
    struct pattern *p;
    const char *text;
    size_t at, size;
    bool bad;
};

/* ---- parsing ------------------------------------------------------------------------------- */

static int32_t emit(struct parser *r, struct step step) {
    if (r->p->n_step == r->p->room) {
        r->bad = true;
        return 0;
    }
    r->p->step[r->p->n_step] = step;
    return (int32_t)r->p->n_step++;
}

static bool at_text(const struct parser *r, const char *text) {
    size_t n = strlen(text);
    return r->size - r->at >= n && memcmp(r->text + r->at, text, n) == 0;
}

static bool take(struct parser *r, const char *text) {
    bool here = at_text(r, text);
    r->at += here ? strlen(text) : 0;
    return here;
}

static uint32_t take_code(struct parser *r) {
    struct canon_char c[5];
    size_t n = r->size - r->at < 4 ? r->size - r->at : 4;
    if (n == 0) {
        r->bad = true;
        return 0;
    }
    (void)canon_decode(r->text + r->at, n, 0, c);
    r->bad = r->bad || c[0].code == UINT32_MAX;
    r->at += c[1].at;
    return c[0].code;
}

static void add_range(struct parser *r, uint32_t low, uint32_t high) {
    if (r->p->n_range == r->p->room || low > high) {
        r->bad = true;
        return;
    }
    r->p->low[r->p->n_range] = low;
    r->p->high[r->p->n_range++] = high;
}

static void add_han(struct parser *r) {
    static const uint32_t han[][2] = {
        {0x4e00, 0x9fff},   {0x3400, 0x4dbf},   {0x20000, 0x2a6df},
        {0x2a700, 0x2b73f}, {0x2b740, 0x2b81f}, {0x2b820, 0x2ceaf},
        {0x2ceb0, 0x2ebef}, {0xf900, 0xfaff},   {0x2f800, 0x2fa1f},
    };
    for (size_t i = 0; i < sizeof han / sizeof *han; i++) {
        add_range(r, han[i][0], han[i][1]);
    }
}

/* A kind of character behind a backslash: its bits, or ranges; false: it is no kind. */
static bool take_kind(struct parser *r, uint8_t *bits) {
    static const struct {
        const char *name;
        uint8_t bits;
    } kinds[] = {
        {"\\s", CANON_WHITE},          {"\\p{L}", CANON_LETTER},  {"\\p{Lu}", CANON_LETTER},
        {"\\p{Ll}", CANON_LETTER},     {"\\p{Lt}", CANON_LETTER}, {"\\p{Lm}", CANON_LETTER},
        {"\\p{Lo}", CANON_LETTER},     {"\\p{N}", CANON_NUMBER},  {"\\p{M}", CANON_MARK},
        {"\\p{P}", CANON_PUNCTUATION}, {"\\p{S}", CANON_SYMBOL},
    };
    if (take(r, "\\d")) {
        add_range(r, '0', '9');
        return true;
    }
    if (take(r, "\\p{Han}")) {
        add_han(r);
        return true;
    }
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (take(r, kinds[i].name)) {
            *bits |= kinds[i].bits;
            return true;
        }
    }
    return false;
}

static uint32_t take_literal(struct parser *r) {
    static const char names[] = "rnt", codes[] = "\r\n\t";
    if (take(r, "\\")) {
        uint32_t code = take_code(r);
        const char *name = code < 128 && code > 0 ? strchr(names, (int)code) : NULL;
        return name != NULL ? (uint32_t)codes[name - names] : code;
    }
    return take_code(r);
}

static int32_t new_set(struct parser *r) {
    if (r->p->n_set == r->p->room) {
        r->bad = true;
        return 0;
    }
    r->p->set[r->p->n_set] = (struct set){.range = (uint16_t)r->p->n_range};
    return (int32_t)r->p->n_set++;
}

/* Behind '['. */
static int32_t take_set(struct parser *r) {
    int32_t id = new_set(r);
    struct set set = r->p->set[id];
    bool out = false;
    set.negated = take(r, "^");
    while (!r->bad && !take(r, "]")) {
        if (take(r, "&&^")) {
            set.n_range = (uint16_t)(r->p->n_range - set.range);
            set.range_out = (uint16_t)r->p->n_range;
            out = true;
            continue;
        }
        if (take_kind(r, out ? &set.bits_out : &set.bits)) {
            continue;
        }
        uint32_t low = take_literal(r), high = low;
        if (r->at + 1 < r->size && at_text(r, "-") && r->text[r->at + 1] != ']') {
            r->at++;
            high = take_literal(r);
        }
        add_range(r, low, high);
    }
    if (out) {
        set.n_range_out = (uint16_t)(r->p->n_range - set.range_out);
    } else {
        set.n_range = (uint16_t)(r->p->n_range - set.range);
    }
    r->p->set[id] = set;
    return id;
}

static int32_t take_count(struct parser *r) {
    int32_t n = 0;
    for (; r->at < r->size && r->text[r->at] >= '0' && r->text[r->at] <= '9'; r->at++) {
        n = n * 10 + (r->text[r->at] - '0');
    }
    return n;
}

static void take_times(struct parser *r, int32_t *min, int32_t *max) {
    *min = *max = 1;
    if (take(r, "?")) {
        *min = 0;
    } else if (take(r, "*")) {
        *min = 0;
        *max = MANY;
    } else if (take(r, "+")) {
        *max = MANY;
    } else if (take(r, "{")) {
        *min = *max = take_count(r);
        if (take(r, ",")) {
            *max = take_count(r);
        }
        r->bad = r->bad || !take(r, "}");
    }
}

static void alternatives(struct parser *r, unsigned depth);

/* Moves the program from `first` on by one step, and leaves a free one there. */
static void make_room(struct parser *r, size_t first) {
    size_t n = r->p->n_step - first;
    (void)emit(r, (struct step){0});
    if (r->bad) {
        return;
    }
    memmove(r->p->step + first + 1, r->p->step + first, n * sizeof *r->p->step);
    for (size_t i = first + 1; i < r->p->n_step; i++) {
        struct step *s = &r->p->step[i];
        s->a += s->op == OP_SPLIT || s->op == OP_JUMP || s->op == OP_LOOK;
        s->b += s->op == OP_SPLIT;
    }
}

static void group(struct parser *r, unsigned depth) {
    bool look = at_text(r, "?=") || at_text(r, "?!"), wanted = at_text(r, "?=");
    int32_t min, max, first = (int32_t)r->p->n_step;
    (void)(take(r, "?=") || take(r, "?!") || take(r, "?:"));
    if (look) {
        (void)emit(r, (struct step){.op = OP_LOOK, .b = wanted});
    }
    alternatives(r, depth + 1);
    r->bad = r->bad || !take(r, ")");
    if (look) {
        (void)emit(r, (struct step){.op = OP_MATCH});
        r->p->step[first].a = (int32_t)r->p->n_step;
        return;
    }
    take_times(r, &min, &max);
    r->bad = r->bad || min > 1 || (max != 1 && max != MANY); /* not needed */
    if (max == MANY) {
        /* first: X; split first, behind */
        int32_t here = (int32_t)r->p->n_step;
        (void)emit(r, (struct step){.op = OP_SPLIT, .a = first, .b = here + 1});
    }
    if (min == 0) {
        make_room(r, (size_t)first);
        r->p->step[first] =
            (struct step){.op = OP_SPLIT, .a = first + 1, .b = (int32_t)r->p->n_step};
    }
}

static void sequence(struct parser *r, unsigned depth) {
    while (!r->bad && r->at < r->size && !at_text(r, "|") && !at_text(r, ")")) {
        struct step step = {.op = OP_SET};
        if (take(r, "(")) {
            group(r, depth);
            continue;
        }
        if (take(r, "[")) {
            step.a = take_set(r);
        } else {
            step.a = new_set(r);
            struct set *set = &r->p->set[step.a];
            size_t before = r->p->n_range;
            if (take(r, "\\S")) {
                set->negated = true;
                set->bits = CANON_WHITE;
            } else if (!take_kind(r, &set->bits)) {
                uint32_t code = take_literal(r);
                add_range(r, code, code);
            }
            set->n_range = (uint16_t)(r->p->n_range - before);
        }
        take_times(r, &step.min, &step.max);
        (void)emit(r, step);
    }
}

/* split 1, 2; 1: …; jump end; 2: split … */
static void alternatives(struct parser *r, unsigned depth) {
    int32_t jumps[64];
    size_t n = 0;
    r->bad = r->bad || depth > 8;
    while (!r->bad) {
        size_t first = r->p->n_step;
        sequence(r, depth);
        if (r->bad || !take(r, "|")) {
            break;
        }
        make_room(r, first);
        if (r->bad || n == sizeof jumps / sizeof *jumps) {
            r->bad = true;
            break;
        }
        jumps[n++] = emit(r, (struct step){.op = OP_JUMP});
        r->p->step[first] =
            (struct step){.op = OP_SPLIT, .a = (int32_t)first + 1, .b = (int32_t)r->p->n_step};
    }
    for (size_t i = 0; i < n; i++) {
        r->p->step[jumps[i]].a = (int32_t)r->p->n_step;
    }
}

enum packllm_status pattern_open(struct pattern **out, const char *text,
                                 struct packllm_error *err) {
    struct pattern *p = alloc_zero(1, sizeof *p);
    if (p == NULL) {
        return fail_memory(err, sizeof *p);
    }
    p->room = strlen(text) + 32; /* no element of a pattern takes more steps than letters, nearly */
    p->step = alloc_array(p->room, sizeof *p->step);
    p->set = alloc_array(p->room, sizeof *p->set);
    p->low = alloc_array(p->room, sizeof *p->low);
    p->high = alloc_array(p->room, sizeof *p->high);
    if (p->step == NULL || p->set == NULL || p->low == NULL || p->high == NULL) {
        size_t room = p->room;
        pattern_close(p);
        return fail_memory(err, 64 * room);
    }
    struct parser r = {.p = p, .text = text, .size = strlen(text)};
    alternatives(&r, 0);
    (void)emit(&r, (struct step){.op = OP_MATCH});
    if (r.bad || r.at != r.size) {
        pattern_close(p);
        return fail(err, PACKLLM_E_INTERNAL, PACKLLM_NO_MEMBER,
                    "a pattern cannot be read at byte %zu: %s", r.at, text);
    }
    *out = p;
    return PACKLLM_OK;
}

void pattern_close(struct pattern *p) {
    if (p != NULL) {
        base_free(p->step);
        base_free(p->set);
        base_free(p->low);
        base_free(p->high);
        base_free(p);
    }
}

size_t pattern_memory(const struct pattern *p) {
    return sizeof *p + p->room * (sizeof *p->step + sizeof *p->set + 2 * sizeof *p->low);
}

/* ---- matching ------------------------------------------------------------------------------ */

/* One choice left open: go on at `step` behind any of low..high characters, the most first. */
struct pattern_choice {
    size_t low, high;
    int32_t step;
};

void pattern_stack_done(struct pattern_stack *s) {
    base_free(s->choice);
    *s = (struct pattern_stack){0};
}

static bool in_ranges(const struct pattern *p, uint32_t code, uint16_t first, uint16_t n) {
    for (uint32_t i = first; i < (uint32_t)first + n; i++) {
        if (code >= p->low[i] && code <= p->high[i]) {
            return true;
        }
    }
    return false;
}

static bool in_set(const struct pattern *p, const struct set *set, const struct canon_char *c) {
    /* libllama writes all white space outside ASCII as a vertical tab, before any pattern. */
    uint32_t code = c->code >= 128 && (c->bits & CANON_WHITE) != 0 ? 0x0b : c->code;
    bool in = (c->bits & set->bits) != 0 || in_ranges(p, code, set->range, set->n_range);
    if (in && (set->bits_out != 0 || set->n_range_out > 0)) {
        in =
            (c->bits & set->bits_out) == 0 && !in_ranges(p, code, set->range_out, set->n_range_out);
    }
    return in != set->negated;
}

static bool push(struct pattern_stack *s, size_t *n, int32_t step, size_t low, size_t high) {
    if (*n == s->room) {
        size_t room = s->room * 2 + 64;
        struct pattern_choice *grown = alloc_resize(s->choice, room, sizeof *grown);
        if (grown == NULL) {
            s->failed = true;
            return false;
        }
        s->choice = grown;
        s->room = room;
    }
    s->choice[(*n)++] = (struct pattern_choice){.low = low, .high = high, .step = step};
    return true;
}

/* The choices from `base` on belong to this call: looking ahead is a call of its own. */
static size_t run(const struct pattern *p, struct pattern_stack *s, size_t base, int32_t first,
                  const struct canon_char *chars, size_t at, size_t end) {
    size_t n = base;
    int32_t pc = first;
    for (;;) {
        const struct step *step = &p->step[pc];
        bool fits = true;
        switch ((enum op)step->op) {
        case OP_SET: {
            size_t most =
                step->max < MANY && (size_t)step->max < end - at ? at + (size_t)step->max : end;
            size_t to = at;
            while (to < most && in_set(p, &p->set[step->a], &chars[to])) {
                to++;
            }
            fits = to - at >= (size_t)step->min;
            if (fits && to - at > (size_t)step->min) {
                fits = push(s, &n, pc + 1, at + (size_t)step->min, to - 1);
            }
            at = to;
            pc++;
            break;
        }
        case OP_SPLIT:
            fits = push(s, &n, step->b, at, at);
            pc = step->a;
            break;
        case OP_JUMP:
            pc = step->a;
            break;
        case OP_LOOK:
            fits = (run(p, s, n, pc + 1, chars, at, end) != SIZE_MAX) == (step->b != 0);
            pc = step->a;
            break;
        case OP_MATCH:
            return at;
        }
        if (!fits) {
            if (n == base || s->failed) {
                return SIZE_MAX;
            }
            struct pattern_choice *c = &s->choice[n - 1];
            pc = c->step;
            at = c->high;
            if (c->high == c->low) {
                n--;
            } else {
                c->high--;
            }
        }
    }
}

size_t pattern_match(const struct pattern *p, struct pattern_stack *s,
                     const struct canon_char *chars, size_t from, size_t end) {
    return run(p, s, 0, 0, chars, from, end);
}
