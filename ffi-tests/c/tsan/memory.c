/*
 * What a library that LLVM instruments for ThreadSanitizer calls, and GCC's runtime does not have under these names: it
 * intercepts the C library's functions instead.
 */
#include <string.h>

void *__tsan_memcpy(void *to, const void *from, size_t bytes);
void *__tsan_memmove(void *to, const void *from, size_t bytes);
void *__tsan_memset(void *to, int byte, size_t bytes);

void *__tsan_memcpy(void *to, const void *from, size_t bytes) {
    return memcpy(to, from, bytes);
}

void *__tsan_memmove(void *to, const void *from, size_t bytes) {
    return memmove(to, from, bytes);
}

void *__tsan_memset(void *to, int byte, size_t bytes) {
    return memset(to, byte, bytes);
}
