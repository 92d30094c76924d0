/* Why not getopt_long: it abbreviates silently, cannot suggest, and prints by
 * itself. This one is a table and a loop. */
#include "node/args.h"

#include <string.h>
#include <time.h>

#include "crdt/base/check.h"

#define FLAG_NAME_MAX 40
#define CANDIDATES_MAX 128
#define DURATION_MS_MAX (UINT64_C(3650) * 86400000)

/* Levenshtein distance of the first FLAG_NAME_MAX characters. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t row[FLAG_NAME_MAX + 1];
    size_t a_size = strnlen(a, FLAG_NAME_MAX);
    size_t b_size = strnlen(b, FLAG_NAME_MAX);
    size_t i;
    size_t j;

    for (j = 0; j <= b_size; j++)
        row[j] = j;
    for (i = 1; i <= a_size; i++) {
        size_t diagonal = row[0];

        row[0] = i;
        for (j = 1; j <= b_size; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);

            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[b_size];
}

const char *args_nearest(const char *word, const char *const *candidates,
                         size_t count)
{
    const char *ret = NULL;
    size_t limit, best, i;

    CHECK(word != NULL);
    CHECK(candidates != NULL || count == 0);
    limit = strlen(word) / 3 + 1;
    best = limit + 1;
    for (i = 0; i < count; i++) {
        size_t distance = edit_distance(word, candidates[i]);
        size_t size = strlen(word);

        /* A prefix that was not finished typing is near, too. */
        if (size >= 3 && strncmp(word, candidates[i], size) == 0)
            distance = 1;
        if (distance < best) {
            best = distance;
            ret = candidates[i];
        }
    }
    return ret;
}

static int fail_unknown(const struct args_flag *flags, size_t flags_count,
                        const char *name, struct cm_detail *detail)
{
    const char *names[CANDIDATES_MAX];
    const char *nearest;
    size_t i;

    CHECK(flags_count <= CANDIDATES_MAX);
    for (i = 0; i < flags_count; i++)
        names[i] = flags[i].name;
    nearest = args_nearest(name, names, flags_count);
    if (nearest != NULL)
        return cm_fail(detail, CM_ERR_INVALID,
                       "unknown flag --%s; did you mean --%s?", name, nearest);
    return cm_fail(detail, CM_ERR_INVALID,
                   "unknown flag --%s; --help lists the flags (a word that "
                   "begins with dashes goes after --)",
                   name);
}

static struct args_flag *find_flag(struct args_flag *flags, size_t flags_count,
                                   const char *name, size_t name_size)
{
    size_t i;

    for (i = 0; i < flags_count; i++) {
        if (strlen(flags[i].name) == name_size &&
            memcmp(flags[i].name, name, name_size) == 0)
            return &flags[i];
    }
    return NULL;
}

/* Handles argv[at], a flag, and its value; ret_next is where to go on. */
static int parse_flag(struct args_flag *flags, size_t flags_count, int argc,
                      char **argv, int at, int *ret_next,
                      struct cm_detail *detail)
{
    const char *name = argv[at] + 2;
    const char *equals = strchr(name, '=');
    size_t name_size = equals != NULL ? (size_t)(equals - name) : strlen(name);
    struct args_flag *flag;

    if (strcmp(argv[at], "-h") == 0) {
        name = "help";
        name_size = 4;
    } else if (argv[at][1] != '-') {
        return cm_fail(detail, CM_ERR_INVALID,
                       "unknown flag %s; flags are long, as --data (a word "
                       "that begins with a dash goes after --)",
                       argv[at]);
    }
    flag = find_flag(flags, flags_count, name, name_size);
    if (flag == NULL) {
        char text[FLAG_NAME_MAX + 1] = {0};

        memcpy(text, name,
               name_size < FLAG_NAME_MAX ? name_size : FLAG_NAME_MAX);
        return fail_unknown(flags, flags_count, text, detail);
    }
    *ret_next = at + 1;
    if (flag->kind == ARGS_SWITCH) {
        if (equals != NULL)
            return cm_fail(detail, CM_ERR_INVALID, "--%s takes no value",
                           flag->name);
        flag->count++;
        return 0;
    }
    if ((flag->kind == ARGS_VALUE || flag->kind == ARGS_OPTIONAL) &&
        flag->count == 1)
        return cm_fail(detail, CM_ERR_INVALID,
                       "--%s is given twice; give it once", flag->name);
    if (flag->count == ARGS_VALUES_MAX)
        return cm_fail(detail, CM_ERR_INVALID,
                       "--%s is given more than %d times", flag->name,
                       ARGS_VALUES_MAX);
    if (flag->kind == ARGS_OPTIONAL) {
        flag->values[flag->count++] = equals != NULL ? equals + 1 : NULL;
        return 0;
    }
    if (equals == NULL && at + 1 == argc)
        return cm_fail(detail, CM_ERR_INVALID,
                       "--%s needs a value: --%s VALUE or --%s=VALUE",
                       flag->name, flag->name, flag->name);
    if (equals == NULL)
        *ret_next = at + 2;
    flag->values[flag->count++] = equals != NULL ? equals + 1 : argv[at + 1];
    return 0;
}

int args_parse(struct args *ret_args, struct args_flag *flags,
               size_t flags_count, int argc, char **argv,
               struct cm_detail *detail)
{
    bool flags_ended = false;
    size_t words = 0;
    size_t i;
    int at = 1;

    CHECK(argv != NULL);
    CHECK(flags != NULL || flags_count == 0);
    for (i = 0; i < flags_count; i++)
        flags[i].count = 0;
    while (at < argc) {
        char *word = argv[at];

        if (!flags_ended && strcmp(word, "--") == 0) {
            flags_ended = true;
            at++;
        } else if (flags_ended || word[0] != '-' || word[1] == '\0') {
            argv[1 + words++] = word;
            at++;
        } else {
            int next = at;
            int error =
                parse_flag(flags, flags_count, argc, argv, at, &next, detail);

            if (error != 0)
                return error;
            CHECK(next > at);
            at = next;
        }
    }
    *ret_args = (struct args){.words = argv + 1, .words_count = words};
    return 0;
}

const struct args_flag *args_flag_find(const struct args_flag *flags,
                                       size_t flags_count, const char *name)
{
    size_t i;

    CHECK(name != NULL);
    for (i = 0; i < flags_count; i++) {
        if (strcmp(flags[i].name, name) == 0)
            return &flags[i];
    }
    CHECK(!"the table has no flag of this name");
    return NULL;
}

bool args_given(const struct args_flag *flags, size_t flags_count,
                const char *name)
{
    return args_flag_find(flags, flags_count, name)->count > 0;
}

const char *args_value(const struct args_flag *flags, size_t flags_count,
                       const char *name, const char *fallback)
{
    const struct args_flag *flag = args_flag_find(flags, flags_count, name);

    CHECK(flag->kind != ARGS_SWITCH);
    return flag->count > 0 ? flag->values[0] : fallback;
}

/* Leading digits; ret_rest is what follows them. */
static int parse_digits(uint64_t *ret_number, const char *text, uint64_t max,
                        const char **ret_rest)
{
    uint64_t number = 0;
    const char *p = text;

    for (; *p >= '0' && *p <= '9'; p++) {
        uint64_t digit = (uint64_t)(*p - '0');

        if (number > (max - digit) / 10 || digit > max)
            return CM_ERR_INVALID;
        number = number * 10 + digit;
    }
    if (p == text)
        return CM_ERR_INVALID;
    *ret_number = number;
    *ret_rest = p;
    return 0;
}

int args_number(uint64_t *ret_number, const char *text, uint64_t max,
                const char *field, struct cm_detail *detail)
{
    const char *rest = "";
    uint64_t number;

    CHECK(text != NULL && field != NULL);
    if (parse_digits(&number, text, max, &rest) != 0 || *rest != '\0')
        return cm_fail(detail, CM_ERR_INVALID,
                       "%s is '%.40s', but must be a number from 0 to %llu",
                       field, text, (unsigned long long)max);
    *ret_number = number;
    return 0;
}

int args_duration_ms(uint64_t *ret_ms, const char *text, const char *field,
                     struct cm_detail *detail)
{
    static const struct {
        const char *name;
        uint64_t ms;
    } units[] = {{"", 1000},   {"ms", 1},      {"s", 1000},
                 {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    const char *rest = "";
    uint64_t number;
    size_t i;

    CHECK(text != NULL && field != NULL);
    if (parse_digits(&number, text, DURATION_MS_MAX, &rest) == 0) {
        for (i = 0; i < sizeof units / sizeof units[0]; i++) {
            if (strcmp(rest, units[i].name) == 0 &&
                number <= DURATION_MS_MAX / units[i].ms) {
                *ret_ms = number * units[i].ms;
                return 0;
            }
        }
    }
    return cm_fail(detail, CM_ERR_INVALID,
                   "%s is '%.40s', but must be a duration such as 500ms, 30s, "
                   "5m, 2h or 7d (at most 3650d)",
                   field, text);
}

/* "Z" or "+HH:MM"; seconds east of Greenwich. */
static bool parse_offset(const char *text, int64_t *ret_s)
{
    int hours, minutes;

    if (strcmp(text, "Z") == 0 || strcmp(text, "z") == 0) {
        *ret_s = 0;
        return true;
    }
    if ((text[0] != '+' && text[0] != '-') || strlen(text) != 6 ||
        text[3] != ':' || strspn(text + 1, "0123456789") != 2 ||
        strspn(text + 4, "0123456789") != 2)
        return false;
    hours = (text[1] - '0') * 10 + text[2] - '0';
    minutes = (text[4] - '0') * 10 + text[5] - '0';
    *ret_s = (text[0] == '-' ? -60 : 60) * (int64_t)(hours * 60 + minutes);
    return hours < 24 && minutes < 60;
}

static bool parse_time(uint64_t *ret_ms, const char *text)
{
    struct tm tm = {.tm_year = 0};
    const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    int64_t seconds, offset;
    uint64_t ms = 0;

    if (rest == NULL || text[4] != '-')
        return false;
    if (rest[0] == '.') {
        size_t digits = strspn(rest + 1, "0123456789");
        uint64_t scale = 100;

        if (digits == 0)
            return false;
        for (size_t i = 0; i < digits; i++, scale /= 10)
            ms += (uint64_t)(rest[1 + i] - '0') * scale;
        rest += 1 + digits;
    }
    if (!parse_offset(rest, &offset))
        return false;
    seconds = (int64_t)timegm(&tm) - offset;
    if (seconds < 0)
        return false;
    *ret_ms = (uint64_t)seconds * 1000 + ms;
    return true;
}

int args_time_ms(uint64_t *ret_ms, const char *text, const char *field,
                 struct cm_detail *detail)
{
    const char *rest = "";
    uint64_t seconds;

    CHECK(text != NULL && field != NULL);
    if (parse_digits(&seconds, text, UINT64_MAX / 1000, &rest) == 0 &&
        *rest == '\0') {
        *ret_ms = seconds * 1000;
        return 0;
    }
    if (parse_time(ret_ms, text))
        return 0;
    return cm_fail(detail, CM_ERR_INVALID,
                   "%s is '%.40s', but must be a time such as "
                   "2026-11-21T10:00:00Z, or seconds since 1970",
                   field, text);
}
