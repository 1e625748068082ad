package proof

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"regexp"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// engineDouble is a socket at which the Engine answers, with words of it changed.
// It is safe for concurrent use.
type engineDouble struct {
	path    string
	changes atomic.Pointer[map[string]string] // of headers and of the answers about the Engine itself
	server  *http.Server
	group   errgroup.Group
}

// versioned is the beginning of a path that names an API version.
var versioned = regexp.MustCompile(`^/v1\.\d+/`)

// double makes the Engine answer at a socket with the given mode. Texts are changed
// in its answers about itself.
func (b *Bench) double(ctx context.Context, path string, mode os.FileMode, changes map[string]string) (*engineDouble, error) {
	// What an Engine that has ended left behind.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, mode); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	d := &engineDouble{path: path}
	d.changes.Store(&changes)
	dial := b.Engine.Dialer()
	proxy := &httputil.ReverseProxy{
		FlushInterval:  -1, // logs and events come as they are
		ErrorLog:       log.New(io.Discard, "", 0),
		Transport:      &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) }},
		ModifyResponse: d.change,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "http", "docker", "docker"
			if d.old() {
				// An Engine of today may not speak what an old one is asked in.
				r.Out.URL.Path = versioned.ReplaceAllString(r.Out.URL.Path, "/")
			}
		},
	}
	d.server = &http.Server{Handler: proxy, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
	d.group.Go(func() error { return d.server.Serve(listener) })
	return d, nil
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

// Close ends it and removes the socket.
func (d *engineDouble) Close() error {
	err := d.server.Close()
	if serveErr := d.group.Wait(); !errors.Is(serveErr, http.ErrServerClosed) {
		err = errors.Join(err, serveErr)
	}
	return err
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
