/* bench_fuse.c - nanoseconds per byte of fuse_pool, fuse_objective and fuse_floor, beside a plain
 * loop of libm's expf over the same 257 events in the same run (the peer: less than that is not to
 * be had without vector code). Fastest of several runs, set-up outside the clock. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/rng.h"
#include "fuse/fuse.h"
#include "solve/solve.h"

#define BYTES 512
#define MEMBERS 8
#define RUNS 15

static double now(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static float *rows[MEMBERS];
static uint16_t event[BYTES];
static float out[PACKLLM_EVENTS];
static volatile float sink;

static void fill(void) {
    uint64_t state = 7;
    for (size_t t = 0; t < BYTES; t++) {
        event[t] = (uint16_t)(rng_next(&state) % PACKLLM_EVENTS);
    }
    for (size_t i = 0; i < MEMBERS; i++) {
        rows[i] = malloc(sizeof(float) * BYTES * PACKLLM_EVENTS);
        if (rows[i] == NULL) {
            exit(1);
        }
        for (size_t t = 0; t < BYTES; t++) {
            double q[PACKLLM_EVENTS], sum = 0;
            for (size_t c = 0; c < PACKLLM_EVENTS; c++) {
                q[c] = pow(rng_uniform(rng_next(&state)), 12) + (c == event[t] ? 2 : 0);
                sum += q[c];
            }
            for (size_t c = 0; c < PACKLLM_EVENTS; c++) {
                q[c] /= sum;
            }
            fuse_floor(q, rows[i] + t * PACKLLM_EVENTS);
        }
    }
}

static double per_byte(double (*run)(size_t n), size_t n) {
    double best = 1e300;
    for (int r = 0; r < RUNS; r++) {
        double ns = run(n);
        best = ns < best ? ns : best;
    }
    return best / BYTES;
}

static double run_expf(size_t n) {
    double start = now();
    for (size_t t = 0; t < BYTES; t++) {
        float sum = 0;
        for (size_t c = 0; c < PACKLLM_EVENTS; c++) {
            sum += expf(rows[n - 1][t * PACKLLM_EVENTS + c]);
        }
        sink = sum;
    }
    return now() - start;
}

static double run_pool(enum packllm_pool pool, size_t n) {
    double lambda[MEMBERS];
    const float *at[MEMBERS];
    solve_uniform(n, lambda);
    lambda[0] += n == 1 ? 1e-9 : 0; /* not the shortcut for one member */
    double start = now();
    for (size_t t = 0; t < BYTES; t++) {
        for (size_t i = 0; i < n; i++) {
            at[i] = rows[i] + t * PACKLLM_EVENTS;
        }
        fuse_pool(pool, n, lambda, at, out);
        sink = out[0];
    }
    return now() - start;
}
static double run_log(size_t n) {
    return run_pool(PACKLLM_POOL_LOG, n);
}
static double run_linear(size_t n) {
    return run_pool(PACKLLM_POOL_LINEAR, n);
}

static double run_floor(size_t n) {
    double q[PACKLLM_EVENTS];
    (void)n;
    for (size_t c = 0; c < PACKLLM_EVENTS; c++) {
        q[c] = 1.0 / PACKLLM_EVENTS;
    }
    double start = now();
    for (size_t t = 0; t < BYTES; t++) {
        q[0] += 1e-12;
        fuse_floor(q, out);
        sink = out[0];
    }
    return now() - start;
}

static double run_objective(size_t n) {
    struct fuse_block block;
    double lambda[MEMBERS], f, g[MEMBERS], H[MEMBERS * MEMBERS];
    solve_uniform(n, lambda);
    if (fuse_block_init(&block, PACKLLM_POOL_LOG, n, BYTES, (const float *const *)rows, event, NULL,
                        NULL, NULL) != PACKLLM_OK) {
        exit(1);
    }
    double start = now();
    (void)fuse_objective(&block, lambda, &f, g, H);
    double ns = now() - start;
    sink = (float)f;
    fuse_block_done(&block);
    return ns;
}

static double run_solve(size_t n) {
    struct fuse_block block;
    struct solve_problem problem = {.n = n, .eval = fuse_objective, .ctx = &block};
    struct solve_result result;
    double lambda[MEMBERS];
    double start = now();
    if (fuse_block_init(&block, PACKLLM_POOL_LOG, n, BYTES, (const float *const *)rows, event, NULL,
                        NULL, NULL) != PACKLLM_OK) {
        exit(1);
    }
    problem.order = block.order;
    if (solve_exact(&problem, 1e-9, 50, lambda, &result, NULL) != PACKLLM_OK) {
        exit(1);
    }
    fuse_block_done(&block);
    return now() - start;
}

int main(void) {
    static const struct {
        const char *name;
        double (*run)(size_t n);
        size_t n;
    } cases[] = {
        {"fuse_floor", run_floor, 1},
        {"fuse_pool log, 1 member", run_log, 1},
        {"fuse_pool log, 2 members", run_log, 2},
        {"fuse_pool log, 4 members", run_log, 4},
        {"fuse_pool linear, 2 members", run_linear, 2},
        {"fuse_pool linear, 4 members", run_linear, 4},
        {"fuse_objective f g H, 2 members", run_objective, 2},
        {"fuse_objective f g H, 4 members", run_objective, 4},
        {"fuse_objective f g H, 8 members", run_objective, 8},
        {"block + solve to 1e-9, 2 members", run_solve, 2},
        {"block + solve to 1e-9, 8 members", run_solve, 8},
    };
    fill();
    double peer = per_byte(run_expf, 1);
    printf("%-36s %9.1f ns/byte\n", "peer: sum of expf over 257", peer);
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        double ns = per_byte(cases[k].run, cases[k].n);
        printf("%-36s %9.1f ns/byte  %6.2f of the peer\n", cases[k].name, ns, ns / peer);
    }
    for (size_t i = 0; i < MEMBERS; i++) {
        free(rows[i]);
    }
    return 0;
}
