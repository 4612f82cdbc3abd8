// The smallest C guest that keeps something.
#include <stdlib.h>
#include <string.h>

static int served;
static char *last;

__attribute__((export_name("petrel_http_v1_handle"))) void handle(void) {
	free(last);
	last = malloc(64);
	memset(last, served++, 64);
}
