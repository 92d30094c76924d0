/* What replication costs in memory, bytes and time, and how it stays so when a
 * store holds a million keys and a set of a million elements.
 *
 *   scale DIR [COUNT]      an empty directory, on the disk that is meant
 *
 * Where a full store is compared with an empty one, two replicas of two meshes
 * take turns, one commit each. Processor time is the thread's own. Memory is
 * that of a process of its own for each size, which does nothing else. One line
 * of JSON. */
#include <inttypes.h>
#include <lmdb.h>
#include <malloc.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "crdt/base/pack.h"
#include "crdt/digest.h"
#include "crdt/standing.h"
#include "node/schema.h"
#include "node/standing_read.h"
#include "tests/bench/support.h"
#include "tests/bench/support_replica.h"

#define COUNT 1000000
#define FILL_OPS 1000
#define VALUE_SIZE 100
#define ROUNDS 400
#define BURSTS 5
#define SET_ROUNDS 1000
#define MEMORY_KEYS 20000
#define MEMORY_ROUNDS 5
#define EVENT_OPS 100
#define CHECKSUM_SIZE 8
#define BIG_SET "bench/set"
#define RETIRED 10000
#define SIZES 4
#define TABLES_APART (96 << 10) /* as node/daemon.c has it */

struct result {
    double apply_ops_per_s;
    double verify_us; /* one signature: apart from the above */
    double set_ratio;
    double set_inside_ratio; /* anywhere in the set, not behind its last */
    double set_add_us;
    size_t set_delta; /* bytes beyond element, header and signature */
    double open_ms;
    uint64_t p99_full_us;
    uint64_t p99_empty_us;
    uint64_t sizes[SIZES]; /* of the stores whose memory it is: */
    long anonymous_kib[SIZES];
    double register_bytes;
    double element_bytes;
    size_t retired_state;  /* vector and standing of RETIRED that are gone */
    size_t retired_memory; /* with all that store and writer keep of them */
    uint64_t retired_disk;
};

static char value[VALUE_SIZE];

static double seconds_since(uint64_t begun_ns)
{
    return (double)(bench_now_ns() - begun_ns) / 1e9;
}

static uint64_t cpu_ns(void)
{
    struct timespec used;

    if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used) != 0)
        bench_fail("no clock of the thread");
    return (uint64_t)used.tv_sec * 1000000000 + (uint64_t)used.tv_nsec;
}

/* What the allocator only keeps is not counted. */
static long anonymous_kib(void)
{
    FILE *f = fopen("/proc/self/status", "r");
    char line[128];
    long ret = -1;

    (void)malloc_trim(0);
    if (f == NULL)
        bench_fail("no /proc/self/status");
    while (fgets(line, sizeof line, f) != NULL) {
        if (sscanf(line, "RssAnon: %ld", &ret) == 1)
            break;
    }
    (void)fclose(f);
    return ret;
}

static void key_text(char ret_text[32], uint64_t number)
{
    (void)snprintf(ret_text, 32, "bench/key%07" PRIu64, number);
}

static struct intent *puts_of(uint64_t first, size_t count)
{
    struct intent *i = intent_new(INTENT_LOCAL);
    char key[32];

    if (i == NULL)
        bench_fail("out of memory");
    for (size_t j = 0; j < count; j++) {
        struct local_op op = {.kind = OP_PUT};

        key_text(key, first + j);
        op.key = slice_of_string(key);
        op.value = slice_of(value, sizeof value);
        bench_must(intent_add_op(i, &op), "operation");
    }
    return i;
}

static struct intent *add_of(const char *set, const char *element)
{
    struct local_op op = {.kind = OP_SET_ADD,
                          .key = slice_of_string(set),
                          .element = slice_of_string(element)};

    return intent_of(&op);
}

static struct intent *adds_of(const char *set, uint64_t first, size_t count)
{
    struct intent *i = intent_new(INTENT_LOCAL);
    char element[32];

    if (i == NULL)
        bench_fail("out of memory");
    for (size_t j = 0; j < count; j++) {
        struct local_op op = {.kind = OP_SET_ADD, .key = slice_of_string(set)};

        key_text(element, first + j);
        op.element = slice_of_string(element);
        bench_must(intent_add_op(i, &op), "operation");
    }
    return i;
}

/* ---- in memory ---- */

struct memory {
    struct entry entries[MEMORY_KEYS];
    struct digest digest;
};

/* Decodes one event and applies it; its bytes live as long as the entries. */
static void apply_event(struct memory *m, struct slice bytes)
{
    struct event event;

    bench_must(event_decode(&event, bytes), "event");
    for (size_t i = 0; i < event.ops_count; i++) {
        const struct op *op = &event.ops[i];
        struct entry_id id = op_entry_id(op);
        const char *digits = (const char *)op->key.data + strlen("bench/key");
        struct entry *e;
        uint64_t number = 0;

        for (size_t j = strlen("bench/key"); j < op->key.size; j++)
            number = 10 * number + (uint64_t)(*digits++ - '0');
        e = &m->entries[number];
        for (size_t j = 0; j < e->count; j++)
            digest_remove(&m->digest, &id, &e->siblings[j]);
        bench_must(entry_apply(e, op, &event.dot, event.hlc, NULL), "apply");
        for (size_t j = 0; j < e->count; j++)
            digest_add(&m->digest, &id, &e->siblings[j]);
    }
    event_release(&event);
}

/* Every key is written MEMORY_ROUNDS times, by events of EVENT_OPS. */
static void run_memory(const char *parent, struct result *ret)
{
    struct memory *m = calloc(1, sizeof *m);
    size_t count = MEMORY_ROUNDS * MEMORY_KEYS / EVENT_OPS;
    struct commit_result **kept = calloc(count, sizeof *kept);
    struct mesh mesh = {0};
    struct event event;
    uint64_t begun;

    if (m == NULL || kept == NULL)
        bench_fail("out of memory");
    mesh_make(&mesh, parent);
    digest_init(&m->digest);
    for (size_t i = 0; i < count; i++) {
        kept[i] = replica_commit(
            &mesh.first, puts_of(i * EVENT_OPS % MEMORY_KEYS, EVENT_OPS));
        if (kept[i]->events_count != 1)
            bench_fail("not one event");
    }
    begun = cpu_ns();
    for (size_t i = 0; i < count; i++)
        apply_event(m, kept[i]->events[0].bytes);
    ret->apply_ops_per_s =
        (double)(count * EVENT_OPS) / ((double)(cpu_ns() - begun) / 1e9);
    bench_must(event_decode(&event, kept[0]->events[0].bytes), "event");
    begun = cpu_ns();
    for (size_t i = 0; i < 200; i++)
        bench_must(event_verify(&event, mesh.first.public_key), "signature");
    ret->verify_us = (double)(cpu_ns() - begun) / 200e3;
    event_release(&event);
    for (size_t i = 0; i < count; i++)
        commit_result_free(kept[i]);
    for (size_t i = 0; i < MEMORY_KEYS; i++)
        entry_release(&m->entries[i]);
    free(kept);
    free(m);
    mesh_close(&mesh);
}

/* ---- a set of a million elements ---- */

struct adds {
    struct bench_samples ns;
    size_t delta; /* the greatest */
};

static void add_one(struct replica *r, const char *set, const char *element,
                    struct adds *a)
{
    struct intent *add = add_of(set, element);
    uint64_t begun = cpu_ns();
    struct commit_result *result = replica_commit(r, add);
    struct event event;
    size_t delta;

    bench_samples_add(&a->ns, cpu_ns() - begun);
    bench_must(event_decode(&event, result->events[0].bytes), "event");
    delta = result->events[0].bytes.size - event.header.size - SIGNATURE_SIZE -
            strlen(element);
    if (delta > a->delta)
        a->delta = delta;
    event_release(&event);
    commit_result_free(result);
}

enum add_kind { ADD_BEHIND, ADD_INSIDE, ADD_EMPTY, ADD_KINDS };

/* The i-th of a kind: behind the last element, between any two, or into a set
 * that does not exist yet. */
static void add_of_kind(struct replica *r, enum add_kind kind, uint64_t count,
                        uint64_t i, uint64_t *random, struct adds *a)
{
    char set[32] = BIG_SET;
    char element[40];

    key_text(element,
             kind == ADD_INSIDE ? bench_random(random) % count : count + i);
    if (kind == ADD_INSIDE)
        (void)snprintf(element + strlen(element), 8, "+%04" PRIu64, i);
    if (kind == ADD_EMPTY)
        (void)snprintf(set, sizeof set, "bench/s%04" PRIu64, i);
    add_one(r, set, element, a);
}

/* In the same store: what differs is the size of the set. LMDB takes back what
 * the commit before the last one gave up, so commits that take strict turns
 * always write into each other's pages, and one kind gets the list of free
 * pages where it is longer. So their order is drawn anew in each round. */
static void run_set(struct replica *r, uint64_t count, struct result *ret)
{
    struct adds adds[ADD_KINDS] = {0};
    uint64_t random = 88172645463325252;
    double empty;

    for (uint64_t i = 0; i < count; i += FILL_OPS)
        commit_result_free(replica_commit(r, adds_of(BIG_SET, i, FILL_OPS)));
    for (uint64_t i = 0; i < SET_ROUNDS; i++) {
        enum add_kind order[ADD_KINDS] = {ADD_BEHIND, ADD_INSIDE, ADD_EMPTY};

        for (size_t k = ADD_KINDS; k > 0; k--) {
            size_t j = (bench_random(&random) >> 32) % k;
            enum add_kind kind = order[j];

            order[j] = order[k - 1];
            add_of_kind(r, kind, count, i, &random, &adds[kind]);
        }
    }
    for (size_t k = 0; k < ADD_KINDS; k++) {
        if (adds[k].delta > ret->set_delta)
            ret->set_delta = adds[k].delta;
    }
    empty = (double)bench_samples_at(&adds[ADD_EMPTY].ns, 500);
    ret->set_add_us = (double)bench_samples_at(&adds[ADD_BEHIND].ns, 500) / 1e3;
    ret->set_ratio = ret->set_add_us * 1e3 / empty;
    ret->set_inside_ratio =
        (double)bench_samples_at(&adds[ADD_INSIDE].ns, 500) / empty;
    for (size_t k = 0; k < ADD_KINDS; k++)
        bench_samples_release(&adds[k].ns);
}

/* ---- a million keys ---- */

static void put_one(struct replica *r, uint64_t number,
                    struct bench_samples *samples)
{
    struct intent *put = puts_of(number, 1);
    uint64_t begun = bench_now_ns();

    commit_result_free(replica_commit(r, put));
    bench_samples_add(samples, (bench_now_ns() - begun) / 1000);
}

static void run_keys(struct replica *full, struct replica *empty,
                     uint64_t count, struct result *ret)
{
    struct bench_samples in_full = {0};
    struct bench_samples in_empty = {0};
    uint64_t random = 88172645463325252;
    uint64_t begun;

    for (uint64_t i = 0; i < count; i += FILL_OPS)
        commit_result_free(replica_commit(full, puts_of(i, FILL_OPS)));
    begun = bench_now_ns();
    replica_reopen(full);
    ret->open_ms = 1e3 * seconds_since(begun);
    for (uint64_t i = 0; i < ROUNDS; i++) {
        put_one(full, bench_random(&random) % count, &in_full);
        put_one(empty, i, &in_empty);
    }
    ret->p99_full_us = bench_samples_at(&in_full, 990);
    ret->p99_empty_us = bench_samples_at(&in_empty, 990);
    bench_samples_release(&in_full);
    bench_samples_release(&in_empty);
}

/* ---- memory ---- */

static const char *below(char ret_path[512], const char *parent,
                         const char *name)
{
    (void)snprintf(ret_path, 512, "%s/%s", parent, name);
    if (mkdir(ret_path, 0700) != 0)
        bench_fail("%s cannot be made", ret_path);
    return ret_path;
}

/* FILL_OPS puts all over the keys: in a large store each changes a page of its
 * own. */
static void put_burst(struct replica *r, uint64_t number, uint64_t count)
{
    struct intent *i = intent_new(INTENT_LOCAL);
    char key[32];

    if (i == NULL)
        bench_fail("out of memory");
    for (size_t j = 0; j < FILL_OPS; j++) {
        struct local_op op = {.kind = OP_PUT};

        key_text(key, (number + j * (count / FILL_OPS)) % count);
        op.key = slice_of_string(key);
        op.value = slice_of(value, sizeof value);
        bench_must(intent_add_op(i, &op), "operation");
    }
    commit_result_free(replica_commit(r, i));
}

/* Of a store that was filled with count keys, written all over, and then one by
 * one, as the node does it: opened once, the allocator set as there, and told
 * to rest once no large transaction came for a while. */
static long memory_of(const char *dir, uint64_t count)
{
    uint64_t random = 88172645463325252;
    struct mesh mesh = {0};
    long ret;

    mesh_make(&mesh, dir);
    for (uint64_t i = 0; i < count; i += FILL_OPS)
        commit_result_free(replica_commit(&mesh.first, puts_of(i, FILL_OPS)));
    for (uint64_t i = 0; count > 0 && i < BURSTS; i++)
        put_burst(&mesh.first, bench_random(&random) % count, count);
    if (!store_rest(mesh.first.store))
        bench_fail("the store does not rest");
    for (uint64_t i = 0; i < ROUNDS; i++) {
        uint64_t number = count > 0 ? bench_random(&random) % count : i;

        commit_result_free(replica_commit(&mesh.first, puts_of(number, 1)));
    }
    ret = anonymous_kib();
    mesh_close(&mesh);
    return ret;
}

/* Each in a child that did nothing before: what another one left in the heap
 * would be counted. */
static void run_memory_of_sizes(const char *parent, uint64_t count,
                                struct result *ret)
{
    const uint64_t sizes[SIZES] = {0, FILL_OPS, count / 10, count};
    char path[512], name[32];

    for (size_t i = 0; i < SIZES; i++) {
        int status = -1;
        int ends[2];
        pid_t child;

        (void)snprintf(name, sizeof name, "size%zu", i);
        (void)below(path, parent, name);
        if (pipe(ends) != 0 || (child = fork()) < 0)
            bench_fail("no process to measure in");
        if (child == 0) {
            long kib = memory_of(path, sizes[i]);

            _exit(write(ends[1], &kib, sizeof kib) == sizeof kib ? 0 : 1);
        }
        if (waitpid(child, &status, 0) != child || status != 0 ||
            read(ends[0], &ret->anonymous_kib[i], sizeof(long)) != sizeof(long))
            bench_fail("memory of %" PRIu64 " keys cannot be measured",
                       sizes[i]);
        (void)close(ends[0]);
        (void)close(ends[1]);
        ret->sizes[i] = sizes[i];
    }
}

/* ---- bytes per entry ---- */

struct measured {
    uint64_t registers;
    uint64_t register_bytes;
    uint64_t elements;
    uint64_t element_bytes;
};

/* Of key and record all that is neither the client's text nor checksum nor the
 * two revisions, which are this node's index. */
static void measure_entry(struct measured *m, struct slice key,
                          struct slice record)
{
    struct entry_id id;
    struct slice payload;
    struct unpacker u;
    size_t bytes;

    bench_must(schema_parse_entry(&id, key), "key");
    bench_must(schema_record_open(&payload, key, record), "record");
    unpack_init(&u, payload);
    (void)unpack_uint(&u, UINT64_MAX);
    (void)unpack_uint(&u, UINT64_MAX);
    bytes = key.size + record.size - CHECKSUM_SIZE - u.position - id.key.size -
            id.element.size;
    if (id.space == SPACE_REGISTER) {
        m->registers++;
        m->register_bytes += bytes - VALUE_SIZE;
    } else if (id.space == SPACE_SET) {
        m->elements++;
        m->element_bytes += bytes;
    }
}

/* Of a store that is closed: an environment is not opened twice. */
static void run_bytes(const char *dir, struct result *ret)
{
    struct measured m = {0};
    MDB_env *env;
    MDB_txn *txn;
    MDB_cursor *cursor;
    MDB_dbi dbi;
    MDB_val k, v;

    if (mdb_env_create(&env) != 0 ||
        mdb_env_set_mapsize(env, (size_t)16 << 30) != 0 ||
        mdb_env_open(env, dir, MDB_RDONLY, 0600) != 0 ||
        mdb_txn_begin(env, NULL, MDB_RDONLY, &txn) != 0 ||
        mdb_dbi_open(txn, NULL, 0, &dbi) != 0 ||
        mdb_cursor_open(txn, dbi, &cursor) != 0)
        bench_fail("%s cannot be opened", dir);
    while (mdb_cursor_get(cursor, &k, &v, MDB_NEXT) == 0) {
        if (((const char *)k.mv_data)[0] == 'e')
            measure_entry(&m, slice_of(k.mv_data, k.mv_size),
                          slice_of(v.mv_data, v.mv_size));
    }
    mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
    mdb_env_close(env);
    if (m.registers == 0 || m.elements == 0)
        bench_fail("nothing to measure in %s", dir);
    ret->register_bytes = (double)m.register_bytes / (double)m.registers;
    ret->element_bytes = (double)m.element_bytes / (double)m.elements;
}

/* ---- incarnations that are gone ---- */

static size_t memory_in_use(void)
{
    struct mallinfo2 info = mallinfo2();

    return info.uordblks + info.hblkhd;
}

static int no_entry(void *context, struct entry_id *ret_id,
                    const struct entry **ret_entry)
{
    (void)context;
    (void)ret_id;
    (void)ret_entry;
    return CM_ERR_NOT_FOUND;
}

/* The record of a mesh in which all of vv have come, written and gone. */
static void pack_gone(struct mesh *m, const struct vv *vv, struct buffer *out)
{
    struct standing_options o = {.mesh = mesh_id_of(m->authority.public_key),
                                 .founder = m->first.incarnation,
                                 .sealed = vv};
    struct standing *s;

    o.generation = generation_id_of(1, buffer_slice(&m->order));
    memcpy(o.authority_public_key, m->authority.public_key, 32);
    memcpy(o.founder_sign_key, m->first.public_key, 32);
    bench_must(standing_create(&s, &o), "standing");
    standing_pack(out, s);
    bench_must(out->error, "standing");
    standing_free(s);
}

/* second adopts a state in which RETIRED incarnations are gone. */
static void adopt_gone(struct mesh *m)
{
    struct intent *i = intent_new(INTENT_REPLACE);
    struct replacement r = {.generation_order = buffer_slice(&m->order),
                            .next = no_entry};
    struct buffer standing;
    struct vv vv;

    if (i == NULL)
        bench_fail("out of memory");
    vv_init(&vv);
    buffer_init(&standing, 64u << 20);
    for (uint64_t k = 0; k < RETIRED; k++) {
        struct incarnation who;
        struct hash head;

        randombytes_buf(who.bytes, sizeof who.bytes);
        randombytes_buf(head.bytes, sizeof head.bytes);
        bench_must(vv_set(&vv, &who, 1000 + k, &head), "vector");
    }
    pack_gone(m, &vv, &standing);
    r.vv = &vv;
    r.standing = buffer_slice(&standing);
    i->replacement = &r;
    commit_result_free(replica_commit(&m->second, i));
    buffer_release(&standing);
    vv_release(&vv);
}

/* What an opened writer plans to drop, goes a minute later. */
static void prune_all(struct replica *r)
{
    bool due = true;

    while (due) {
        struct intent *i = intent_new(INTENT_PRUNE);
        struct commit_result *result;

        if (i == NULL)
            bench_fail("out of memory");
        result = replica_commit(r, i);
        due = result->prune_due;
        commit_result_free(result);
    }
}

/* Vector and standing alone. */
static size_t gone_in_memory(struct replica *r)
{
    struct standing *s = NULL;
    struct store_reader *reader;
    size_t before, ret;
    struct vv vv;

    bench_must(store_reader_begin(r->store, &reader), "reader");
    vv_init(&vv);
    before = memory_in_use();
    bench_must(store_vv(reader, &vv), "vector");
    bench_must(standing_read(&s, reader, NULL, NULL), "standing");
    ret = memory_in_use() - before;
    if (vv.count != RETIRED || standing_floor(s)->count < RETIRED)
        bench_fail("they are not all there");
    standing_free(s);
    vv_release(&vv);
    store_reader_release(reader);
    return ret;
}

/* That records stand in; of a store that is closed. */
static uint64_t pages_bytes(const char *dir)
{
    MDB_env *env;
    MDB_stat s;

    if (mdb_env_create(&env) != 0 ||
        mdb_env_open(env, dir, MDB_RDONLY, 0600) != 0 ||
        mdb_env_stat(env, &s) != 0)
        bench_fail("%s cannot be opened", dir);
    mdb_env_close(env);
    return (s.ms_branch_pages + s.ms_leaf_pages + s.ms_overflow_pages) *
           (uint64_t)s.ms_psize;
}

/* Pages of the store, and the memory of store and writer, opened again. */
static void run_retired(const char *parent, struct result *ret)
{
    struct mesh mesh = {0};
    size_t empty, full;

    mesh_make(&mesh, parent);
    replica_reopen(&mesh.second);
    empty = memory_in_use();
    adopt_gone(&mesh);
    replica_reopen(&mesh.second);
    prune_all(&mesh.second);
    full = memory_in_use();
    ret->retired_memory = full - empty;
    ret->retired_state = gone_in_memory(&mesh.second);
    mesh_close(&mesh);
    ret->retired_disk =
        pages_bytes(mesh.second.dir) - pages_bytes(mesh.first.dir);
}

/* ---- all ---- */

static void print_result(const struct result *r, uint64_t count)
{
    (void)printf(
        "{\"count\":%" PRIu64 ",\"apply_ops_per_s\":%.0f,\"verify_us\":%.1f,"
        "\"set_ratio\":%.3f,\"set_inside_ratio\":%.3f,\"set_add_us\":%.1f,"
        "\"set_delta\":%zu,\"open_ms\":%.1f,\"p99_full_us\":%" PRIu64
        ",\"p99_empty_us\":%" PRIu64 ",\"register_bytes\":%.1f,"
        "\"element_bytes\":%.1f,\"retired\":%d,\"retired_state\":%zu,"
        "\"retired_memory\":%zu,\"retired_disk\":%" PRIu64
        ",\"anonymous_kib\":[",
        count, r->apply_ops_per_s, r->verify_us, r->set_ratio,
        r->set_inside_ratio, r->set_add_us, r->set_delta, r->open_ms,
        r->p99_full_us, r->p99_empty_us, r->register_bytes, r->element_bytes,
        RETIRED, r->retired_state, r->retired_memory, r->retired_disk);
    for (size_t i = 0; i < SIZES; i++)
        (void)printf("%s[%" PRIu64 ",%ld]", i > 0 ? "," : "", r->sizes[i],
                     r->anonymous_kib[i]);
    (void)printf("]}\n");
}

int main(int argc, char **argv)
{
    struct mesh full = {0};
    struct mesh empty = {0};
    struct result r = {0};
    uint64_t count = argc == 3 ? bench_number(argv[2], "COUNT") : COUNT;
    char path[512];

    if (argc < 2 || argc > 3 || count == 0 || count % (10 * FILL_OPS) != 0)
        bench_fail("usage: scale DIR [COUNT]; COUNT in ten thousands");
    if (sodium_init() < 0)
        bench_fail("libsodium does not start");
    memset(value, 'v', sizeof value);
    (void)mallopt(M_MMAP_THRESHOLD, TABLES_APART);
    run_memory_of_sizes(argv[1], count, &r);
    run_memory(below(path, argv[1], "memory"), &r);
    run_retired(below(path, argv[1], "retired"), &r);
    mesh_make(&full, below(path, argv[1], "full"));
    mesh_make(&empty, below(path, argv[1], "empty"));
    run_keys(&full.first, &empty.first, count, &r);
    run_set(&full.first, count, &r);
    mesh_close(&full);
    mesh_close(&empty);
    run_bytes(full.first.dir, &r);
    print_result(&r, count);
    return 0;
}
