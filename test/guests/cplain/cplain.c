// The least that an HTTP guest in C can be, answering as the guest plain and bench/baseline do: what is measured of it is the
// runtime.
#include <stdint.h>

__attribute__((import_module("petrel_http_v1"), import_name("response_send")))
int32_t response_send(int32_t status, const void *head, uint32_t head_size, const void *body, uint32_t body_size);

// One field: the number of fields, then the name, the number of values and the value, each text with its length in front.
static const char head[] = "\x01\x0c"
                           "Content-Type"
                           "\x01\x19"
                           "text/plain; charset=utf-8";
static const char body[] = "hello\n";

__attribute__((export_name("petrel_http_v1_handle"))) void handle(void) {
	response_send(200, head, sizeof head - 1, body, sizeof body - 1);
}
