package distribution

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Faults is what the registry's front does wrong. The zero value lets
// everything through.
type Faults struct {
	// BytesPerSecond slows blobs down; 0 is no limit.
	BytesPerSecond int
	// CutAfter closes the connection when so many bytes of one blob were sent; 0 never.
	CutAfter int
	// Status answers every request for a manifest, e.g. with 429 as a registry
	// does whose rate limit is reached; Code and Message are the registry's error.
	Status        int
	Code, Message string
	// Cut is called once, just before the first connection is cut.
	Cut func()
}

// front stands between the Engine and the registry.
type front struct {
	next   http.Handler
	mu     sync.Mutex
	faults Faults
	cut    *sync.Once
}

// SetFaults replaces the faults; requests under way keep theirs.
func (r *Registry) SetFaults(f Faults) {
	r.front.mu.Lock()
	defer r.front.mu.Unlock()
	r.front.faults, r.front.cut = f, new(sync.Once)
}

// ServeHTTP passes the request on, or does what the faults say.
func (f *front) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	f.mu.Lock()
	faults, once := f.faults, f.cut
	f.mu.Unlock()
	path := request.URL.Path
	if faults.Status != 0 && strings.Contains(path, "/manifests/") {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(faults.Status)
		// A client that is gone needs no answer.
		_, _ = fmt.Fprintf(w, `{"errors":[{"code":%q,"message":%q}]}`, faults.Code, faults.Message)
		return
	}
	if strings.Contains(path, "/blobs/") && request.Method == http.MethodGet && (faults.BytesPerSecond > 0 || faults.CutAfter > 0) {
		w = &slowWriter{ResponseWriter: w, faults: faults, once: once, request: request}
	}
	f.next.ServeHTTP(w, request)
}

// slowWriter sends a blob slowly and perhaps not to its end.
type slowWriter struct {
	http.ResponseWriter
	faults  Faults
	once    *sync.Once
	request *http.Request
	sent    int
}

// Unwrap lets the proxy flush.
func (w *slowWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Write sends p in pieces of a twentieth of a second.
func (w *slowWriter) Write(p []byte) (int, error) {
	piece := max(w.faults.BytesPerSecond/20, 1)
	if w.faults.BytesPerSecond == 0 {
		piece = max(len(p), 1)
	}
	written := 0
	for written < len(p) {
		if w.faults.CutAfter > 0 && w.sent >= w.faults.CutAfter {
			if w.faults.Cut != nil {
				w.once.Do(w.faults.Cut)
			}
			panic(http.ErrAbortHandler)
		}
		n, err := w.ResponseWriter.Write(p[written:min(written+piece, len(p))])
		written += n
		w.sent += n
		if err != nil {
			return written, err
		}
		if w.faults.BytesPerSecond > 0 {
			if err := w.pause(); err != nil {
				return written, err
			}
		}
	}
	return written, nil
}

// pause flushes what was sent and lets the twentieth of a second pass.
func (w *slowWriter) pause() error {
	if err := http.NewResponseController(w.ResponseWriter).Flush(); err != nil {
		return err
	}
	timer := time.NewTimer(time.Second / 20)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-w.request.Context().Done():
		return w.request.Context().Err()
	}
}
