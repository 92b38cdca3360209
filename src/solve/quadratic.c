/* quadratic.c - the inner problem of solve_exact: a primal active-set method.
 *
 *     minimise  m(s) = g . (s - x) + 1/2 (s - x)' H (s - x)   over   S = { sum s = 1, 0 <= s <= cap }
 *
 * Members at a bound are held there, the others are free. On the free ones the model is minimised
 * under sum = const by writing the change p of one of them, r, as minus the sum of the rest:
 *
 *     A_ij = H_ij - H_ir - H_rj + H_rr,   b_i = q_i - q_r,   A p = -b,   p_r = -sum p
 *
 * with q = g + H (s - x) the gradient where we stand. If a bound is in the way, go as far as it and
 * hold that member; else look at the multipliers: a member at 0 with q below the free ones' level, or
 * one at its cap with q above it, is freed (the worst first). m falls strictly from face to face, so
 * no face comes twice and the method ends.
 *
 * A is singular where members are alike. Cholesky then runs on A + d I, with d far below what the
 * model can tell (1e-11 of A's largest diagonal), so that the step stays finite and nearly the
 * shortest one; a pivot that rounding made too small gets the same treatment.
 */
#include "solve/quadratic.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#define DAMPING 1e-11

enum { FREE, AT_ZERO, AT_CAP };

void quadratic_fill(size_t n, const double *g, const double *cap, double *s, double *out_level) {
    double left = 1;
    double level = -HUGE_VAL;
    for (size_t i = 0; i < n; i++) {
        s[i] = 0;
    }
    for (size_t filled = 0; filled < n && left > 0; filled++) {
        size_t best = n;
        for (size_t i = 0; i < n; i++) {
            if (s[i] == 0 && (best == n || g[i] < g[best])) { /* caps are > 0 */
                best = i;
            }
        }
        s[best] = fmin(cap[best], left);
        left -= s[best];
        level = g[best];
    }
    *out_level = level;
}

/* Factors A[m][m] (lower triangle, in place) after adding damping, and solves A p = -b into b. */
static void solve_damped(size_t m, double *A, double *b) {
    double largest = 0, slope = 0;
    for (size_t i = 0; i < m; i++) {
        largest = fmax(largest, A[i * m + i]);
        slope = fmax(slope, fabs(b[i]));
    }
    /* Without any curvature: a step far beyond S, for the bounds to cut. */
    double damping = largest > 0 ? largest * DAMPING : slope > 0 ? slope * 1e-6 : 1;
    for (size_t j = 0; j < m; j++) {
        for (size_t i = j; i < m; i++) {
            double sum = A[i * m + j] + (i == j ? damping : 0);
            for (size_t k = 0; k < j; k++) {
                sum -= A[i * m + k] * A[j * m + k];
            }
            if (i == j) {
                A[j * m + j] = sqrt(fmax(sum, damping));
            } else {
                A[i * m + j] = sum / A[j * m + j];
            }
        }
    }
    for (size_t i = 0; i < m; i++) {
        double sum = -b[i];
        for (size_t k = 0; k < i; k++) {
            sum -= A[i * m + k] * b[k];
        }
        b[i] = sum / A[i * m + i];
    }
    for (size_t i = m; i-- > 0;) {
        double sum = b[i];
        for (size_t k = i + 1; k < m; k++) {
            sum -= A[k * m + i] * b[k];
        }
        b[i] = sum / A[i * m + i];
    }
}

/* The step p[n] to the minimum on the face of the free members. face[] gets their indices, the
 * reference (the largest weight) last. Returns how many are free. */
static size_t face_step(size_t n, const double *H, const double *q, const double *s,
                        const unsigned char *state, size_t *face, double *A, double *b, double *p) {
    size_t m = 0, ref = 0;
    for (size_t i = 0; i < n; i++) {
        p[i] = 0;
        if (state[i] == FREE) {
            if (m == 0 || s[i] > s[face[ref]]) {
                ref = m;
            }
            face[m++] = i;
        }
    }
    if (m < 2) {
        return m;
    }
    size_t r = face[ref];
    for (size_t i = ref; i + 1 < m; i++) {
        face[i] = face[i + 1];
    }
    face[m - 1] = r;
    size_t rows = m - 1;
    for (size_t a = 0; a < rows; a++) {
        size_t i = face[a];
        for (size_t c = 0; c <= a; c++) {
            size_t j = face[c];
            A[a * rows + c] = (H[i * n + j] - H[i * n + r]) - (H[r * n + j] - H[r * n + r]);
        }
        b[a] = q[i] - q[r];
    }
    solve_damped(rows, A, b);
    for (size_t a = 0; a < rows; a++) {
        p[face[a]] = b[a];
        p[r] -= b[a];
    }
    return m;
}

/* Goes along p until a bound holds a member, at most the whole way. True: the whole way. */
static bool walk(size_t n, const double *cap, const double *p, double *s, unsigned char *state) {
    double reach = 1;
    size_t block = n;
    for (size_t i = 0; i < n; i++) {
        if (state[i] == FREE && p[i] != 0) {
            double room = p[i] < 0 ? s[i] : cap[i] - s[i];
            if (room < reach * fabs(p[i])) {
                reach = room / fabs(p[i]);
                block = i;
            }
        }
    }
    for (size_t i = 0; i < n; i++) {
        if (state[i] == FREE) {
            s[i] = fmin(fmax(s[i] + reach * p[i], 0), cap[i]);
        }
    }
    if (block != n) {
        state[block] = p[block] < 0 ? AT_ZERO : AT_CAP;
        s[block] = p[block] < 0 ? 0 : cap[block];
    }
    return block == n;
}

/* Frees what the multipliers say should move. False: nothing, s is the minimiser. */
static bool release(size_t n, size_t n_free, const double *q, const size_t *face,
                    unsigned char *state) {
    size_t low = n, high = n; /* smallest q among those at zero, largest among those at cap */
    double scale = 0;
    for (size_t i = 0; i < n; i++) {
        scale = fmax(scale, fabs(q[i]));
        if (state[i] == AT_ZERO && (low == n || q[i] < q[low])) {
            low = i;
        }
        if (state[i] == AT_CAP && (high == n || q[i] > q[high])) {
            high = i;
        }
    }
    double tolerance = 1e-15 * scale;
    if (n_free == 0) { /* one must go up and another down */
        if (low == n || high == n || !(q[low] < q[high] - tolerance)) {
            return false;
        }
        state[low] = state[high] = FREE;
        return true;
    }
    double level = q[face[n_free - 1]]; /* the reference's; the others' agree with it */
    double up = low != n ? level - q[low] : 0, down = high != n ? q[high] - level : 0;
    if (fmax(up, down) <= tolerance) {
        return false;
    }
    state[up >= down ? low : high] = FREE;
    return true;
}

void quadratic_minimise(size_t n, const double *g, const double *H, const double *cap,
                        const double *x, double *s, double *work, unsigned char *state,
                        size_t *face) {
    double *A = work, *q = A + n * n, *p = q + n, *b = p + n, *change = b + n;
    for (size_t i = 0; i < n; i++) {
        s[i] = x[i];
        /* A cap of 1 never binds before the sum does. */
        state[i] = x[i] <= 0 ? AT_ZERO : cap[i] < 1 && x[i] >= cap[i] ? AT_CAP : FREE;
    }
    /* The bound is for rounding alone: then s is still in S and no worse than x. */
    for (size_t round = 0; round < 20 * n + 20; round++) {
        for (size_t i = 0; i < n; i++) {
            change[i] = s[i] - x[i];
        }
        for (size_t i = 0; i < n; i++) {
            double sum = 0;
            for (size_t j = 0; j < n; j++) {
                sum += H[i * n + j] * change[j];
            }
            q[i] = g[i] + sum;
        }
        size_t n_free = face_step(n, H, q, s, state, face, A, b, p);
        if (!walk(n, cap, p, s, state)) {
            continue;
        }
        for (size_t i = 0; i < n; i++) { /* q where we stand now */
            double sum = 0;
            for (size_t j = 0; j < n; j++) {
                sum += H[i * n + j] * p[j];
            }
            q[i] += sum;
        }
        if (!release(n, n_free, q, face, state)) {
            break;
        }
    }
}
