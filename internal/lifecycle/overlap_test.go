package lifecycle

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"mqtunnel/internal/plan"
)

func TestANewConnectorIsWaitedForAsLongAsItMayYetConnect(t *testing.T) {
	for name, c := range map[string]struct {
		lines []string // one a second
		ends  bool     // the container does, after them
		want  time.Duration
	}{
		"until it is connected":            {[]string{starting, registered0}, false, 2 * time.Second},
		"not longer than others wait":      {[]string{starting}, false, overlapTime},
		"not when its token is no token":   {[]string{badToken}, false, time.Second},
		"not when its secret is refused":   {[]string{starting, secretWrong}, false, 2 * time.Second},
		"not when it has ended":            {[]string{starting}, true, time.Second},
		"not when its log cannot be read":  {nil, true, 0},
		"whatever else it has to complain": {[]string{starting, tcpTimeout, registered0}, false, 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRecorder()
				r.logs = func(ctx context.Context, _ plan.LogOptions, each func(plan.LogLine) error) error {
					for _, text := range c.lines {
						if err := pause(ctx, time.Second); err != nil {
							return err
						}
						if err := each(plan.LogLine{Text: text, Stderr: true}); err != nil {
							return err
						}
					}
					if c.ends {
						return nil
					}
					<-ctx.Done()
					return ctx.Err()
				}
				if err := awaitConnection(t.Context(), r, "c1", false); err != nil {
					t.Error(err)
				}
				if took := time.Since(r.began); took != c.want {
					t.Errorf("waited %v, want %v", took, c.want)
				}
			})
		})
	}
}

func TestWaitingForANewConnectorEndsWithTheCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r := newRecorder()
		r.logs = func(ctx context.Context, _ plan.LogOptions, _ func(plan.LogLine) error) error {
			<-ctx.Done()
			return ctx.Err()
		}
		if err := awaitConnection(ctx, r, "c1", false); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want the end of the context", err)
		}
	})
}
