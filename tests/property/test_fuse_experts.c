/* test_fuse_experts.c - a base steered by expert and anti-expert. Goals: a distribution over what the base
 * finds likely and nothing else; alpha = 0 or expert = anti-expert leaves the base there; the
 * derivatives are those of the loss, and the loss is the pool's. */
#include <math.h>
#include <stdbool.h>

#include "base/rng.h"
#include "fuse/fuse.h"
#include "check.h"
#include "rows.h"

#define N PACKLLM_EVENTS

static double loss(struct fuse_experts *e, double alpha) {
    double f;
    (void)fuse_experts_objective(e, &alpha, &f, NULL, NULL);
    return f;
}

static void steered(void **state) {
    (void)state;
    for (uint64_t seed = check_first_seed(), end = seed + 1000; seed < end; seed++) {
        uint64_t s = seed;
        struct rows rows;
        float out[N], plain[N];
        rows_open(&rows, 3, 1 + rng_next(&s) % 5, seed);
        if (seed % 7 == 0) {
            rows_copy(&rows, 1, 2);
        }
        struct fuse_experts e = {rows.logq[0], rows.logq[1], rows.logq[2], rows.event,
                                 rows.n_bytes};
        double alpha = 3 * rng_uniform(rng_next(&s)), f, g, H, sum = 0, all = 0;
        for (size_t t = 0; t < rows.n_bytes; t++) {
            const float *base = e.base + t * N;
            float most = base[0];
            double kept = 0;
            fuse_experts_pool(base, e.expert + t * N, e.anti + t * N, alpha, out);
            fuse_experts_pool(base, e.expert + t * N, e.anti + t * N, 0, plain);
            for (size_t c = 0; c < N; c++) {
                most = fmaxf(most, base[c]);
            }
            for (size_t c = 0; c < N; c++) {
                bool inside = (double)base[c] >= (double)most + log(0.1);
                kept += inside ? exp((double)base[c]) : 0;
                CHECK_CASE(seed, inside || (double)out[c] < -26, "event %zu: %g", c,
                           (double)out[c]);
            }
            sum = 0;
            for (size_t c = 0; c < N; c++) {
                double want = (double)base[c] - log(kept);
                bool inside = (double)base[c] >= (double)most + log(0.1);
                CHECK_CASE(seed, !inside || fabs((double)plain[c] - want) < 1e-5, "alpha 0: %zu",
                           c);
                CHECK_CASE(seed, seed % 7 != 0 || out[c] == plain[c], "no difference: %zu", c);
                sum += exp((double)out[c]);
            }
            CHECK_CASE(seed, fabs(sum - 1) < 1e-6, "sum %g", sum);
            all -= (double)out[rows.event[t]];
        }
        (void)fuse_experts_objective(&e, &alpha, &f, &g, &H);
        /* Inside, the floor may only help; what is rare costs less with it. */
        CHECK_CASE(seed, all / (double)rows.n_bytes <= f + 1e-5, "pool %g, objective %g", all, f);
        double h = 1e-4, up = loss(&e, alpha + h), down = loss(&e, alpha - h);
        CHECK_CASE(seed, fabs((up - down) / 2 / h - g) < 1e-6 * (1 + fabs(g)), "slope %g", g);
        CHECK_CASE(seed, fabs((up - 2 * f + down) / h / h - H) < 1e-4 * (1 + H), "curvature %g", H);
        CHECK_CASE(seed, H >= 0, "H %g", H);
        rows_close(&rows);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(steered)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
