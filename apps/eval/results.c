/* results.c - see results.h. The only file that includes SQLite's header. */
#include "eval/results.h"

#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/status.h"

/* "packllm eval" in the file's header, and the version of the tables. */
enum { APPLICATION = 0x706b6c65, FORMAT = 1, WAIT_MS = 10000 };

struct results {
    sqlite3 *db;
    sqlite3_stmt *get, *put;
    const char *path;
};

/* What to do about SQLite's codes that a user can do something about. */
static const char *way_out(int code) {
    switch (code) {
    case SQLITE_NOTADB:
        return "; give another --results";
    case SQLITE_CORRUPT:
        return "; to start anew delete it, or give another --results";
    case SQLITE_CANTOPEN:
        return "; give a --results in a folder that can be written";
    case SQLITE_IOERR:
        return "; look after the disk, then the same command goes on";
    case SQLITE_FULL:
        return "; make room, then the same command goes on";
    case SQLITE_READONLY:
        return "; make it writable, or give another --results";
    default:
        return "";
    }
}

static enum packllm_status failed(const struct results *r, struct packllm_error *err) {
    int code = r->db != NULL ? sqlite3_errcode(r->db) : SQLITE_OK;
    /* Which of the two it is depends on where the work stands when the file goes. */
    bool moved = r->db != NULL && sqlite3_extended_errcode(r->db) == SQLITE_READONLY_DBMOVED;
    if (moved || (code == SQLITE_IOERR && access(r->path, F_OK) != 0)) {
        return fail(err, PACKLLM_E_IO, PACKLLM_NO_MEMBER,
                    "results file '%s': it was moved or deleted meanwhile; start again", r->path);
    }
    return fail(err, PACKLLM_E_IO, PACKLLM_NO_MEMBER, "results file '%s': %s%s", r->path,
                code == SQLITE_NOTADB ? "it is no results file of packllm eval"
                                      : sqlite3_errmsg(r->db),
                way_out(code));
}

static bool run(struct results *r, const char *sql) {
    return sqlite3_exec(r->db, sql, NULL, NULL, NULL) == SQLITE_OK;
}

static int64_t number(struct results *r, const char *sql) {
    sqlite3_stmt *ask = NULL;
    int64_t value = -1;
    if (sqlite3_prepare_v2(r->db, sql, -1, &ask, NULL) == SQLITE_OK &&
        sqlite3_step(ask) == SQLITE_ROW) {
        value = sqlite3_column_int64(ask, 0);
    }
    (void)sqlite3_finalize(ask);
    return value;
}

static bool begin(struct results *r) {
    char sql[128];
    (void)snprintf(sql, sizeof sql, "PRAGMA application_id = %d; PRAGMA user_version = %d;",
                   APPLICATION, FORMAT);
    return run(r, "CREATE TABLE settings(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
                  "CREATE TABLE items(task TEXT NOT NULL, id TEXT NOT NULL, hash INTEGER NOT NULL,"
                  " figures TEXT NOT NULL, PRIMARY KEY(task, id)) WITHOUT ROWID;") &&
           run(r, sql);
}

/* Where two texts part, with a few characters before it, so that what is shown differs. */
static size_t parting(const char *a, const char *b) {
    size_t same = 0;
    while (a[same] != '\0' && a[same] == b[same]) {
        same++;
    }
    size_t from = same > 160 ? same - 40 : 0;
    while (from > 0 && ((unsigned char)a[from] & 0xc0) == 0x80) {
        from--;
    }
    return from;
}

static enum packllm_status differs(const struct results *r, const char *key, const char *there,
                                   const char *here, struct packllm_error *err) {
    size_t from = parting(there, here);
    const char *dots = from > 0 ? "…" : "";
    return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                "results file '%s' is of another run, %s: '%s%.200s' there, '%s%.200s' here; to "
                "start anew give another --results, or delete the file",
                r->path, key, dots, there + from, dots, here + from);
}

/* Writes the setting where there is none, else it must be the same. */
static enum packllm_status settle(struct results *r, const struct results_setting *setting,
                                  bool fresh, struct packllm_error *err) {
    sqlite3_stmt *ask = NULL;
    enum packllm_status status = PACKLLM_OK;
    const char *sql = fresh ? "INSERT INTO settings(key, value) VALUES(?1, ?2)"
                            : "SELECT value FROM settings WHERE key = ?1";
    if (sqlite3_prepare_v2(r->db, sql, -1, &ask, NULL) != SQLITE_OK ||
        sqlite3_bind_text(ask, 1, setting->key, -1, SQLITE_STATIC) != SQLITE_OK ||
        (fresh && sqlite3_bind_text(ask, 2, setting->value, -1, SQLITE_STATIC) != SQLITE_OK)) {
        status = failed(r, err);
    } else {
        int step = sqlite3_step(ask);
        const char *there =
            step == SQLITE_ROW ? (const char *)sqlite3_column_text(ask, 0) : "nothing";
        if (step != SQLITE_ROW && step != SQLITE_DONE) {
            status = failed(r, err);
        } else if (!fresh && strcmp(there, setting->value) != 0) {
            status = differs(r, setting->key, there, setting->value, err);
        }
    }
    (void)sqlite3_finalize(ask);
    return status;
}

static enum packllm_status open_tables(struct results *r, const struct results_setting *settings,
                                       size_t n, struct packllm_error *err) {
    enum packllm_status status = PACKLLM_OK;
    if (!run(r, "BEGIN IMMEDIATE")) {
        return failed(r, err);
    }
    bool fresh = number(r, "SELECT count(*) FROM sqlite_master") == 0;
    int64_t application = number(r, "PRAGMA application_id");
    int64_t format = number(r, "PRAGMA user_version");
    char there[32], here[32];
    (void)snprintf(there, sizeof there, "%lld", (long long)format);
    (void)snprintf(here, sizeof here, "%d", FORMAT);
    if (fresh && !begin(r)) {
        status = failed(r, err);
    } else if (!fresh && application != APPLICATION) {
        status = fail(err, PACKLLM_E_IO, PACKLLM_NO_MEMBER,
                      "results file '%s': it is no results file of packllm eval; give another "
                      "--results",
                      r->path);
    } else if (!fresh && format != FORMAT) {
        status = differs(r, "version of the file", there, here, err);
    }
    for (size_t i = 0; i < n && status >= 0; i++) {
        status = settle(r, &settings[i], fresh, err);
    }
    if (!run(r, status >= 0 ? "COMMIT" : "ROLLBACK") && status >= 0) {
        status = failed(r, err);
    }
    return status;
}

enum packllm_status results_open(struct results **out, const char *path,
                                 const struct results_setting *settings, size_t n,
                                 struct packllm_error *err) {
    struct results *r = alloc_zero(1, sizeof *r);
    if (r == NULL) {
        return fail_memory(err, sizeof *r);
    }
    enum packllm_status status = PACKLLM_OK;
    r->path = path != NULL ? path : ":memory:";
    if (sqlite3_open_v2(r->path, &r->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) !=
            SQLITE_OK ||
        sqlite3_busy_timeout(r->db, WAIT_MS) != SQLITE_OK ||
        !run(r, "PRAGMA synchronous = NORMAL")) {
        status = failed(r, err);
    }
    if (status >= 0) {
        status = open_tables(r, settings, n, err);
    }
    if (status >= 0 &&
        (sqlite3_prepare_v2(r->db, "SELECT hash, figures FROM items WHERE task = ?1 AND id = ?2",
                            -1, &r->get, NULL) != SQLITE_OK ||
         sqlite3_prepare_v2(r->db,
                            "INSERT OR REPLACE INTO items(task, id, hash, figures) "
                            "VALUES(?1, ?2, ?3, ?4)",
                            -1, &r->put, NULL) != SQLITE_OK)) {
        status = failed(r, err);
    }
    if (status < 0) {
        results_close(r);
        return status;
    }
    *out = r;
    return PACKLLM_OK;
}

void results_close(struct results *r) {
    if (r == NULL) {
        return;
    }
    (void)sqlite3_finalize(r->get);
    (void)sqlite3_finalize(r->put);
    (void)sqlite3_close(r->db);
    base_free(r);
}

enum packllm_status results_get(struct results *r, const char *task, const char *id, uint64_t hash,
                                bool *out_found, struct buf *out, struct packllm_error *err) {
    enum packllm_status status = PACKLLM_OK;
    (void)sqlite3_reset(r->get);
    (void)sqlite3_bind_text(r->get, 1, task, -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(r->get, 2, id, -1, SQLITE_STATIC);
    int step = sqlite3_step(r->get);
    *out_found = step == SQLITE_ROW;
    if (step != SQLITE_ROW && step != SQLITE_DONE) {
        status = failed(r, err);
    } else if (*out_found && (uint64_t)sqlite3_column_int64(r->get, 0) != hash) {
        status = fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                      "results file '%s': question '%s' of %s reads differently now; to start anew "
                      "give another --results, or delete the file",
                      r->path, id, task);
    } else if (*out_found && !buf_add_text(out, (const char *)sqlite3_column_text(r->get, 1))) {
        status = fail_memory(err, out->size);
    }
    (void)sqlite3_reset(r->get);
    return status;
}

enum packllm_status results_put(struct results *r, const char *task, const char *id, uint64_t hash,
                                const struct buf *figures, struct packllm_error *err) {
    (void)sqlite3_reset(r->put);
    (void)sqlite3_bind_text(r->put, 1, task, -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(r->put, 2, id, -1, SQLITE_STATIC);
    (void)sqlite3_bind_int64(r->put, 3, (sqlite3_int64)hash);
    (void)sqlite3_bind_text(r->put, 4, figures->data, (int)figures->size, SQLITE_STATIC);
    enum packllm_status status = sqlite3_step(r->put) == SQLITE_DONE ? PACKLLM_OK : failed(r, err);
    (void)sqlite3_reset(r->put);
    return status;
}
