/* Plays every scenario, then the soak, then the same mux over sockets. An argument is another seed. */

#include "scenarios.h"

const char *check_scenario = "start";

static void play(const struct scenario *scenarios) {
    static struct stage stage;
    for (; scenarios->name != NULL; scenarios++) {
        check_scenario = scenarios->name;
        scenarios->play(&stage);
        stage_close(&stage);
        printf("%s ok\n", check_scenario);
    }
}

int main(int count, char **arguments) {
    uint64_t seed = count > 1 ? strtoull(arguments[1], NULL, 0) : 0;
    seed += 0x9e3779b97f4a7c15u;
    play(QUEUE_SCENARIOS);
    play(DECODE_SCENARIOS);
    play(END_SCENARIOS);
    check_scenario = "soak";
    soak(seed, 1000000);
    check_scenario = "sockets";
    sockets(seed);
    low_water_mark();
    return 0;
}
