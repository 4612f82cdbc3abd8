package wasi

// rights are what a descriptor may be used for, a bit each, as WASI numbers them.
type rights uint64

const (
	rightFdDatasync rights = 1 << iota
	rightFdRead
	rightFdSeek
	rightFdstatSetFlags
	rightFdSync
	rightFdTell
	rightFdWrite
	rightFdAdvise
	rightFdAllocate
	rightPathCreateDirectory
	rightPathCreateFile
	rightPathLinkSource
	rightPathLinkTarget
	rightPathOpen
	rightFdReaddir
	rightPathReadlink
	rightPathRenameSource
	rightPathRenameTarget
	rightPathFilestatGet
	rightPathFilestatSetSize
	rightPathFilestatSetTimes
	rightFdFilestatGet
	rightFdFilestatSetSize
	rightFdFilestatSetTimes
	rightPathSymlink
	rightPathRemoveDirectory
	rightPathUnlinkFile
	rightPollFdReadwrite
	rightSockShutdown
	rightSockAccept

	rightsAll = rightSockAccept<<1 - 1
)

// What each kind of descriptor can do at most. A read-only mount's files have them too: writing there fails with EROFS,
// which says more than ENOTCAPABLE.
const (
	rightsStream = rightFdRead | rightFdWrite | rightFdstatSetFlags | rightFdFilestatGet | rightPollFdReadwrite | rightFdSync | rightFdDatasync
	rightsFile   = rightFdDatasync | rightFdRead | rightFdSeek | rightFdstatSetFlags | rightFdSync | rightFdTell | rightFdWrite |
		rightFdAdvise | rightFdAllocate | rightFdFilestatGet | rightFdFilestatSetSize | rightFdFilestatSetTimes | rightPollFdReadwrite
	rightsDir = rightFdstatSetFlags | rightFdSync | rightFdDatasync | rightFdAdvise | rightFdReaddir | rightFdFilestatGet | rightFdFilestatSetTimes |
		rightPathCreateDirectory | rightPathCreateFile | rightPathLinkSource | rightPathLinkTarget | rightPathOpen |
		rightPathReadlink | rightPathRenameSource | rightPathRenameTarget | rightPathFilestatGet | rightPathFilestatSetSize |
		rightPathFilestatSetTimes | rightPathSymlink | rightPathRemoveDirectory | rightPathUnlinkFile
	rightsConn   = rightFdRead | rightFdWrite | rightFdstatSetFlags | rightFdFilestatGet | rightPollFdReadwrite | rightSockShutdown
	rightsListen = rightSockAccept | rightFdRead | rightFdstatSetFlags | rightFdFilestatGet | rightPollFdReadwrite
)

// fileType is WASI's kind of a file.
type fileType uint8

const (
	typeUnknown fileType = iota
	typeBlockDevice
	typeCharDevice
	typeDirectory
	typeRegular
	typeDatagram
	typeStream
	typeSymlink
)

// fdFlags are the flags of an open file.
type fdFlags uint16

const (
	flagAppend fdFlags = 1 << iota
	flagDsync
	flagNonblock
	flagRsync
	flagSync

	flagsAll = flagSync<<1 - 1
)

// openFlags are those of path_open.
type openFlags uint16

const (
	openCreate openFlags = 1 << iota
	openDirectory
	openExclusive
	openTruncate
)
