// Command app is what the containers of the engine's tests run. Its first
// argument says what it does.
package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
)

func main() {
	switch os.Args[1] {
	case "serve": // ends at SIGTERM, says so at SIGHUP
		serve(true)
	case "stubborn": // does not end at SIGTERM
		serve(false)
	case "print": // print LINE...: to the first stream
		for _, text := range os.Args[2:] {
			fmt.Println(text)
		}
	case "long": // long N: one line of N bytes, then one without an end
		n, _ := strconv.Atoi(os.Args[2])
		fmt.Println(strings.Repeat("x", n))
		fmt.Print("the end")
	case "stat": // stat PATH...: owner and mode
		for _, path := range os.Args[2:] {
			var s syscall.Stat_t
			if err := syscall.Stat(path, &s); err != nil {
				fmt.Println(path, err)
				continue
			}
			fmt.Printf("%s %d:%d %o\n", path, s.Uid, s.Gid, s.Mode&0o7777)
		}
	case "echo": // its input
		_, _ = io.Copy(os.Stdout, os.Stdin)
	case "exit":
		fmt.Println("to stdout")
		fmt.Fprintln(os.Stderr, "to stderr")
		code, _ := strconv.Atoi(os.Args[2])
		os.Exit(code)
	case "ok": // a health check
	}
}

func serve(obeys bool) {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals)
	fmt.Println("ready")
	for s := range signals {
		switch {
		case s == syscall.SIGHUP:
			fmt.Println("reloaded")
		case s == syscall.SIGTERM && obeys:
			fmt.Println("bye")
			return
		}
	}
}
