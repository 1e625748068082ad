package lifecycle

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mqtunnel/internal/plan"
	"mqtunnel/internal/secret"
)

// login is the account of the tests of ChangeUsers.
func login() Login { return Login{User: "phone", Password: secret.New("pass word")} }

func TestALoginIsTriedUntilTheBrokerAccepts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, tries := newRecorder(), 0
		r.exec = func(cmd []string) (plan.ExecResult, error) {
			if strings.Contains(cmd[len(cmd)-1], "mosquitto_sub -t") {
				if tries++; tries < 3 {
					return plan.ExecResult{Code: 5, Output: "Connection Refused: not authorised.\n"}, nil
				}
			}
			return plan.ExecResult{}, nil
		}
		if err := ChangeUsers(t.Context(), r, "b1", home(), login()); err != nil {
			t.Fatal(err)
		}
		if tries != 3 {
			t.Errorf("%d tries, want 3", tries)
		}
		if got, want := r.input, "-h 127.0.0.1\n-p 1883\n-u phone\n-P pass word\n-i mqtunnel-login\n"; got != want {
			t.Errorf("the client's input %q, want %q", got, want)
		}
		for _, call := range r.calls {
			if strings.Contains(call, "pass word") {
				t.Errorf("the password stands in %q", call)
			}
		}
	})
}

func TestALoginThatFailsShowsNoPassword(t *testing.T) {
	for name, prepare := range map[string]func(*recorder, context.CancelFunc){
		"refused": func(r *recorder, _ context.CancelFunc) {
			r.exec = func(cmd []string) (plan.ExecResult, error) {
				return plan.ExecResult{Code: map[bool]int{true: 5}[strings.Contains(cmd[len(cmd)-1], "-t ")], Output: "not authorised\n"}, nil
			}
		},
		"client missing": func(r *recorder, _ context.CancelFunc) {
			r.exec = func(cmd []string) (plan.ExecResult, error) {
				if strings.Contains(cmd[len(cmd)-1], "-t ") {
					return plan.ExecResult{}, errors.New("no such file")
				}
				return plan.ExecResult{}, nil
			}
		},
		"caller gave up": func(r *recorder, cancel context.CancelFunc) {
			r.exec = func(cmd []string) (plan.ExecResult, error) {
				if strings.Contains(cmd[len(cmd)-1], "-t ") {
					cancel()
					return plan.ExecResult{Code: 5}, nil
				}
				return plan.ExecResult{}, nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				r := newRecorder()
				prepare(r, cancel)
				err := ChangeUsers(ctx, r, "b1", home(), login())
				if err == nil || !strings.HasPrefix(err.Error(), "prove the change by a login: ") || strings.Contains(err.Error(), "pass word") {
					t.Errorf("error %v", err)
				}
				for name, text := range r.files {
					if strings.Contains(text, "pass word") {
						t.Errorf("the password is left in %s", name)
					}
				}
			})
		})
	}
}

func TestAReloadTellsWhyItFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder()
		r.exec = func([]string) (plan.ExecResult, error) { return plan.ExecResult{Code: 1, Output: "mv: no space"}, nil }
		if err := Reload(t.Context(), r, "b1", []plan.File{{Path: "/a"}}); err == nil || !strings.Contains(err.Error(), "exit 1: mv: no space") {
			t.Errorf("error %v", err)
		}
		r = newRecorder()
		r.fails["copy /a.new to b1"] = errors.New("full")
		if err := Reload(t.Context(), r, "b1", []plan.File{{Path: "/a"}}); err == nil || strings.Contains(r.sorted(), "exec") {
			t.Errorf("error %v after calls %s", err, r.sorted())
		}
	})
}

func TestAReloadIsDoneWhenTheLogTellsOfIt(t *testing.T) {
	before := time.Date(2026, 8, 20, 12, 0, 0, 0, time.UTC)
	const reloading = "1787220001: Reloading config."
	for name, c := range map[string]struct {
		lines []plan.LogLine // after the exec
		hangs bool
		want  string
	}{
		"told":                   {[]plan.LogLine{{Time: before.Add(time.Second), Text: reloading}}, true, ""},
		"told by the run before": {[]plan.LogLine{{Time: before, Text: reloading}}, true, "the broker has not read its files again within 10s"},
		"a client's words":       {[]plan.LogLine{{Time: before.Add(time.Second), Text: "1787220001: New client connected from 192.0.2.1:9 as Reloading config. (p2, c1, k60)."}}, true, "has not read"},
		"ended":                  {nil, false, "the broker ended when it was to read its files again"},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRecorder()
			r.logs = func(ctx context.Context, o plan.LogOptions, each func(plan.LogLine) error) error {
				if !o.Follow {
					return each(plan.LogLine{Time: before, Text: reloading})
				}
				for _, l := range c.lines {
					if err := each(l); err != nil {
						return err
					}
				}
				if !c.hangs {
					return nil
				}
				<-ctx.Done()
				return ctx.Err()
			}
			err := Reload(t.Context(), r, "b1", []plan.File{{Path: "/a"}})
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: error %v, want %q", name, err, c.want)
			}
		})
	}
}
