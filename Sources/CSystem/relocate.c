/* The library's relative relocations, applied by itself.
 *
 * Class metadata and tables are addresses in the library, three thousand of them, which the system's loader would adjust by a
 * table of 24 bytes each: a fourteenth of the library. The linker can pack them into bits (the RELR format of the ELF
 * specification), but glibc reads those only since 2.36. So they are packed under a tag that no glibc knows (Makefile), and this
 * function, which the loader calls before anything else of the library, applies them. */
#include <elf.h>
#include <link.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

enum { TAG = 0x6fffe000, TAG_SIZE = 0x6fffe001 }; /* DT_ANDROID_RELR, DT_ANDROID_RELRSZ */

/* Both are the linker's. */
extern const ElfW(Ehdr) __ehdr_start __attribute__((visibility("hidden")));
extern ElfW(Dyn) _DYNAMIC[] __attribute__((visibility("hidden")));

void cz_relocate(void) __attribute__((visibility("hidden")));

void cz_relocate(void) {
    const uintptr_t base = (uintptr_t)&__ehdr_start, page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t *next = NULL, *end = NULL;
    for (const ElfW(Dyn) *entry = _DYNAMIC; entry->d_tag != DT_NULL; entry++) {
        if (entry->d_tag == TAG) next = (const uintptr_t *)(base + entry->d_un.d_ptr);
    }
    for (const ElfW(Dyn) *entry = _DYNAMIC; next && entry->d_tag != DT_NULL; entry++) {
        if (entry->d_tag == TAG_SIZE) end = next + entry->d_un.d_val / sizeof *next;
    }
    if (!end) return;

    /* What is only read later is protected by now. */
    const ElfW(Phdr) *header = (const ElfW(Phdr) *)(base + __ehdr_start.e_phoff), *last = header + __ehdr_start.e_phnum;
    while (header < last && header->p_type != PT_GNU_RELRO) header++;
    void *guarded = NULL;
    size_t size = 0;
    if (header < last) {
        uintptr_t first = (base + header->p_vaddr) / page * page;
        guarded = (void *)first;
        size = (base + header->p_vaddr + header->p_memsz) / page * page - first;
        mprotect(guarded, size, PROT_READ | PROT_WRITE);
    }

    /* An even word is the address of one; an odd one tells by its bits which of the 63 words that follow are others. */
    uintptr_t *place = NULL;
    for (; next < end; next++) {
        if (*next % 2 == 0) {
            place = (uintptr_t *)(base + *next);
            *place++ += base;
        } else {
            for (int bit = 1; bit < 64; bit++)
                if (*next >> bit & 1) place[bit - 1] += base;
            place += 63;
        }
    }
    if (size) mprotect(guarded, size, PROT_READ);
}
