package proof

import "time"

// change is a system call of a program that changes something in its directory.
type change struct {
	call string // such as "renameat"
	// file is what it is about, relative to the directory: for a file under a temporary
	// name the one that it is to become, for a directory the file before.
	file string
	at   time.Duration // since the program was started
}

// kill says when a program is to be killed.
type kill struct {
	before int           // the so manieth change, counted from 0; never if there are fewer
	after  time.Duration // that it goes on for instead of being stopped at it
}

// never kills nothing.
func never() kill { return kill{before: -1} }

// trace is what was seen of a program.
type trace struct {
	result

	changes []change
	killed  bool // before it ended
}
