/*
 * The library's calls of the C library's allocator, seen by `--wrap` (`counted.c`). They are allowed in calls that make
 * and free pools, and nowhere else: another call that allocates or frees ends the program, and so does an end with
 * memory that is not freed. A call that makes a pool without an allocation ends it too: its allocations would go
 * unseen.
 */
#ifndef COUNTED_H
#define COUNTED_H

/* Allocations and mappings so far, and those that were freed. */
unsigned long counted_allocations(void);
unsigned long counted_frees(void);

/* This many more succeed, and the next is refused: it alone, or all from there on. */
void counted_refuse(unsigned long succeed, int for_ever);

/* None is refused any more; returns how many were since this was called last, also those that the system refused. */
unsigned long counted_refused(void);

#endif /* COUNTED_H */
