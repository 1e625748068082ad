package engineproxy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync"
	"time"
)

// Moment is a time in the life of a call.
type Moment string

// The moments.
const (
	Before Moment = "before" // the Engine has not seen the call, and will not unless it passes
	During Moment = "during" // the Engine has the call, or half of its body, and has not answered
	After  Moment = "after"  // the Engine has answered, and the client does not know
)

// Outcome is what becomes of a call that a fault strikes.
type Outcome string

// The outcomes.
const (
	Pass    Outcome = ""         // it goes on
	Fail    Outcome = "fail"     // it is answered with status 500; not in its midst
	Cut     Outcome = "cut"      // its connections end without an answer
	CutBody Outcome = "cut body" // they end in the middle of the answer's body; only after
)

// Fault is what happens to one call. The zero Fault strikes none.
type Fault struct {
	Call   int // 1 for the first since the fault was armed
	Moment Moment
	Delay  time.Duration // holds the call up at that moment
	Strike func()        // if set, is called then, from a goroutine of the proxy's
	Then   Outcome
}

// ErrorMessage is what a call that fails is answered with.
const ErrorMessage = "the Engine is out of order"

var errCut = errors.New("cut off by a fault")

// passage is one call on its way through.
type passage struct {
	proxy *Proxy
	call  int
	round int
	fault Fault // the zero one where none strikes
}

// act does what the fault does at its moment, whatever becomes of the call.
func (at passage) act() {
	time.Sleep(at.fault.Delay) //nolint:forbidigo // holding a call up is what was asked for
	if at.fault.Strike != nil {
		at.fault.Strike()
	}
}

// strike lets the fault act before the Engine sees the call and reports whether the
// call is over with it.
func (at passage) strike(w http.ResponseWriter) (over bool) {
	at.act()
	switch at.fault.Then {
	case Pass:
		return false
	case Fail:
		at.proxy.answered(at, http.StatusInternalServerError)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = w.Write(errorBody()) // a client that is gone needs no answer
		return true
	default:
		panic(http.ErrAbortHandler)
	}
}

func errorBody() []byte {
	text, _ := json.Marshal(map[string]string{"message": ErrorMessage}) // a map of strings has its JSON
	return text
}

// during prepares a request so that the fault strikes it in its midst: half-way in
// its body, or once the Engine has all of it.
func (at passage) during(r *http.Request, cancel context.CancelCauseFunc) *http.Request {
	if at.fault.Moment != During {
		return r
	}
	strike := sync.OnceFunc(func() {
		at.act()
		if at.fault.Then != Pass {
			cancel(errCut)
		}
	})
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = &halfBody{ReadCloser: r.Body, left: r.ContentLength / 2, strike: strike, cut: at.fault.Then != Pass}
		return r
	}
	trace := &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { strike() }}
	return r.WithContext(httptrace.WithClientTrace(r.Context(), trace))
}

// halfBody strikes when half of a body was read; of one whose length is not known,
// after what comes first.
type halfBody struct {
	io.ReadCloser

	left   int64
	over   bool
	strike func()
	cut    bool
}

func (b *halfBody) Read(p []byte) (int, error) {
	if b.over {
		return b.ReadCloser.Read(p)
	}
	if b.left > 0 && int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	if b.left > 0 && err == nil {
		return n, nil
	}
	b.over = true
	b.strike()
	if b.cut {
		return n, errCut
	}
	return n, err
}

// answer lets the fault strike between the Engine's answer and the client.
func (at passage) answer(r *http.Response) error {
	if at.fault.Moment != After {
		return nil
	}
	at.act()
	switch at.fault.Then {
	case Pass:
		return nil
	case Cut:
		return errCut
	case Fail:
		text := errorBody()
		err := r.Body.Close()
		r.StatusCode, r.Status = http.StatusInternalServerError, ""
		r.Header = http.Header{"Content-Type": {"application/json"}}
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
		return err
	default:
		// Of an answer without a body, and of a stream, nothing gets through.
		r.Body = &halfBody{ReadCloser: r.Body, left: r.ContentLength / 2, strike: func() {}, cut: true}
		return nil
	}
}
