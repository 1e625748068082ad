package lifecycle

import (
	"context"
	"errors"
	"slices"
	"time"
)

// How long live lines are held back to be put in order, and how many at most.
const (
	reorderWindow = 100 * time.Millisecond
	reorderLines  = 4096
)

// held is a line with the time at which it came in.
type held struct {
	entry LogEntry
	since time.Time
}

// reorder passes on live lines by time stamp: each is held for a moment, since
// lines of two containers come over two connections.
func reorder(ctx context.Context, in <-chan LogEntry, each func(LogEntry) error) error {
	var queue []held
	tick := time.NewTicker(reorderWindow / 2)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return errors.Join(flush(&queue, time.Time{}, each), ctx.Err())
		case e := <-in:
			at, _ := slices.BinarySearchFunc(queue, e, func(h held, e LogEntry) int {
				if h.entry.Line.Time.After(e.Line.Time) {
					return 1
				}
				return -1
			})
			queue = slices.Insert(queue, at, held{entry: e, since: time.Now()})
			if len(queue) < reorderLines {
				continue
			}
			if err := flush(&queue, time.Time{}, each); err != nil {
				return err
			}
		case now := <-tick.C:
			if err := flush(&queue, now.Add(-reorderWindow), each); err != nil {
				return err
			}
		}
	}
}

// flush passes on the lines at the queue's front that came in before the given
// time, or all of them when it is zero.
func flush(queue *[]held, before time.Time, each func(LogEntry) error) error {
	n := 0
	for _, h := range *queue {
		if !before.IsZero() && h.since.After(before) {
			break
		}
		if err := each(h.entry); err != nil {
			return err
		}
		n++
	}
	*queue = slices.Delete(*queue, 0, n)
	return nil
}
