#include "sched.h"

#include <stddef.h>

void sched_wake(struct sched *sched, struct tasklet *tasklet, uint32_t reasons) {
    tasklet->reasons |= reasons;
    if (tasklet->queued) {
        return;
    }
    tasklet->queued = true;
    tasklet->next = NULL;
    if (sched->last != NULL) {
        sched->last->next = tasklet;
    } else {
        sched->first = tasklet;
    }
    sched->last = tasklet;
}

void sched_remove(struct sched *sched, struct tasklet *tasklet) {
    struct tasklet *before = NULL;
    for (struct tasklet *at = sched->first; at != NULL; before = at, at = at->next) {
        if (at != tasklet) {
            continue;
        }
        if (before != NULL) {
            before->next = at->next;
        } else {
            sched->first = at->next;
        }
        if (sched->last == at) {
            sched->last = before;
        }
        break;
    }
    tasklet->queued = false;
    tasklet->reasons = 0;
}

bool sched_run(struct sched *sched) {
    struct tasklet *tasklet = sched->first;
    if (tasklet == NULL) {
        return false;
    }
    sched->first = tasklet->next;
    if (sched->first == NULL) {
        sched->last = NULL;
    }
    uint32_t reasons = tasklet->reasons;
    tasklet->queued = false;
    tasklet->reasons = 0;
    tasklet->run(tasklet->context, reasons);
    return true;
}
