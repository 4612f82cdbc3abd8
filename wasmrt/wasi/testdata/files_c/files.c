// What wasi-libc makes of files, directories and waiting: each line of output is a fact that the test knows.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int fail(const char *what)
{
	printf("%s: %s\n", what, strerror(errno));
	return 1;
}

int main(int argc, char **argv)
{
	char path[256], text[64] = "";
	if (argc < 2 || chdir(argv[1]))
		return fail("chdir");
	FILE *f = fopen("a.txt", "w+");
	if (!f || fputs("hello world\n", f) < 0 || fseek(f, 6, SEEK_SET) || !fgets(text, sizeof text, f))
		return fail("fopen");
	printf("read %s", text);
	if (fclose(f) || !(f = fopen("a.txt", "a")) || fputs("more\n", f) < 0 || fclose(f))
		return fail("append");
	struct stat st;
	if (stat("a.txt", &st))
		return fail("stat");
	printf("size %lld, regular %d\n", (long long)st.st_size, S_ISREG(st.st_mode));

	int fd = open("a.txt", O_RDONLY);
	if (fd < 0 || write(fd, "x", 1) != -1)
		return fail("write what was opened to read");
	printf("read only %d, append %d\n", (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY, (fcntl(fd, F_GETFL) & O_APPEND) != 0);
	if (pread(fd, text, 5, 0) != 5 || lseek(fd, 0, SEEK_CUR) != 0 || close(fd) || close(fd) != -1)
		return fail("pread");

	if (mkdir("dir", 0755) || rename("a.txt", "dir/b.txt") || !access("a.txt", F_OK))
		return fail("rename");
	for (int i = 0; i < 200; i++) {
		snprintf(path, sizeof path, "dir/file%03d", i);
		if ((fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0644)) < 0 || close(fd))
			return fail(path);
	}
	DIR *d = opendir("dir");
	int n = 0, after = 0;
	long at = 0;
	for (struct dirent *e; d && (e = readdir(d));) {
		if (e->d_name[0] == '.')
			continue;
		if (++n == 100)
			at = telldir(d);
	}
	if (!d || (seekdir(d, at), 0))
		return fail("opendir");
	for (struct dirent *e; (e = readdir(d));)
		after += e->d_name[0] != '.';
	rewinddir(d);
	printf("entries %d, after half %d, rewound %d\n", n, after, readdir(d) != NULL);
	closedir(d);
	for (int i = 0; i < 200; i++) {
		snprintf(path, sizeof path, "dir/file%03d", i);
		if (unlink(path))
			return fail(path);
	}
	if (rmdir("dir") != -1 || errno != ENOTEMPTY || unlink("dir/b.txt") || rmdir("dir"))
		return fail("rmdir");
	if (open("../../etc/passwd", O_RDONLY) != -1 || open("missing", O_RDONLY) != -1 || errno != ENOENT)
		return fail("open what is not there");

	struct timespec before, now;
	clock_gettime(CLOCK_MONOTONIC, &before);
	int ready = poll(NULL, 0, 30);
	clock_gettime(CLOCK_MONOTONIC, &now);
	long long took = (now.tv_sec - before.tv_sec) * 1000LL + (now.tv_nsec - before.tv_nsec) / 1000000;
	struct pollfd p = { .fd = 1, .events = POLLOUT };
	printf("poll %d, in time %d, stdout ready %d, terminal %d\n", ready, took >= 29 && took < 20000, poll(&p, 1, 1000), isatty(1));
	return 0;
}
