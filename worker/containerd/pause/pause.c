//go:build ignore

// The first process of a pod: it holds the pod's namespaces, and where containers share one process table it reaps what
// they leave. It sleeps for ever and ends by SIGTERM or SIGINT.
//
// It stands on the kernel alone, without a library, so that it needs one page of code and no stack to speak of.

typedef unsigned long word;

#if defined(__x86_64__)
enum { RT_SIGPROCMASK = 14, RT_SIGTIMEDWAIT = 128, WAIT4 = 61, EXIT_GROUP = 231 };
static long call(long n, word a, word b, word c, word d) {
	long r;
	register word r10 __asm__("r10") = d;
	__asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
	return r;
}
#elif defined(__aarch64__)
enum { RT_SIGPROCMASK = 135, RT_SIGTIMEDWAIT = 137, WAIT4 = 260, EXIT_GROUP = 94 };
static long call(long n, word a, word b, word c, word d) {
	register long x8 __asm__("x8") = n;
	register word x0 __asm__("x0") = a;
	register word x1 __asm__("x1") = b;
	register word x2 __asm__("x2") = c;
	register word x3 __asm__("x3") = d;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
	return (long)x0;
}
#endif

enum { SIGINT = 2, SIGTERM = 15, SIGCHLD = 17, SIG_BLOCK = 0, WNOHANG = 1 };

#define BIT(sig) (1UL << ((sig)-1))

// Signals are waited for, not handled: to a first process those without a handler would never come.
void _start(void) {
	static const word set = BIT(SIGINT) | BIT(SIGTERM) | BIT(SIGCHLD);
	call(RT_SIGPROCMASK, SIG_BLOCK, (word)&set, 0, sizeof set);
	for (;;) {
		long sig = call(RT_SIGTIMEDWAIT, (word)&set, 0, 0, sizeof set);
		if (sig == SIGINT || sig == SIGTERM)
			call(EXIT_GROUP, 0, 0, 0, 0);
		while (call(WAIT4, (word)-1, 0, WNOHANG, 0) > 0)
			;
	}
}
