// A server in C: it accepts from descriptor 3, one client after the other, and answers each line in capitals. With the
// argument "poll" it waits for all clients at once.
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int answer(int fd)
{
	char buf[512];
	ssize_t n = recv(fd, buf, sizeof buf, 0);
	if (n <= 0)
		return -1;
	for (ssize_t i = 0; i < n; i++)
		buf[i] = toupper((unsigned char)buf[i]);
	return send(fd, buf, n, 0) == n ? 0 : -1;
}

static int one_by_one(int listener)
{
	for (;;) {
		int fd = accept(listener, NULL, NULL);
		if (fd < 0) {
			perror("accept");
			return 1;
		}
		while (answer(fd) == 0)
			;
		shutdown(fd, SHUT_WR);
		close(fd);
	}
}

static int all_at_once(int listener)
{
	struct pollfd fds[16] = { { .fd = listener, .events = POLLIN } };
	int n = 1;
	for (;;) {
		if (poll(fds, n, -1) < 0) {
			perror("poll");
			return 1;
		}
		if (fds[0].revents && n < 16) {
			int fd = accept(listener, NULL, NULL);
			if (fd >= 0)
				fds[n++] = (struct pollfd){ .fd = fd, .events = POLLIN };
		}
		for (int i = 1; i < n; i++) {
			if (!fds[i].revents || answer(fds[i].fd) == 0)
				continue;
			close(fds[i].fd);
			fds[i--] = fds[--n];
		}
	}
}

int main(int argc, char **argv)
{
	const char *fds = getenv("PETREL_LISTEN_FD");
	int listener = fds ? atoi(fds) : 3;
	return argc > 1 && !strcmp(argv[1], "poll") ? all_at_once(listener) : one_by_one(listener);
}
