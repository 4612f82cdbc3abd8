/*
 * wordcount: lines, words and bytes of files or standard input, and with -t N the N most frequent words.
 *
 *   wordcount [-t N] [FILE...]
 *
 * Plain C on wasi-libc; the same source compiles natively.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_WORD = 256, INITIAL_BUCKETS = 1024 };

struct word {
	char *text;
	unsigned long count;
};

struct table {
	struct word *slots;
	size_t size, used;
};

struct totals {
	unsigned long lines, words, bytes;
};

static void die(const char *what)
{
	fprintf(stderr, "wordcount: %s: %s\n", what, strerror(errno));
	exit(1);
}

static size_t hash(const char *s)
{
	unsigned long long h = 1469598103934665603ULL;
	for (; *s; s++)
		h = (h ^ (unsigned char)*s) * 1099511628211ULL;
	return (size_t)h;
}

static struct word *slot(struct table *t, const char *text)
{
	size_t i = hash(text) & (t->size - 1);
	while (t->slots[i].text && strcmp(t->slots[i].text, text) != 0)
		i = (i + 1) & (t->size - 1);
	return &t->slots[i];
}

static void grow(struct table *t)
{
	struct table bigger = {0};
	bigger.size = t->size ? t->size * 2 : INITIAL_BUCKETS;
	bigger.used = t->used;
	bigger.slots = calloc(bigger.size, sizeof *bigger.slots);
	if (!bigger.slots)
		die("table");
	for (size_t i = 0; i < t->size; i++)
		if (t->slots[i].text)
			*slot(&bigger, t->slots[i].text) = t->slots[i];
	free(t->slots);
	*t = bigger;
}

static void add(struct table *t, const char *text)
{
	if (t->used * 2 >= t->size)
		grow(t);
	struct word *w = slot(t, text);
	if (!w->text) {
		w->text = strdup(text);
		if (!w->text)
			die("word");
		t->used++;
	}
	w->count++;
}

static struct totals count(FILE *in, struct table *words)
{
	struct totals n = {0};
	char word[MAX_WORD];
	size_t len = 0;
	int inside = 0, c;
	while ((c = getc(in)) != EOF) {
		n.bytes++;
		n.lines += c == '\n';
		if (isspace(c)) {
			if (inside && len > 0 && words) {
				word[len] = 0;
				add(words, word);
			}
			inside = 0;
			len = 0;
			continue;
		}
		n.words += !inside;
		inside = 1;
		if (isalnum(c) && len + 1 < sizeof word)
			word[len++] = (char)tolower(c);
	}
	if (inside && len > 0 && words) {
		word[len] = 0;
		add(words, word);
	}
	return n;
}

static int by_count(const void *a, const void *b)
{
	const struct word *x = a, *y = b;
	if (x->count != y->count)
		return x->count < y->count ? 1 : -1;
	return strcmp(x->text, y->text);
}

static void top(struct table *t, size_t n)
{
	size_t used = 0;
	for (size_t i = 0; i < t->size; i++)
		if (t->slots[i].text)
			t->slots[used++] = t->slots[i];
	qsort(t->slots, used, sizeof *t->slots, by_count);
	for (size_t i = 0; i < used && i < n; i++)
		printf("%8lu %s\n", t->slots[i].count, t->slots[i].text);
}

static void print(struct totals n, const char *name)
{
	printf("%8lu%8lu%8lu %s\n", n.lines, n.words, n.bytes, name);
}

int main(int argc, char **argv)
{
	struct table words = {0};
	struct totals sum = {0};
	long most = 0;
	int i = 1, failed = 0;

	if (argc > 2 && strcmp(argv[1], "-t") == 0) {
		most = strtol(argv[2], NULL, 10);
		i = 3;
	}
	if (i == argc) {
		print(count(stdin, most > 0 ? &words : NULL), "-");
	}
	int files = argc - i;
	for (; i < argc; i++) {
		FILE *in = fopen(argv[i], "r");
		if (!in) {
			fprintf(stderr, "wordcount: %s: %s\n", argv[i], strerror(errno));
			failed = 1;
			continue;
		}
		struct totals n = count(in, most > 0 ? &words : NULL);
		fclose(in);
		print(n, argv[i]);
		sum.lines += n.lines;
		sum.words += n.words;
		sum.bytes += n.bytes;
	}
	if (files > 1)
		print(sum, "total");
	if (most > 0)
		top(&words, (size_t)most);
	return failed;
}
