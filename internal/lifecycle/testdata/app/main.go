// Command app is what the containers of the lifecycle's tests run. Its first
// argument says what it does.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"mqtunnel/internal/probe"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	n, _ := strconv.Atoi(os.Args[2])
	switch os.Args[1] {
	case "probe": // probe REQUEST: as mqtunnel does
		if err := probe.Main(ctx, os.Args[2], os.Environ(), os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	case "burst": // burst N: N lines at once, then waits
		out := bufio.NewWriter(os.Stdout)
		for i := range n {
			fmt.Fprintln(out, "line", i)
		}
		_ = out.Flush()
		<-ctx.Done()
	case "lines": // lines N: N lines, then ends
		for i := range n {
			fmt.Println("line", i)
		}
	case "every": // every N: a line every N milliseconds, on either stream in turn
		tick := time.NewTicker(time.Duration(n) * time.Millisecond)
		for i := 0; ; i++ {
			to := os.Stdout
			if i%2 == 1 {
				to = os.Stderr
			}
			fmt.Fprintf(to, "process %d line %d\n", time.Now().UnixNano(), i)
			select {
			case <-tick.C:
			case <-ctx.Done():
				fmt.Println("bye")
				return
			}
		}
	}
}
