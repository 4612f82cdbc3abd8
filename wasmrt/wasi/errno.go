package wasi

import (
	"errors"
	"io/fs"
	"syscall"
)

// Errno is WASI's number of an error; zero is success.
type Errno uint16

// The numbers in use, as WASI preview 1 has them.
const (
	ErrnoSuccess     Errno = 0
	ErrnoAccess      Errno = 2
	ErrnoAddrNotAvl  Errno = 4
	ErrnoAgain       Errno = 6
	ErrnoBadf        Errno = 8
	ErrnoBusy        Errno = 10
	ErrnoCanceled    Errno = 11
	ErrnoConnAborted Errno = 13
	ErrnoConnRefused Errno = 14
	ErrnoConnReset   Errno = 15
	ErrnoDestAddrReq Errno = 17
	ErrnoDquot       Errno = 19
	ErrnoExist       Errno = 20
	ErrnoFault       Errno = 21
	ErrnoFbig        Errno = 22
	ErrnoHostUnreach Errno = 23
	ErrnoIlseq       Errno = 25
	ErrnoInProgress  Errno = 26
	ErrnoIntr        Errno = 27
	ErrnoInval       Errno = 28
	ErrnoIO          Errno = 29
	ErrnoIsConn      Errno = 30
	ErrnoIsDir       Errno = 31
	ErrnoLoop        Errno = 32
	ErrnoMfile       Errno = 33
	ErrnoMlink       Errno = 34
	ErrnoMsgSize     Errno = 35
	ErrnoNameTooLong Errno = 37
	ErrnoNetDown     Errno = 38
	ErrnoNetUnreach  Errno = 40
	ErrnoNfile       Errno = 41
	ErrnoNoBufs      Errno = 42
	ErrnoNoEnt       Errno = 44
	ErrnoNoMem       Errno = 48
	ErrnoNoSpc       Errno = 51
	ErrnoNoSys       Errno = 52
	ErrnoNotConn     Errno = 53
	ErrnoNotDir      Errno = 54
	ErrnoNotEmpty    Errno = 55
	ErrnoNotSock     Errno = 57
	ErrnoNotSup      Errno = 58
	ErrnoNxio        Errno = 60
	ErrnoOverflow    Errno = 61
	ErrnoPerm        Errno = 63
	ErrnoPipe        Errno = 64
	ErrnoRange       Errno = 68
	ErrnoRofs        Errno = 69
	ErrnoSpipe       Errno = 70
	ErrnoStale       Errno = 72
	ErrnoTimedOut    Errno = 73
	ErrnoTxtBsy      Errno = 74
	ErrnoXdev        Errno = 75
	ErrnoNotCapable  Errno = 76
)

// fromHost maps the kernel's numbers. Those of os.Root's own refusals (a path that leads out of the jail) have none and
// become EPERM, as other runtimes have it.
var fromHost = map[syscall.Errno]Errno{
	syscall.EACCES: ErrnoAccess, syscall.EADDRNOTAVAIL: ErrnoAddrNotAvl, syscall.EAGAIN: ErrnoAgain,
	syscall.EBADF: ErrnoBadf, syscall.EBUSY: ErrnoBusy, syscall.ECANCELED: ErrnoCanceled,
	syscall.ECONNABORTED: ErrnoConnAborted, syscall.ECONNREFUSED: ErrnoConnRefused, syscall.ECONNRESET: ErrnoConnReset,
	syscall.EDESTADDRREQ: ErrnoDestAddrReq, syscall.EDQUOT: ErrnoDquot, syscall.EEXIST: ErrnoExist,
	syscall.EFAULT: ErrnoFault, syscall.EFBIG: ErrnoFbig, syscall.EHOSTUNREACH: ErrnoHostUnreach,
	syscall.EILSEQ: ErrnoIlseq, syscall.EINPROGRESS: ErrnoInProgress, syscall.EINTR: ErrnoIntr,
	syscall.EINVAL: ErrnoInval, syscall.EIO: ErrnoIO, syscall.EISCONN: ErrnoIsConn, syscall.EISDIR: ErrnoIsDir,
	syscall.ELOOP: ErrnoLoop, syscall.EMFILE: ErrnoNfile, syscall.EMLINK: ErrnoMlink, syscall.EMSGSIZE: ErrnoMsgSize,
	syscall.ENAMETOOLONG: ErrnoNameTooLong, syscall.ENETDOWN: ErrnoNetDown, syscall.ENETUNREACH: ErrnoNetUnreach,
	syscall.ENFILE: ErrnoNfile, syscall.ENOBUFS: ErrnoNoBufs, syscall.ENOENT: ErrnoNoEnt, syscall.ENOMEM: ErrnoNoMem,
	syscall.ENOSPC: ErrnoNoSpc, syscall.ENOSYS: ErrnoNoSys, syscall.ENOTCONN: ErrnoNotConn,
	syscall.ENOTDIR: ErrnoNotDir, syscall.ENOTEMPTY: ErrnoNotEmpty, syscall.ENOTSOCK: ErrnoNotSock,
	syscall.ENOTSUP: ErrnoNotSup, syscall.ENXIO: ErrnoNxio, syscall.EOVERFLOW: ErrnoOverflow, syscall.EPERM: ErrnoPerm,
	syscall.EPIPE: ErrnoPipe, syscall.ERANGE: ErrnoRange, syscall.EROFS: ErrnoRofs, syscall.ESPIPE: ErrnoSpipe,
	syscall.ESTALE: ErrnoStale, syscall.ETIMEDOUT: ErrnoTimedOut, syscall.ETXTBSY: ErrnoTxtBsy, syscall.EXDEV: ErrnoXdev,
}

// errnoOf turns an error of the host into what the guest is told. The host's own lack of descriptors is ENFILE: the
// guest's is EMFILE.
func errnoOf(err error) Errno {
	if err == nil {
		return ErrnoSuccess
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		if n, ok := fromHost[errno]; ok {
			return n
		}
		return ErrnoIO
	}
	var pathErr *fs.PathError
	switch {
	case errors.Is(err, fs.ErrClosed):
		return ErrnoBadf
	case errors.Is(err, fs.ErrNotExist):
		return ErrnoNoEnt
	case errors.Is(err, fs.ErrExist):
		return ErrnoExist
	case errors.As(err, &pathErr), isLinkError(err):
		return ErrnoPerm
	}
	return ErrnoIO
}
