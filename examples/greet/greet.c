/*
 * greet: an HTTP guest of http-wasm's handler ABI (https://http-wasm.io), in C.
 *
 *   GET /NAME   greets
 *   POST /      answers the body in upper case, as it comes
 *
 * Built with -mexec-model=reactor: the module has no main.
 */
#include <ctype.h>
#include <stdint.h>
#include <string.h>

#define IMPORT(name) __attribute__((import_module("http_handler"), import_name(#name)))
#define EXPORT(name) __attribute__((export_name(#name)))

enum { RESPONSE_HEADER = 1 };
enum { REQUEST_BODY = 0, RESPONSE_BODY = 1 };

IMPORT(get_method) uint32_t get_method(char *buf, uint32_t limit);
IMPORT(get_uri) uint32_t get_uri(char *buf, uint32_t limit);
IMPORT(set_header_value)
void set_header_value(uint32_t kind, const char *name, uint32_t name_len, const char *value, uint32_t value_len);
IMPORT(read_body) uint64_t read_body(uint32_t kind, char *buf, uint32_t limit);
IMPORT(write_body) void write_body(uint32_t kind, const char *body, uint32_t len);
IMPORT(set_status_code) void set_status_code(uint32_t status);

static char buf[8192];

static void header(const char *name, const char *value)
{
	set_header_value(RESPONSE_HEADER, name, strlen(name), value, strlen(value));
}

static void say(const char *text) { write_body(RESPONSE_BODY, text, strlen(text)); }

static void shout(void)
{
	uint64_t got;
	do {
		got = read_body(REQUEST_BODY, buf, sizeof buf);
		uint32_t n = (uint32_t)got;
		for (uint32_t i = 0; i < n; i++)
			buf[i] = (char)toupper((unsigned char)buf[i]);
		if (n > 0)
			write_body(RESPONSE_BODY, buf, n);
	} while (got >> 32 == 0); /* the upper half is set at the body's end */
}

/* The result's lower half says whether a next handler shall answer: never, this is an app and not a middleware. */
EXPORT(handle_request) uint64_t handle_request(void)
{
	uint32_t n = get_method(buf, sizeof buf);
	int post = n == 4 && memcmp(buf, "POST", 4) == 0;

	header("Content-Type", "text/plain; charset=utf-8");
	if (post) {
		shout();
		return 0;
	}
	n = get_uri(buf, sizeof buf);
	if (n > sizeof buf) {
		set_status_code(414);
		return 0;
	}
	say("Hello, ");
	if (n > 1)
		write_body(RESPONSE_BODY, buf + 1, n - 1);
	else
		say("world");
	say("\n");
	return 0;
}

EXPORT(handle_response) void handle_response(uint32_t context, uint32_t is_error)
{
	(void)context;
	(void)is_error;
}
