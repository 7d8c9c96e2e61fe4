/*
 * What the library asks of the C library's allocator, seen by `--wrap` (`counted.c`). It may ask in the calls that make
 * and free pools, and nowhere else: another call that allocates or frees ends the program, and so does an end at which
 * not all is given back. A call that makes a pool and asks for nothing ends it too: what it asks would not be seen.
 */
#ifndef COUNTED_H
#define COUNTED_H

/* Allocations and mappings that were had so far, and those that were given back. */
unsigned long counted_allocations(void);
unsigned long counted_frees(void);

/* So many more are had, and the next is refused: it alone, or all from there on. */
void counted_refuse(unsigned long succeed, int for_ever);

/* None is refused any more; returns how many were since this was called last, also those that the system refused. */
unsigned long counted_refused(void);

#endif /* COUNTED_H */
