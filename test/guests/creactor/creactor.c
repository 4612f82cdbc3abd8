// The benchmarks' trivial C guest, with WASI's libc: a request is one call of an export that reads and writes memory.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static int64_t served;
static char *answer;

__attribute__((export_name("petrel_http_v1_handle"))) void handle(void) {
	served++;
	answer = malloc(64);
	if (answer != NULL)
		snprintf(answer, 64, "hello, request %lld", (long long)served);
}

// count tells how many requests the instance has served: always one when each has an instance of its own.
__attribute__((export_name("count"))) int64_t count(void) { return served; }
