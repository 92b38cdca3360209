/* member_memory.c - what a member will take, by arithmetic on its header (libllama has no call for
 * it). Terms and their sizes against measured ones: docs/internals/member.md. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "member/member_base.h"
#include "member/member_facts.h"

/* Cells that forks may add beyond the longest history, per sequence. */
enum { FORK_CELLS = 32, CELLS_ROUND = 256 };

uint32_t member_llama_cells(uint32_t n_ctx, uint32_t n_parallel, uint32_t n_seq) {
    uint64_t cells = (uint64_t)n_ctx * n_parallel + (uint64_t)n_seq * FORK_CELLS + CELLS_ROUND - 1;
    cells = cells > INT32_MAX ? INT32_MAX : cells;
    return (uint32_t)(cells / CELLS_ROUND * CELLS_ROUND);
}

uint32_t member_llama_marks(bool whole_only, uint32_t n_seq) {
    /* libllama wants no more sequences than a batch has tokens. */
    const uint32_t room = n_seq < MEMBER_LLAMA_CHUNK ? MEMBER_LLAMA_CHUNK - n_seq : 0;
    const uint32_t most = room < MEMBER_LLAMA_MARKS ? room : MEMBER_LLAMA_MARKS;
    return whole_only ? most : 0;
}

/* What `ulimit -v` leaves this process, bytes; UINT64_MAX: it sets no limit. libllama ends the program
 * where small allocations fail, so this has to be asked before it loads. */
static uint64_t address_room(void) {
    struct rlimit limit;
    uint64_t pages = 0;
    if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) {
        return UINT64_MAX;
    }
    FILE *file = fopen("/proc/self/statm", "re");
    if (file != NULL) {
        pages = fscanf(file, "%" SCNu64, &pages) == 1 ? pages : 0;
        (void)fclose(file);
    }
    uint64_t taken = pages * (uint64_t)sysconf(_SC_PAGESIZE);
    return limit.rlim_cur > taken ? limit.rlim_cur - taken : 1;
}

/* MemAvailable of /proc/meminfo in bytes, or less where the process is limited; 0 where neither is known. */
static uint64_t available(void) {
    char line[128];
    uint64_t kib = 0;
    FILE *file = fopen("/proc/meminfo", "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "MemAvailable: %" SCNu64 " kB", &kib) == 1) {
            break;
        }
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    const uint64_t room = address_room(), bytes = kib * 1024;
    return room < UINT64_MAX && (bytes == 0 || room < bytes) ? room : bytes;
}

void member_facts_memory(const struct member_facts *f, struct packllm_memory *out) {
    const uint64_t row = (uint64_t)f->n_vocab * 4, chunk = MEMBER_LLAMA_CHUNK;
    const uint64_t cells = member_llama_cells(f->n_ctx, f->n_parallel, f->n_seq);
    const uint64_t scores = chunk * cells * f->n_head * 4;  /* attention of one layer */
    uint64_t buffers = chunk * row;                         /* libllama's output buffer */
    buffers += scores > chunk * row ? scores : chunk * row; /* its graph, which reuses memory */
    buffers += chunk * (4 * f->n_ff + 8 * (uint64_t)f->n_embd) * 4; /* activations */
    buffers += 24 * f->n_parallel * row; /* rows kept by the covers above */
    /* libllama's tables, ours */
    const uint64_t tables = (uint64_t)f->n_vocab * (120 + 48) + 8 * f->vocabulary;
    buffers += tables;
    buffers += (uint64_t)8 << 20; /* graphs, threads, libraries */
    *out = (struct packllm_memory){
        .weights = f->weights,
        .adapter = f->adapter,
        .kv = cells * f->kv_cell +
              (f->n_seq + member_llama_marks(f->whole_only, f->n_seq)) * f->state,
        .buffers = buffers,
        .tables = tables,
        .available = available(),
    };
    out->total = out->weights + out->kv + out->buffers;
}
