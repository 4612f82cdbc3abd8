// The tests' http-wasm guest: it answers every request itself, by http-wasm's host functions.
#include <stdint.h>

#define IMPORT(name) __attribute__((import_module("http_handler"), import_name(name)))
#define EXPORT(name) __attribute__((export_name(name)))

IMPORT("get_uri") uint32_t get_uri(char *buf, uint32_t limit);
IMPORT("set_header_value")
void set_header_value(uint32_t kind, const char *name, uint32_t name_len, const char *value, uint32_t value_len);
IMPORT("set_status_code") void set_status_code(uint32_t status);
IMPORT("write_body") void write_body(uint32_t kind, const char *body, uint32_t len);

enum { RESPONSE = 1, RESPONSE_BODY = 1 };

static char uri[2048];

// handle_request answers whether a next handler is wanted: none is.
EXPORT("handle_request") uint64_t handle_request(void) {
	static const char greeting[] = "filtered ";
	uint32_t len = get_uri(uri, sizeof uri);
	if (len > sizeof uri) {
		set_status_code(414);
		return 0;
	}
	set_header_value(RESPONSE, "Content-Type", 12, "text/plain", 10);
	write_body(RESPONSE_BODY, greeting, sizeof greeting - 1);
	write_body(RESPONSE_BODY, uri, len);
	return 0;
}

EXPORT("handle_response") void handle_response(uint32_t context, uint32_t is_error) {
	(void)context;
	(void)is_error;
}
