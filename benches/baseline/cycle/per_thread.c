/* A list and queues for each thread, without a lock. */
#include "per_thread.h"

#include "pooled.h"
