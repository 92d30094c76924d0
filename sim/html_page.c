/* The page is a file of its own, to be read and changed as such; the assembler
 * puts its bytes here. Paths are those of the build, from the root. */
#include "sim/html.h"

__asm__(".section .rodata\n"
        ".global sim_html_page_begin\n"
        ".global sim_html_page_end\n"
        "sim_html_page_begin:\n"
        ".incbin \"sim/html_page.html\"\n"
        "sim_html_page_end:\n"
        ".byte 0\n"
        ".text\n");

extern const char sim_html_page_begin[];
extern const char sim_html_page_end[];

struct slice sim_html_page(void)
{
    return slice_of(sim_html_page_begin,
                    (size_t)(sim_html_page_end - sim_html_page_begin));
}
