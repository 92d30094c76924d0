/* The terminal is /dev/tty, not standard input, so that a value can be piped in
 * while a passphrase is typed. */
#include "node/passphrase.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "crdt/base/check.h"

int passphrase_source_check(const struct passphrase_source *source,
                            struct cm_detail *detail)
{
    CHECK(source != NULL);
    if (source->file != NULL && source->none)
        return cm_fail(detail, CM_ERR_INVALID,
                       "--passphrase-file and --no-passphrase exclude each "
                       "other; give one of them");
    return 0;
}

/* One line without its end, byte by byte so that nothing after it is taken. */
static int read_line(struct passphrase *ret, int fd, const char *from,
                     struct cm_detail *detail)
{
    char c;

    ret->size = 0;
    for (;;) {
        ssize_t got = read(fd, &c, 1);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return cm_fail(detail, CM_ERR_IO,
                           "cannot read the passphrase from %s: %s", from,
                           strerror(errno));
        if (got == 0 || c == '\n')
            break;
        if (ret->size == PASSPHRASE_SIZE_MAX)
            return cm_fail(detail, CM_ERR_TOO_LARGE,
                           "the passphrase in %s is longer than %d bytes", from,
                           PASSPHRASE_SIZE_MAX);
        ret->text[ret->size++] = c;
    }
    if (ret->size > 0 && ret->text[ret->size - 1] == '\r')
        ret->size--;
    ret->text[ret->size] = '\0';
    CHECK(ret->size <= PASSPHRASE_SIZE_MAX);
    return 0;
}

static int read_file(struct passphrase *ret, const char *path,
                     struct cm_detail *detail)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int error;

    if (fd < 0)
        return cm_fail(detail, CM_ERR_IO,
                       "cannot open the passphrase file %s: %s", path,
                       strerror(errno));
    error = read_line(ret, fd, path, detail);
    (void)close(fd);
    if (error == 0 && ret->size == 0)
        error = cm_fail(detail, CM_ERR_INVALID,
                        "the first line of the passphrase file %s is empty; "
                        "use --no-passphrase to have none",
                        path);
    return error;
}

static void say(int fd, const char *text)
{
    size_t size = strlen(text);

    while (size > 0) {
        ssize_t put = write(fd, text, size);

        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return; /* an unseen prompt is not fatal */
        text += put;
        size -= (size_t)put;
    }
}

static int ask(struct passphrase *ret, int tty, const char *prompt,
               const char *what, struct cm_detail *detail)
{
    struct termios before;
    struct termios quiet;
    int error;

    if (tcgetattr(tty, &before) != 0)
        return cm_fail(detail, CM_ERR_IO, "cannot use the terminal: %s",
                       strerror(errno));
    quiet = before;
    quiet.c_lflag &= ~(tcflag_t)ECHO;
    if (tcsetattr(tty, TCSAFLUSH, &quiet) != 0)
        return cm_fail(detail, CM_ERR_IO,
                       "cannot switch the terminal's echo off: %s",
                       strerror(errno));
    say(tty, prompt);
    say(tty, what);
    say(tty, ": ");
    error = read_line(ret, tty, "the terminal", detail);
    (void)tcsetattr(tty, TCSAFLUSH, &before);
    say(tty, "\n");
    if (error == 0 && ret->size == 0)
        error = cm_fail(detail, CM_ERR_INVALID,
                        "the passphrase is empty; use --no-passphrase to have "
                        "none");
    return error;
}

static int ask_terminal(struct passphrase *ret, const char *what, bool confirm,
                        struct cm_detail *detail)
{
    int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    struct passphrase again = {0};
    int error;

    if (tty < 0)
        return cm_fail(detail, CM_ERR_NOT_FOUND,
                       "there is no terminal to ask for the passphrase of %s; "
                       "give --passphrase-file FILE or --no-passphrase",
                       what);
    error = ask(ret, tty, confirm ? "New passphrase for " : "Passphrase of ",
                what, detail);
    if (error == 0 && confirm) {
        error = ask(&again, tty, "Again, for ", what, detail);
        if (error == 0 &&
            (again.size != ret->size ||
             sodium_memcmp(again.text, ret->text, ret->size) != 0))
            error = cm_fail(detail, CM_ERR_INVALID,
                            "the two passphrases differ; try again");
    }
    passphrase_clear(&again);
    (void)close(tty);
    return error;
}

int passphrase_read(struct passphrase *ret_passphrase,
                    const struct passphrase_source *source, const char *what,
                    bool confirm, struct cm_detail *detail)
{
    int error = passphrase_source_check(source, detail);

    CHECK(ret_passphrase != NULL && what != NULL);
    ret_passphrase->size = 0;
    ret_passphrase->text[0] = '\0';
    if (error == 0 && source->file != NULL)
        error = read_file(ret_passphrase, source->file, detail);
    else if (error == 0 && !source->none)
        error = ask_terminal(ret_passphrase, what, confirm, detail);
    if (error != 0)
        passphrase_clear(ret_passphrase);
    return error;
}

struct slice passphrase_slice(const struct passphrase *p)
{
    CHECK(p->size <= PASSPHRASE_SIZE_MAX);
    return slice_of(p->text, p->size);
}

void passphrase_clear(struct passphrase *p)
{
    CHECK(p != NULL);
    sodium_memzero(p, sizeof *p);
}
