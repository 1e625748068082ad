package remedy_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"mqtunnel/internal/remedy"
)

func TestTheOutermostRemedyDecides(t *testing.T) {
	inner := remedy.Errorf(remedy.Engine, "start it", "no Engine: %w", fs.ErrNotExist)
	outer := &remedy.Error{Code: remedy.Input, Err: fmt.Errorf("read .env: %w", inner), Hint: "make it"}
	for _, c := range []struct {
		err  error
		code remedy.Code
		hint string
	}{
		{nil, remedy.OK, ""},
		{errors.New("x"), remedy.Failed, ""},
		{context.Canceled, remedy.Interrupted, ""},
		{fmt.Errorf("wait: %w", context.Canceled), remedy.Interrupted, ""},
		{context.DeadlineExceeded, remedy.Failed, ""},
		{inner, remedy.Engine, "start it"},
		{fmt.Errorf("pull: %w", inner), remedy.Engine, "start it"},
		{outer, remedy.Input, "make it"},
		{errors.Join(errors.New("x"), outer), remedy.Input, "make it"},
		// A remedy that is known is worth more than that somebody pressed Ctrl-C.
		{remedy.Errorf(remedy.No, "", "not ready: %w", context.Canceled), remedy.No, ""},
	} {
		if code, hint := remedy.CodeOf(c.err), remedy.HintOf(c.err); code != c.code || hint != c.hint {
			t.Errorf("%v: code %d and hint %q, want %d and %q", c.err, code, hint, c.code, c.hint)
		}
	}
	if !errors.Is(outer, fs.ErrNotExist) {
		t.Error("the cause is lost")
	}
}
