/* The page is a file of its own, to be read and changed as such; the assembler
 * puts its bytes here. Paths are those of the build, from the root. */
#include "sim/html.h"

__asm__(".section .rodata\n"
        ".global sim_html_page_bytes\n"
        ".global sim_html_page_size\n"
        "sim_html_page_bytes:\n"
        ".incbin \"sim/html_page.html\"\n"
        "1:\n"
        ".byte 0\n"
        ".balign 8\n"
        "sim_html_page_size:\n"
        ".8byte 1b - sim_html_page_bytes\n"
        ".text\n");

extern const char sim_html_page_bytes[];
extern const uint64_t sim_html_page_size;

struct slice sim_html_page(void)
{
    return slice_of(sim_html_page_bytes, (size_t)sim_html_page_size);
}
