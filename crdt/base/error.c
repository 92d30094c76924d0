#include "crdt/base/error.h"

#include <stdarg.h>
#include <stdio.h>

const char *cm_strerror(int code)
{
    switch (code) {
    case 0:
        return "success";
#define CM_ERROR_TEXT(name, number, text)                                      \
    case name:                                                                 \
        return text;
        CM_ERROR_MAP(CM_ERROR_TEXT)
#undef CM_ERROR_TEXT
    default:
        return "unknown error";
    }
}

const char *cm_error_name(int code)
{
    switch (code) {
    case 0:
        return "CM_OK";
#define CM_ERROR_NAME(name, number, text)                                      \
    case name:                                                                 \
        return #name;
        CM_ERROR_MAP(CM_ERROR_NAME)
#undef CM_ERROR_NAME
    default:
        return "CM_ERR_UNKNOWN";
    }
}

int cm_fail(struct cm_detail *detail, int code, const char *format, ...)
{
    va_list args;

    if (detail != NULL) {
        va_start(args, format);
        (void)vsnprintf(detail->text, sizeof detail->text, format, args);
        va_end(args);
    }
    return code;
}
