// The smallest guest that does anything: no libc, one page of data.
static long long served;

__attribute__((export_name("petrel_http_v1_handle"))) void handle(void) { served++; }

// count tells how many requests the instance has served: always one when each has an instance of its own.
__attribute__((export_name("count"))) long long count(void) { return served; }
