/* front.c - the arithmetic of fronts. With x the text so far, h a history, s the bytes behind it:
 *
 *   P(x)   = sum_open w M>(s) + sum_parked w             (1 by normalisation)
 *   q(c)   = [ sum_open w M(s c) + sum_parked w r(c) ]   c in 0..255
 *   q(END) = [ sum_fresh w p(END | h) + sum_parked w r(END) ]
 *
 * M(s) is the mass of the tokens that begin with s, M>(s) of those strictly longer (a fresh cover,
 * s empty, has END in it). r is the stand-in of a parked end: right behind the end the first-byte
 * distribution of the newest opened history; later it follows the rest of the front, which neither
 * feeds nor starves it. No share is renormalised away but that of ends known not to be canonical.
 */
#include <assert.h>
#include <string.h>

#include "cover/private.h"
#include "math/vec.h"

/* Far below the floor of the pooled distribution (1e-9 / 257). */
#define NEGLIGIBLE 1e-14
/* How much of a stand-in comes from the frequencies of bytes: of deep ends, and right behind one. */
#define FREQUENCY 0.1
#define FRESH_FREQUENCY 0.5

static const struct cover_slice *slice_of(const struct cover *c, const struct cover_node *node,
                                          size_t depth) {
    return depth < node->n_slices ? &c->slices[node->first_slice + depth] : NULL;
}

void node_spread(const struct cover *c, const struct cover_open *o, size_t x, double w, double *q) {
    size_t depth = x - o->node->at;
    if (o->node->row != NULL) {
        row_spread(o->node->row, c->tree, &o->place, w, q);
    } else {
        const struct cover_slice *s = slice_of(c, o->node, depth);
        for (uint32_t i = 0; s != NULL && i < s->n; i++) {
            q[c->slice_byte[s->first + i]] += w * (double)c->slice_mass[s->first + i];
        }
    }
    if (depth == 0) {
        q[PACKLLM_EVENT_END] += w * o->node->end;
    }
}

void node_here(const struct cover *c, const struct cover_open *o, size_t x, double *ending,
               double *longer, int32_t *token) {
    size_t depth = x - o->node->at;
    *ending = 0.0;
    *longer = 0.0;
    *token = -1;
    if (o->node->row != NULL) {
        uint32_t n = depth > 0 ? prefix_ending(c->tree, &o->place) : 0;
        if (n > 0) {
            *ending = row_range(o->node->row, o->place.low, o->place.low + n);
            *token = c->tree->ids[o->place.low];
        }
        *longer = row_range(o->node->row, o->place.low + n, o->place.high);
    } else {
        const struct cover_slice *s = slice_of(c, o->node, depth);
        if (s != NULL) {
            *ending = (double)s->ending;
            *longer = (double)s->longer;
            *token = s->token;
        }
    }
    if (depth == 0) {
        *longer += o->node->end;
    }
}

bool node_enter(const struct cover *c, struct cover_open *o, size_t x, uint8_t byte) {
    if (o->node->row != NULL) {
        return prefix_step(c->tree, &o->place, byte);
    }
    return x + 1 - o->node->at < o->node->n_slices;
}

void front_add_open(struct cover_view *f, struct cover_node *node, double w,
                    struct prefix_place place) {
    if (f->n_open == FRONT_OPEN) {
        unsigned least = 0;
        for (unsigned i = 1; i < f->n_open; i++) {
            least = f->open[i].w < f->open[least].w ? i : least;
        }
        if (f->open[least].w >= w) {
            return;
        }
        f->open[least] = f->open[--f->n_open];
    }
    f->open[f->n_open++] = (struct cover_open){.node = node, .place = place, .w = w};
}

void front_park(struct cover_view *f, const struct cover_parked *parked) {
    if (f->n_parked == FRONT_PARKED) {
        unsigned least = 0;
        for (unsigned i = 1; i < f->n_parked; i++) {
            least = f->parked[i].w < f->parked[least].w ? i : least;
        }
        if (f->parked[least].w >= parked->w) {
            return;
        }
        f->parked[least] = f->parked[--f->n_parked];
    }
    f->parked[f->n_parked++] = *parked;
}

void front_copy(const struct cover_view *from, struct cover_view *to) {
    to->x = from->x;
    to->lost = from->lost;
    to->n_open = from->n_open;
    to->n_parked = from->n_parked;
    memcpy(to->open, from->open, from->n_open * sizeof *to->open);
    memcpy(to->parked, from->parked, from->n_parked * sizeof *to->parked);
}

double front_normalise(const struct cover *c, struct cover_view *f) {
    double total = 0.0;
    for (unsigned i = 0; i < f->n_open; i++) {
        double ending, longer;
        int32_t token;
        node_here(c, &f->open[i], f->x, &ending, &longer, &token);
        total += f->open[i].w * longer;
    }
    for (unsigned i = 0; i < f->n_parked; i++) {
        total += f->parked[i].w;
    }
    if (total > 0.0) {
        for (unsigned i = 0; i < f->n_open; i++) {
            f->open[i].w /= total;
        }
        for (unsigned i = 0; i < f->n_parked; i++) {
            f->parked[i].w /= total;
            f->parked[i].base /= total;
        }
    }
    return total;
}

void front_start(struct cover *c, struct cover_view *f, struct cover_node *node) {
    f->x = node->at;
    f->lost = false;
    f->n_open = f->n_parked = 0;
    front_add_open(f, node, 1.0, prefix_root(c->tree));
    (void)front_normalise(c, f);
    c->standin_due = true; /* who goes on by tokens needs none */
}

/* Krichevsky-Trofimov: half a count for each byte beforehand. */
static double frequency(const struct cover *c, int byte) {
    return (c->count[byte] + 0.5) / (c->n_counted + 128.0);
}

/* All of them, so[256]. */
static void frequencies(const struct cover *c, double *so) {
    vec_double v;
    for (size_t b = 0; b < 256; b += VEC_LANES) {
        vec_load(c->count + b, &v);
        v = (v + 0.5) / (c->n_counted + 128.0);
        vec_store(&v, so + b);
    }
}

void front_count_anew(struct cover *c) {
    memset(c->count, 0, sizeof c->count);
    c->n_counted = 0.0;
    c->often_known = false;
}

void front_ready(struct cover *c) {
    if (c->standin_due && c->front.n_open == 1) {
        front_set_standin(c, c->front.open[0].node);
    }
    if (!c->often_known) {
        frequencies(c, c->often);
        c->often_known = true;
    }
}

void front_set_standin(struct cover *c, const struct cover_node *node) {
    struct cover_open o = {.node = (struct cover_node *)(uintptr_t)node,
                           .place = prefix_root(c->tree)};
    c->standin_due = false;
    memset(c->standin, 0, sizeof c->standin);
    node_spread(c, &o, node->at, 1.0, c->standin);
}

void front_count(struct cover *c, uint8_t byte) {
    /* Halved now and then, so that what came last counts more. */
    if (c->n_counted >= 1024.0) {
        for (int b = 0; b < 256; b++) {
            c->count[b] *= 0.5;
        }
        c->n_counted *= 0.5;
    }
    c->count[byte] += 1.0;
    c->n_counted += 1.0;
    c->often_known = false;
}

/* Probability of the event right behind an end. */
static double fresh(const struct cover *c, int event) {
    double f = event == PACKLLM_EVENT_END ? 0.0 : frequency(c, event);
    return c->standin[event] + FRESH_FREQUENCY * (f - c->standin[event]);
}

/* Of the tokenisations that end at one byte the heaviest goes on with the weight of all. */
static unsigned recombine(struct cover_parked *ends, unsigned n) {
    unsigned heaviest = 0;
    double sum = 0.0;
    for (unsigned i = 0; i < n; i++) {
        sum += ends[i].w;
        heaviest = ends[i].w > ends[heaviest].w ? i : heaviest;
    }
    if (n > 1) {
        ends[0] = ends[heaviest];
        ends[0].w = ends[0].base = sum;
    }
    return n > 1 ? 1 : n;
}

double front_step(const struct cover *c, const struct cover_view *from, uint8_t byte,
                  struct cover_view *to) {
    if (to != from) {
        front_copy(from, to);
    }
    size_t x = to->x++;
    if (to->lost) {
        return 1.0 / PACKLLM_EVENTS;
    }
    struct cover_parked ends[FRONT_OPEN];
    struct prefix_place root = prefix_root(c->tree);
    unsigned n_ends = 0, n_open = 0, n_parked = 0;
    double rest = 0.0, deep = 0.0, total = 0.0;
    for (unsigned i = 0; i < to->n_open; i++) {
        struct cover_open o = to->open[i];
        double ending, longer;
        int32_t token;
        if (!node_enter(c, &o, x, byte)) {
            continue;
        }
        node_here(c, &o, x + 1, &ending, &longer, &token);
        rest += o.w * (ending + longer);
        if (o.w * ending > NEGLIGIBLE) {
            double w = o.w * ending;
            ends[n_ends++] = (struct cover_parked){
                .parent = o.node, .at = x + 1, .w = w, .base = w, .place = root, .token = token};
        }
        if (o.w * longer > NEGLIGIBLE) {
            to->open[n_open++] = o;
        }
        total += o.w * (ending + longer);
    }
    to->n_open = n_open;
    for (unsigned i = 0; i < to->n_parked; i++) {
        if (to->parked[i].at == x) {
            to->parked[i].w *= fresh(c, byte);
            rest += to->parked[i].w;
            total += to->parked[i].w;
        } else {
            deep += to->parked[i].w;
        }
    }
    double all = 1.0 - deep;
    double follow = all > 1e-9 ? rest / all : fresh(c, byte);
    follow += FREQUENCY * (frequency(c, byte) - follow);
    for (unsigned i = 0; i < to->n_parked; i++) {
        struct cover_parked *p = &to->parked[i];
        if (p->at != x) {
            p->w *= follow;
            total += p->w;
        }
        if (p->w > NEGLIGIBLE * total && x + 1 - p->at <= c->tree->table->longest) {
            to->parked[n_parked++] = *p;
        }
    }
    to->n_parked = n_parked;
    n_ends = c->all ? recombine(ends, n_ends) : n_ends;
    for (unsigned i = 0; i < n_ends; i++) {
        front_park(to, &ends[i]);
    }
    if (!(front_normalise(c, to) > 0.0)) {
        to->n_open = to->n_parked = 0; /* nothing explains this byte: settle_front resyncs */
    }
    return total;
}

static double sum_events(const double *q) {
    vec_double sums = {0}, v;
    for (size_t e = 0; e < 256; e += VEC_LANES) {
        vec_load(q + e, &v);
        sums += v;
    }
    return vec_sum(&sums) + q[PACKLLM_EVENT_END];
}

/* q += w * fresh, of all events; often: the frequencies. */
static void add_fresh(const struct cover *c, const double *often, double w, double *q) {
    vec_double v, standin, f;
    for (size_t b = 0; b < 256; b += VEC_LANES) {
        vec_load(q + b, &v);
        vec_load(c->standin + b, &standin);
        vec_load(often + b, &f);
        v += w * (standin + FRESH_FREQUENCY * (f - standin));
        vec_store(&v, q + b);
    }
    q[PACKLLM_EVENT_END] += w * fresh(c, PACKLLM_EVENT_END);
}

double front_next(const struct cover *c, const struct cover_view *f, double *q) {
    double made[256];
    const double *often = c->often;
    memset(q, 0, PACKLLM_EVENTS * sizeof *q);
    if (f->lost || f->n_open + f->n_parked == 0) {
        for (int e = 0; e < PACKLLM_EVENTS; e++) {
            q[e] = 1.0 / PACKLLM_EVENTS;
        }
        return 1.0;
    }
    double here = 0.0, deep = 0.0;
    for (unsigned i = 0; i < f->n_open; i++) {
        node_spread(c, &f->open[i], f->x, f->open[i].w, q);
    }
    for (unsigned i = 0; i < f->n_parked; i++) {
        *(f->parked[i].at == f->x ? &here : &deep) += f->parked[i].w;
    }
    if (!c->often_known && f->n_parked > 0) {
        frequencies(c, made);
        often = made;
    }
    if (here > 0.0) {
        add_fresh(c, often, here, q);
    }
    double sum = sum_events(q);
    if (sum < 1e-9) {
        for (int e = 0; e < PACKLLM_EVENTS; e++) {
            q[e] = fresh(c, e);
        }
        sum = 1.0;
    }
    /* Masses are floats: without deep ends the sum is 1 to about 1e-6. */
    double counted = deep * FREQUENCY, rest = (1.0 - counted) / sum;
    vec_double v, byte;
    for (size_t b = 0; b < 256; b += VEC_LANES) {
        vec_load(q + b, &v);
        v *= rest;
        if (counted > 0.0) {
            vec_load(often + b, &byte);
            v += counted * byte;
        }
        vec_store(&v, q + b);
    }
    q[PACKLLM_EVENT_END] *= rest;
    return here + deep;
}
