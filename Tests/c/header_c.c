/* The header by itself, twice, in strict C99; and its numbers. */
#include <cadenza.h>
#include <cadenza.h>

#include <stdio.h>
#include <string.h>

int main(void) {
    char version[32];
    cadenza_load_options options;
    sprintf(version, "%d.%d.%d", CADENZA_VERSION_MAJOR, CADENZA_VERSION_MINOR, CADENZA_VERSION_PATCH);
    cadenza_load_options_init(&options);
    if (strcmp(version, CADENZA_VERSION) != 0 || strcmp(version, cadenza_version()) != 0 ||
        options.struct_size != sizeof options || options.architecture || options.architecture_size ||
        strcmp(cadenza_status_name(CADENZA_OK), "CADENZA_OK") != 0 ||
        strcmp(cadenza_status_name(CADENZA_MISMATCH), "CADENZA_MISMATCH") != 0 ||
        strcmp(cadenza_status_name((cadenza_status)99), "unknown status") != 0 || *cadenza_last_message()) {
        printf("header_c: version %s, the library's %s, or a status name, option or message is not as the header says\n",
               version, cadenza_version());
        return 1;
    }
    printf("header_c: version %s, strict C99\n", version);
    return 0;
}
