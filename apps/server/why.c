/* why.c - who carried what: the members' part in each piece of a reply (packllm.why), for the page. A
 * piece is a token, or several where one alone is no whole character: its log-probabilities add up. Pieces
 * are of the bytes that were chosen, so they may run ahead of the text while a stop string may follow. */
#include <string.h>

#include "base/alloc.h"
#include "server/private.h"

void why_done(struct why *why) {
    for (size_t i = 0; i < why->n; i++) {
        base_free(why->pieces[i].members);
    }
    base_free(why->pieces);
    *why = (struct why){0};
}

static struct why_piece *open_piece(struct why *why, size_t n_members) {
    if (why->n == why->room) {
        size_t room = why->room * 2 + 32;
        struct why_piece *grown = alloc_resize(why->pieces, room, sizeof *grown);
        if (grown == NULL) {
            return NULL;
        }
        why->pieces = grown;
        why->room = room;
    }
    struct why_member *members = alloc_zero(n_members, sizeof *members);
    if (members == NULL) {
        return NULL;
    }
    why->pieces[why->n] = (struct why_piece){.at = why->end, .members = members};
    return &why->pieces[why->n++];
}

bool why_add(struct choice *c, const struct packllm_piece *piece) {
    struct why *why = &c->why;
    struct packllm_token token = {.bytes = piece->text, .size = piece->size};
    struct packllm_why told;
    struct packllm_weights weights;
    if (why->n == 0) {
        why->end = c->text.size; /* behind what echo repeats */
    }
    if (piece->token >= 0) {
        (void)packllm_pack_token(c->job->pack, c->job->display, piece->token, &token);
        token.bytes += piece->begun;
        token.size -= piece->begun;
    } else if (c->text.size + piece->size <= why->end) {
        return true; /* text that was held back, or the end: told already */
    }
    if (token.size == 0 || packllm_session_why(c->session, &told) < 0 ||
        packllm_session_weights(c->session, &weights) < 0) {
        return true;
    }
    bool more = why->character.need > 0;
    struct why_piece *p = more ? &why->pieces[why->n - 1] : open_piece(why, told.n_members);
    if (p == NULL) {
        return false;
    }
    for (size_t i = 0; i < token.size; i++) {
        (void)utf8_step(&why->character, (uint8_t)token.bytes[i]);
    }
    p->size += token.size;
    p->logprob += piece->logprob;
    p->n_members = told.n_members;
    why->end += token.size;
    for (size_t i = 0; i < told.n_members; i++) {
        struct why_member *m = &p->members[i];
        m->weight = weights.members[i].weight;
        m->name = weights.members[i].name;
        m->logprob += told.members[i].logprob;
        if (!more) {
            memcpy(m->would, told.members[i].first, sizeof m->would);
        }
    }
    return true;
}

size_t why_told(const struct choice *c, bool all) {
    size_t n = c->why.n;
    while (n > 0) {
        const struct why_piece *p = &c->why.pieces[n - 1];
        if (all ? p->at < c->text.size : p->at + p->size <= c->text.size) {
            break;
        }
        n--;
    }
    return n;
}

void why_write(struct json *json, const struct choice *c, size_t from, size_t to) {
    json_key(json, "pieces");
    json_begin_array(json);
    for (size_t i = from; i < to; i++) {
        const struct why_piece *p = &c->why.pieces[i];
        size_t end = p->at + p->size < c->text.size ? p->at + p->size : c->text.size;
        json_begin_object(json);
        json_key(json, "text");
        json_bytes(json, c->text.data + p->at, end - p->at);
        json_key_double(json, "logprob", p->logprob);
        json_key(json, "members");
        json_begin_array(json);
        for (size_t k = 0; k < p->n_members; k++) {
            const struct why_member *m = &p->members[k];
            json_begin_object(json);
            json_key_text(json, "name", m->name);
            json_key_double(json, "weight", m->weight);
            json_key_double(json, "logprob", m->logprob);
            json_key_text(json, "would", m->would[0] != '\0' ? m->would : NULL);
            json_end_object(json);
        }
        json_end_array(json);
        json_end_object(json);
    }
    json_end_array(json);
}
