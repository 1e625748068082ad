package proof

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"sync/atomic"

	"mqtunnel/internal/lab/engineproxy"
)

// engineDouble is a socket at which the Engine answers, with words of it changed.
// It is safe for concurrent use.
type engineDouble struct {
	*engineproxy.Proxy

	changes atomic.Pointer[map[string]string] // of headers and of the answers about the Engine itself
}

// double makes the Engine answer at a socket with the given mode. Texts are changed
// in its answers about itself.
func (b *Bench) double(ctx context.Context, path string, mode os.FileMode, changes map[string]string) (*engineDouble, error) {
	d := &engineDouble{}
	d.changes.Store(&changes)
	var err error
	d.Proxy, err = engineproxy.Listen(ctx, engineproxy.Options{
		Socket: path, Mode: mode, Dial: b.Engine.Dialer(), Answer: d.change,
		Rewrite: func(r *http.Request) {
			if d.old() {
				// An Engine of today may not speak what an old one is asked in.
				r.URL.Path = engineproxy.Unversioned(r.URL.Path)
			}
		},
	})
	return d, err
}

// truthful ends the changes.
func (d *engineDouble) truthful() { d.changes.Store(&map[string]string{}) }

func (d *engineDouble) old() bool { return len(*d.changes.Load()) > 0 }

// aboutItself are the answers in which words are changed.
var aboutItself = regexp.MustCompile(`/(version|info)$`)

// change changes one answer.
func (d *engineDouble) change(r *http.Response) error {
	changes := *d.changes.Load()
	for before, after := range changes {
		for name, values := range r.Header {
			for i, v := range values {
				if v == before {
					r.Header[name][i] = after
				}
			}
		}
	}
	if !aboutItself.MatchString(r.Request.URL.Path) || len(changes) == 0 {
		return nil
	}
	text, err := io.ReadAll(r.Body)
	if err := errors.Join(err, r.Body.Close()); err != nil {
		return err
	}
	for before, after := range changes {
		text = bytes.ReplaceAll(text, []byte(`"`+before+`"`), []byte(`"`+after+`"`))
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
	r.Header.Set("Content-Length", strconv.Itoa(len(text)))
	return nil
}

// silent is a socket that takes connections and never answers, or none at all.
func silentSocket(ctx context.Context, path string, listening bool) (io.Closer, error) {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	if listening {
		return listener, nil
	}
	if unix, ok := listener.(*net.UnixListener); ok {
		unix.SetUnlinkOnClose(false)
	}
	return io.NopCloser(nil), listener.Close()
}
