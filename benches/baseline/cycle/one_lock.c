/* One lock for all threads. */
#include "one_lock.h"

#include "pooled.h"
